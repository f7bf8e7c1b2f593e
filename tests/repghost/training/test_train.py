from __future__ import annotations

import dataclasses
import json
import math
import pickle
import shutil
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from repghost.checkpoints.checkpoint import load_model, read_checkpoint
from repghost.data.formats.arrays import ArraySet
from repghost.data.images.preprocess import Preprocess
from repghost.distributed.ranks import Ranks
from repghost.errors import RepGhostError, UsageError
from repghost.evaluation.accuracy import accuracy, predict
from repghost.locks import locked
from repghost.training.build import start
from repghost.training.epoch_accuracy import Evaluation
from repghost.training.options import Options
from repghost.training.recipe import Recipe
from repghost.training.result import evaluate, open_tested, write_trained
from repghost.training.state.resuming import starting_state
from repghost.training.state.state import (
    CLASSIFIER,
    EpochRecord,
    Progress,
    RunState,
    best_epoch,
    read_state,
    write_state,
)
from repghost.training.train import Hooks, TrainingStoppedError, TrainResult, held_out_indices, train
from tests.support.tensors import differing
from tests.support.training_recipe import RECIPE, made_set


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, Path]:
    folder = tmp_path_factory.mktemp("finished")
    return train(RECIPE, made_set(), folder), folder


def assert_equal_weights(first: torch.nn.Module, second: torch.nn.Module) -> None:
    assert differing(first.state_dict(), second.state_dict()) == []


@pytest.mark.slow
def test_training_learns(tmp_path: Path) -> None:
    result = train(RECIPE.changed(epochs=6, batch=16), made_set(), tmp_path)
    assert result.history[-1].loss < result.history[0].loss
    assert not result.model.training
    everything = made_set(90)
    predictions = predict(result.model, everything.images, RECIPE.preprocess).argmax(1)
    assert accuracy(predictions, everything.labels).top1 > 0.6  # a third would be chance


@pytest.mark.slow
def test_every_epoch_is_in_the_log(finished: tuple[TrainResult, Path]) -> None:
    result, folder = finished
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines == [dataclasses.asdict(record) for record in result.history]
    assert {line["held_out_pictures"] for line in lines} == {24}
    assert sorted(path.name for path in folder.iterdir()) == ["best.safetensors", "log.csv", "log.jsonl", "state.pt"]


@pytest.mark.slow
def test_a_seed_decides_everything(finished: tuple[TrainResult, Path], tmp_path: Path) -> None:
    assert_equal_weights(finished[0].model, train(RECIPE, made_set(), tmp_path / "same").model)
    other = train(RECIPE.changed(seed=4), made_set(), tmp_path / "other").model
    assert not torch.equal(other.conv_stem.weight, finished[0].model.conv_stem.weight)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 1, 3, 4])
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(
    finished: tuple[TrainResult, Path], tmp_path: Path, steps: int
) -> None:
    seen: list[int] = []
    hooks = Hooks(step=lambda record: seen.append(record.epoch), should_stop=lambda: len(seen) >= steps)
    with pytest.raises(TrainingStoppedError, match="resume='continue'"):
        train(RECIPE, made_set(), tmp_path, hooks=hooks)
    assert len(read_state(tmp_path / "state.pt").history) == steps // 3
    result = train(RECIPE, made_set(), tmp_path, options=Options(resume="continue"))
    assert_equal_weights(result.model, finished[0].model)
    assert [record.loss for record in result.history] == [record.loss for record in finished[0].history]


@pytest.mark.slow
def test_resuming_a_finished_run_trains_no_further(finished: tuple[TrainResult, Path]) -> None:
    result, folder = finished
    hooks = Hooks(step=lambda record: pytest.fail("a step was made"))
    again = train(RECIPE, made_set(), folder, hooks=hooks, options=Options(resume="continue"))
    assert_equal_weights(again.model, result.model)
    assert again.history == result.history


