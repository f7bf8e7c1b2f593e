from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from repghost.data import ImageError
from repghost.data.formats.arrays import ArraySet
from repghost.distributed.ranks import Ranks
from repghost.errors import RepGhostError, UsageError
from repghost.training.feeds.base import epoch_order
from repghost.training.feeds.loader import LoaderFeed
from repghost.training.options import Loading
from repghost.training.state.state import read_state
from repghost.training.train import Hooks, Options, TrainingStoppedError, TrainResult, train
from tests.support.tensors import differing
from tests.support.training_sets import made_set, tiny_recipe

FAST = Options(Loading(workers=0))


def feed(recipe: Any, workers: int = 0, ranks: Ranks | None = None, images: Any = None) -> LoaderFeed:
    loading = Loading(workers=workers, broken_limit=3)
    return LoaderFeed(recipe, images or made_set(), made_set(10), 3, loading, ranks or Ranks())


def batches(source: LoaderFeed, epoch: int, done: int = 0) -> list[torch.Tensor]:
    return [part[0] for part in source.batches(epoch, done)]


@pytest.mark.parametrize("more", [{}, {"mixup": 0.4}, {"aa": "rand-m9-mstd0.5"}])
def test_a_batch_depends_on_its_epoch_and_place_alone(more: dict[str, Any]) -> None:
    recipe = tiny_recipe(**more)
    first = batches(feed(recipe), 1)
    torch.manual_seed(99)
    other = feed(recipe, workers=1)
    batches(other, 0)
    again = batches(other, 1)
    assert len(first) == 6
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    late = batches(feed(recipe), 1, done=4)
    assert all(torch.equal(one, two) for one, two in zip(first[4:], late, strict=True))
    assert not torch.equal(first[0], batches(feed(recipe), 0)[0])


def test_two_processes_share_the_batches_of_one_with_twice_the_batch() -> None:
    recipe = tiny_recipe(reprob=0.0)
    parts = [batches(feed(recipe, ranks=Ranks(rank, rank, 2)), 0) for rank in range(2)]
    whole = batches(feed(recipe.changed(batch=16)), 0)
    for step, batch in enumerate(whole):
        assert torch.equal(batch, torch.cat([part[step] for part in parts]))


def test_an_epoch_takes_every_image_once() -> None:
    order = epoch_order(50, 1, 0, 8, 2)
    assert order.shape == (3, 2, 8)
    assert len(np.unique(order)) == 48


