from __future__ import annotations

import pytest
import torch

from repghost.errors import RepGhostError, UsageError
from repghost.network.model import RepGhostNet
from repghost.training.transfer import HEAD, Start, read_start

NAMES = ("ant", "bee", "cow")


def start(labels: tuple[str, ...] | None) -> Start:
    torch.manual_seed(0)
    model = RepGhostNet(0.25, 3)
    return Start("a file", model.state_dict(), 3, labels)


def test_the_rows_of_a_classifier_follow_the_names_of_its_classes() -> None:
    given = start(NAMES)
    ordered = given.ordered(("cow", "ant", "bee"))
    for name in HEAD:
        assert torch.equal(ordered.tensors[name], given.tensors[name][[2, 0, 1]])
    again = ordered.ordered(("cow", "ant", "bee"))
    assert all(torch.equal(again.tensors[name], ordered.tensors[name]) for name in HEAD)
    assert ordered.load_into(RepGhostNet(0.25, 3)) == ()


def test_a_classifier_for_other_classes_begins_fresh() -> None:
    assert start(NAMES).ordered(("ant", "bee", "dog")).load_into(RepGhostNet(0.25, 3)) == HEAD
    assert start(NAMES).ordered(("ant", "bee")).load_into(RepGhostNet(0.25, 2)) == HEAD
    assert start(None).ordered(("ant", "bee", "dog")).load_into(RepGhostNet(0.25, 3)) == ()


def test_without_a_network_the_weights_that_need_none_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(source: str, width: float) -> None:
        raise RepGhostError("could not reach the hub.")

    monkeypatch.setattr("repghost.training.transfer.open_checkpoint", unreachable)
    with pytest.raises(RepGhostError, match=r"could not reach the hub\. Or begin with .*pretrained='bundled'"):
        read_start("timm", 0.5)
    with pytest.raises(RepGhostError, match=r"^could not reach the hub\.$"):
        read_start("hf://somebody/net", 0.5)


def test_the_bundled_weights_begin_a_run() -> None:
    found = read_start("bundled", 0.5)
    assert found.classes == 10 and found.labels is not None and "Sandal" in found.labels
    with pytest.raises(UsageError):
        read_start("bundled", 1.0)