@pytest.mark.slow
def test_a_run_is_neither_overwritten_nor_mixed_up(finished: tuple[TrainResult, Path], tmp_path: Path) -> None:
    _, folder = finished
    with pytest.raises(UsageError, match="resume='continue'"):
        train(RECIPE, made_set(), folder)
    with pytest.raises(UsageError, match="other values of epochs, learning_rate"):
        train(RECIPE.changed(epochs=4, learning_rate=0.1), made_set(), folder, options=Options(resume="continue"))
    other = ArraySet("other", ("a", "b"), made_set().images, made_set().labels % 2)
    with pytest.raises(UsageError, match="another network or set"):
        train(RECIPE, other, folder, options=Options(resume="continue"))
    with pytest.raises(UsageError, match="no training state"):
        train(RECIPE, made_set(), tmp_path, options=Options(resume="continue"))


@pytest.mark.parametrize(
    ("theirs", "mine", "words"),
    [
        ({"batch": 8, "epochs": 20, "learning_rate": 0.02}, {}, ("processes", "batch=8 epochs=20 learning_rate=0.02")),
        ({"amp": "float16"}, {"amp": "off"}, ("of amp;", "float16", "resume on a GPU")),
        ({"amp": "off"}, {"amp": "float16"}, ("of amp;", "amp_dtype='off'")),
        ({"seed": 9, "channels_last": False}, {}, ("of channels_last, seed;",)),
    ],
    ids=["few images", "begun on a GPU", "begun on a processor", "neither"],
)
def test_what_a_run_changed_by_itself_is_named_where_it_cannot_be_resumed(
    theirs: dict[str, Any], mine: dict[str, Any], words: tuple[str, ...], tmp_path: Path
) -> None:
    parts: dict[str, Any] = {"model": {}, "average": {}, "optimizer": {}, "scaler": {}, "random": ()}
    changed = RECIPE.changed(**theirs)
    write_state(
        tmp_path / "state.pt", RunState(recipe=changed, classes=("a",), history=(), progress=Progress(), **parts)
    )
    with pytest.raises(UsageError) as caught:
        starting_state(RECIPE.changed(**mine), ("a",), tmp_path / "state.pt", "continue", CLASSIFIER)
    lines = str(caught.value).splitlines()
    assert all(word in str(caught.value) for word in words) and len(lines) == (1 if "seed" in theirs else 2)