def test_repeated_images_are_augmented_each_on_its_own_and_meet_in_different_processes() -> None:
    order = epoch_order(60, 1, 0, 5, 3, repeats=3)
    assert order.shape == (4, 3, 5)
    assert len(set(order.ravel().tolist())) == 60 and len(set((order // 3).ravel().tolist())) == 20
    assert (np.ptp(order // 3, axis=1) == 0).all() and (np.sort(order % 3, axis=1) == [[0], [1], [2]]).all()
    one, other = (batches(feed(tiny_recipe(reprob=0.0, **more)), 0) for more in ({}, {"aug_repeats": 4}))
    assert len(one) == len(other) == 6
    first, second = (image for image in other[0][:2])
    assert not torch.equal(first, second)  # of one image
    assert any(torch.equal(first, image) for batch in one for image in batch)  # as it is without repetition


def test_reading_leaves_the_generator_of_dropout_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    source = feed(tiny_recipe(mixup=0.4))
    batches(source, 0)
    list(source.evaluated())
    assert torch.equal(before, torch.get_rng_state())


def test_evaluated_shares_are_exact_and_uneven() -> None:
    shares = [
        np.concatenate([part[1] for part in feed(tiny_recipe(), ranks=Ranks(r, r, 3)).evaluated()]) for r in range(3)
    ]
    assert [len(share) for share in shares] == [4, 3, 3]
    assert sorted(np.concatenate(shares)) == sorted(made_set(10).labels)


class Broken(ArraySet):
    bad = (5, 6)

    def __getitem__(self, index: int) -> Any:
        if index in self.bad:
            raise ImageError("broken on purpose")
        return super().__getitem__(index)


def with_broken(bad: tuple[int, ...]) -> Broken:
    made = made_set()
    result = Broken(made.source, made.classes, made.images, made.labels)
    object.__setattr__(result, "bad", bad)
    return result


@pytest.mark.slow
def test_broken_images_are_named_replaced_and_counted(tmp_path: Path) -> None:
    result = train(tiny_recipe(), with_broken((5, 6)), tmp_path, validation=made_set(10), options=FAST)
    assert sorted(result.broken) == ["made#5: broken on purpose", "made#6: broken on purpose"]
    assert [record.broken_pictures for record in result.history] == [2, 2]


def test_too_many_broken_images_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(RepGhostError, match="broken_limit="):
        batches(feed(tiny_recipe(), images=with_broken((1, 5, 9, 13))), 0)
    with pytest.raises(UsageError, match="not one picture"):
        batches(feed(tiny_recipe(), images=with_broken(tuple(range(48)))), 0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(tiny_recipe(), made_set(), tmp_path_factory.mktemp("run"), validation=made_set(10), options=FAST)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 2, 6, 9])
def test_a_stopped_run_goes_on_bit_for_bit(finished: TrainResult, tmp_path: Path, steps: int) -> None:
    seen: list[int] = []
    hooks = Hooks(step=lambda record: seen.append(record.epoch), should_stop=lambda: len(seen) >= steps)
    with pytest.raises(TrainingStoppedError, match="give resume='continue'"):
        train(tiny_recipe(), made_set(), tmp_path, hooks=hooks, validation=made_set(10), options=FAST)
    assert read_state(tmp_path / "state.pt").progress.batches == steps % 6
    result = train(tiny_recipe(), made_set(), tmp_path, validation=made_set(10), options=replace(FAST, resume="auto"))
    assert differing(finished.model.state_dict(), result.model.state_dict()) == []
    assert [record.loss for record in result.history] == [record.loss for record in finished.history]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [{"amp": "bfloat16"}, {"mixup": 0.2}, {"ema": False}, {"accumulate": 2}, {"clip_grad": 1.0}, {"freeze": "bn"},
     {"opt": "adamw"}, {"freeze": "backbone"}],
)  # fmt: skip
def test_each_kind_of_run_trains(finished: TrainResult, tmp_path: Path, more: dict[str, Any]) -> None:
    result = train(tiny_recipe(epochs=2, **more), made_set(), tmp_path, validation=made_set(10), options=FAST)
    assert len(result.history) == 2
    first, second = finished.history[-1], result.history[-1]
    differ = [getattr(first, name) != getattr(second, name) for name in ("loss", "held_out_loss", "averaged_top1")]
    assert any(differ)  # without an average the raw weights are kept, which may be those that were better with one


@pytest.mark.slow
def test_accumulating_halves_equals_the_whole(tmp_path: Path) -> None:
    recipe = tiny_recipe(freeze="bn", dropout=0.0, reprob=0.0, ema=False)
    whole = train(recipe.changed(batch=16), made_set(), tmp_path / "whole", validation=made_set(10), options=FAST)
    halves = train(recipe.changed(accumulate=2), made_set(), tmp_path / "halves", validation=made_set(10), options=FAST)
    assert differing(whole.model.state_dict(), halves.model.state_dict(), absolute=1e-5, relative=1e-5) == []


def test_an_empty_class_and_too_few_classes_are_named(tmp_path: Path) -> None:
    made = made_set()
    empty = ArraySet("made", (*made.classes, "none"), made.images, made.labels)
    with pytest.raises(UsageError, match="no training picture of 'none'"):
        train(tiny_recipe(), empty, tmp_path, validation=made_set(10))
    with pytest.raises(UsageError, match="num_classes=2"):
        train(tiny_recipe(), made, tmp_path, validation=made_set(10), options=Options(num_classes=2))
    with pytest.raises(UsageError, match="split of its own"):
        train(tiny_recipe(), made, tmp_path)


def test_what_signals_a_run_does_not_reach_its_workers() -> None:
    source = feed(tiny_recipe(), workers=1)
    next(source.batches(0, 0))
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None and os.getpgid(worker.pid) == worker.pid != os.getpgrp()
