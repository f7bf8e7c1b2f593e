from __future__ import annotations

import numpy as np
import pytest
import torch

from repghost.errors import UsageError
from repghost.evaluation.tally import Tally, cross_entropy, ranks_of


def scores(count: int = 40, classes: int = 7, seed: int = 0) -> np.ndarray:
    # few values, so that many are equal, as an integer network's are
    return np.random.default_rng(seed).integers(0, 4, (count, classes)).astype(np.float32)


LABELS = np.arange(40) % 7


def test_equal_scores_are_ranked_as_argmax_and_a_stable_sort_have_it() -> None:
    order = np.argsort(-scores(), axis=1, kind="stable")
    expected = (order == LABELS[:, None]).argmax(1)
    assert ranks_of(scores(), LABELS).tolist() == expected.tolist()
    assert ((ranks_of(scores(), LABELS) == 0) == (scores().argmax(1) == LABELS)).all()


def test_the_loss_is_pytorchs() -> None:
    expected = torch.nn.functional.cross_entropy(torch.tensor(scores()), torch.tensor(LABELS), reduction="none")
    assert np.allclose(cross_entropy(scores(), LABELS), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_uneven_shares_add_up_exactly(processes: int) -> None:
    whole = Tally.empty(2, 7)
    whole.add(LABELS, [scores(), scores(seed=1)], [None, 0])
    vectors = []
    for rank in range(processes):
        own, part = slice(rank, None, processes), Tally.empty(2, 7)
        part.add(LABELS[own], [scores()[own], scores(seed=1)[own]], [None, 0])
        vectors.append(part.to_vector())
    total = whole.from_vector(np.sum(vectors, 0).tolist())
    for name in ("images", "right", "top5", "pairs", "unequal"):
        assert (getattr(total, name) == getattr(whole, name)).all(), name
    assert total.images.sum() == 40
    assert np.allclose(total.loss, whole.loss)


def test_scores_that_are_no_numbers_are_refused() -> None:
    bad = scores()
    bad[3, 2] = np.nan
    with pytest.raises(UsageError, match="not finite"):
        Tally.empty(1, 7).add(LABELS, [bad])