def test_a_second_process_waits_and_finds_what_the_first_one_wrote(
    finished: tuple[TrainResult, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, is_held, may_end = tmp_path / "run", threading.Event(), threading.Event()

    def other() -> None:
        with locked(folder):
            is_held.set()
            may_end.wait(60)
            shutil.copytree(finished[1], folder)

    def tell(line: str) -> None:
        assert "waiting for it" in line
        may_end.set()

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    assert is_held.wait(60)
    monkeypatch.setattr("repghost.training.core.epochs.locked", partial(locked, say=tell))
    with pytest.raises(UsageError, match="resume='continue'"):
        train(RECIPE, made_set(), folder)
    thread.join(60)
    assert may_end.is_set() and [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_the_learning_rate_warms_up_and_follows_a_cosine(tmp_path: Path) -> None:
    rates: list[float] = []
    train(RECIPE, made_set(), tmp_path, hooks=Hooks(step=lambda record: rates.append(record.rate)))
    total, warmup, peak, low = 6, 3, RECIPE.learning_rate, RECIPE.min_learning_rate
    start = peak / warmup
    for step, rate in enumerate(rates):
        expected = (
            start + (peak - start) * step / warmup
            if step < warmup
            else low + (peak - low) * (1 + np.cos(np.pi * step / total)) / 2
        )
        assert rate == pytest.approx(expected, rel=1e-6)
    assert len(rates) == total


def test_weights_with_one_dimension_do_not_decay() -> None:
    run = start(RECIPE, 3, 3, Ranks())
    decays = {id(tensor): group["weight_decay"] for group in run.optimizer.param_groups for tensor in group["params"]}
    assert len(decays) == len(list(run.model.parameters()))
    for name, tensor in run.model.named_parameters():
        assert decays[id(tensor)] == (0 if tensor.ndim == 1 else RECIPE.weight_decay), name
    assert all(group["nesterov"] for group in run.optimizer.param_groups)


@pytest.mark.slow
def test_held_out_images_are_balanced_and_never_trained_on(finished: tuple[TrainResult, Path], tmp_path: Path) -> None:
    dataset = made_set()
    held = held_out_indices(dataset.labels, RECIPE)
    assert np.bincount(dataset.labels[held]).tolist() == [8, 8, 8]
    poisoned = ArraySet("made", dataset.classes, dataset.images, dataset.labels.copy())
    poisoned.images[held] = 255 - poisoned.images[held]
    second = train(RECIPE, poisoned, tmp_path)
    assert_equal_weights(finished[0].model, second.model)
    assert second.history[-1].loss == finished[0].history[-1].loss


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="held_out="):
        train(RECIPE, made_set(50), tmp_path)


class WithBroken(ArraySet):
    """Two images cannot be decoded."""

    def __getitem__(self, index: int) -> Any:
        from repghost.data import ImageError

        if index in (5, 60):
            raise ImageError("broken on purpose")
        return super().__getitem__(index)


@pytest.mark.slow
def test_broken_images_are_named_and_left_out(tmp_path: Path) -> None:
    made = made_set()
    dataset = WithBroken(made.source, made.classes, made.images, made.labels)
    result = train(RECIPE, dataset, tmp_path / "run")
    assert sorted(result.broken) == ["made#5: broken on purpose", "made#60: broken on purpose"]
    left = len(dataset) - RECIPE.held_out
    with pytest.raises(UsageError, match=r"lower batch=\. 2 of them cannot be read, the first: made#\d+: broken on"):
        train(RECIPE.changed(batch=left // 2, accumulate=2), dataset, tmp_path / "more")


@pytest.mark.slow
def test_a_diverging_run_ends_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(RepGhostError, match="loss became"):
        train(RECIPE.changed(learning_rate=100.0), made_set(), tmp_path)


class Payload:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize(
    "content", [b"", b"text", bytes(1000), pickle.dumps({"version": 1}, 2), pickle.dumps(Payload(), 4)]
)
def test_a_foreign_state_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(UsageError, match=r"state\.pt"):
        train(RECIPE, made_set(), tmp_path, options=Options(resume="continue"))


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_truncated_state_is_refused(finished: tuple[TrainResult, Path], tmp_path: Path, part: float) -> None:
    data = (finished[1] / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(UsageError, match="not a training state"):
        read_state(tmp_path / "state.pt")


@pytest.mark.slow
def test_state_round_trip(finished: tuple[TrainResult, Path], tmp_path: Path) -> None:
    state = read_state(finished[1] / "state.pt")
    overflowed = dataclasses.replace(state.history[-1], held_out_loss=math.nan)
    write_state(tmp_path / "copy.pt", dataclasses.replace(state, history=(*state.history, overflowed)))
    again = read_state(tmp_path / "copy.pt")
    assert (again.recipe, again.history[:-1]) == (state.recipe, state.history)
    assert math.isnan(again.history[-1].held_out_loss)
    assert all(torch.equal(state.average[name], again.average[name]) for name in state.average)


def short_buffers(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "state": {place: {"momentum_buffer": torch.zeros(3)} for place in values["state"]}}


def wrong_setting(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "param_groups": [{**group, "momentum": "x"} for group in values["param_groups"]]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [(short_buffers, r"momentum_buffer is \(3,\) for weights"), (wrong_setting, "momentum is 'x'"), (len, "copy")],
)
def test_an_optimizer_that_does_not_fit_is_refused(
    finished: tuple[TrainResult, Path], change: Any, message: str, tmp_path: Path
) -> None:
    state = read_state(finished[1] / "state.pt")
    changed = dataclasses.replace(state, history=state.history[:-1], optimizer=change(state.optimizer))
    write_state(tmp_path / "state.pt", changed)
    with pytest.raises(UsageError, match=message):
        train(RECIPE, made_set(), tmp_path, options=Options(resume="continue"))


@pytest.mark.slow
@pytest.mark.parametrize("random", ["abc", (torch.zeros(3),), (torch.zeros(9, dtype=torch.uint8),)])
def test_a_state_of_no_generator_is_refused(finished: tuple[TrainResult, Path], random: Any, tmp_path: Path) -> None:
    state = read_state(finished[1] / "state.pt")
    write_state(tmp_path / "state.pt", dataclasses.replace(state, random=(torch.get_rng_state(),)))
    assert torch.equal(read_state(tmp_path / "state.pt").random[0], torch.get_rng_state())
    write_state(tmp_path / "state.pt", dataclasses.replace(state, random=random))
    with pytest.raises(UsageError, match="not a training state"):
        read_state(tmp_path / "state.pt")


@pytest.mark.slow
@pytest.mark.parametrize("batches", [-3, 10**9])
def test_progress_beyond_an_epoch_is_refused(finished: tuple[TrainResult, Path], batches: int, tmp_path: Path) -> None:
    state = read_state(finished[1] / "state.pt")
    progress, random = dataclasses.replace(state.progress, batches=batches), (torch.get_rng_state(),)
    changed = dataclasses.replace(state, history=state.history[:-1], progress=progress, random=random)
    write_state(tmp_path / "state.pt", changed)
    with pytest.raises(UsageError, match=f"after {batches} batches of an epoch"):
        train(RECIPE, made_set(), tmp_path, options=Options(resume="continue"))


def test_the_checkpoint_says_how_it_was_made(finished: tuple[TrainResult, Path], tmp_path: Path) -> None:
    result, _ = finished
    path = tmp_path / "model.safetensors"
    tested = accuracy(np.asarray([0, 1, 1]), np.asarray([0, 1, 2]))
    write_trained(path, RECIPE, result, made_set().classes, tested, "repghost train")
    checkpoint = read_checkpoint(path)
    assert checkpoint.labels == ("red", "green", "blue")
    assert checkpoint.preprocess is not None
    assert Preprocess.from_dict(checkpoint.preprocess) == RECIPE.preprocess
    assert Recipe.from_dict(checkpoint.metadata["recipe"]) == RECIPE
    assert checkpoint.metadata["test"]["pictures"] == 3
    assert checkpoint.metadata["seed"] == 3
    assert differing(result.model.state_dict(), load_model(path).state_dict()) == []


def test_evaluating_needs_a_test_split(finished: tuple[TrainResult, Path], tmp_path: Path) -> None:
    from PIL import Image

    made = made_set()
    for split in ("train", "test"):
        for index in range(6):
            folder = tmp_path / split / made.classes[made.labels[index]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(made.images[index]).save(folder / f"{index}.png")
    tested, _ = open_tested(tmp_path, made.classes)
    assert tested is not None
    assert evaluate(finished[0].model, RECIPE, tested).pictures == 6
    (tmp_path / "test").rename(tmp_path / "other")
    assert open_tested(tmp_path, made.classes) == (None, "the set has no test split")


def test_the_average_forgets_the_start() -> None:
    average = start(RECIPE.changed(ema_decay=0.998), 3, 3, Ranks()).average
    assert average is not None
    share = np.prod([average.get_decay(step) for step in range(352, 703)])
    assert share < 0.02  # of the first half of 702 steps; a plain mean has half of them, the start included


@pytest.mark.slow
def test_a_short_run_writes_the_better_of_raw_and_averaged_weights(tmp_path: Path) -> None:
    recipe = RECIPE.changed(epochs=3, batch=16, ema_decay=0.99999, ema_warmup=False)  # the average stays at the start
    result = train(recipe, made_set(), tmp_path)
    for record in result.history:
        assert record.raw_top1 is not None and record.averaged_top1 is not None
        assert record.held_out_top1 == max(record.raw_top1, record.averaged_top1)
    assert result.kept.weights == "raw" and result.kept.averaged_top1 == pytest.approx(1 / 3, abs=0.05)
    held = held_out_indices(made_set().labels, recipe)
    predictions = predict(result.model, made_set().images[held], recipe.preprocess).argmax(1)
    assert accuracy(predictions, made_set().labels[held]).top1 == result.kept.held_out_top1
    assert read_checkpoint(tmp_path / "best.safetensors").metadata["weights"] == "raw"


def test_equal_accuracies_are_told_apart_by_the_loss() -> None:
    history = [EpochRecord(epoch, 0, 0, 0, 0, 0, 0.5, 0.9, loss) for epoch, loss in enumerate((math.nan, 1.0, 1.5), 1)]
    for metric in ("top1", "top5", "loss"):
        best = best_epoch(history, metric)
        assert best is not None and best.epoch == 2
    assert Evaluation(0.5, 0.9, 1.0, 10).rank("top1") > Evaluation(0.5, 1.0, 1.5, 10).rank("top1")
