"""A run that is stopped or killed at any step and continued gives the bytes of one that was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calib.qat.epochs import Execution, Hooks
from calib.qat.settings import QatSettings, Schedule
from calib.qat.train_aware import QatPlan, QatResult
from calib.qat.train_on_set import train_on_set
from calib.qdq.writer import serialize
from calib.quantize import Source
from calib.settings.config import LayerSettings, QuantConfig
from repghost.data.formats.arrays import ArraySet
from repghost.errors import UsageError
from repghost.graph.operators import Graph
from repghost.training.follow.hooks import TrainingStoppedError
from repghost.training.options import Loading
from tests.support.quantized_graphs import PREPROCESS
from tests.support.random_graphs import SIZE, Builder, random_graph

STEPS = 6  # three of each epoch
SETTINGS = QatSettings(
    epochs=2, batch=16, images=40, held_out=16, learning_rate=0.01, scale_learning_rate=0.02, crop_padding=1, flip=True,
    schedule=Schedule(observe=16, freeze_observers=0.5, freeze_statistics=0.8, replan=2),
)  # fmt: skip
CONFIG = QuantConfig(ranges_by_answers=False, defaults=LayerSettings("percentile", 95.0))


@pytest.fixture(scope="module")
def dataset() -> ArraySet:
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 72)
    images = random.normal(90, 40, (72, SIZE, SIZE, 3)) + 15 * labels[:, None, None, None]
    return ArraySet("drawn", tuple("abcde"), np.clip(images, 0, 255).astype(np.uint8), labels.astype(np.int64))


def graph() -> Graph:
    return random_graph(4, (Builder.depthwise, Builder.residual, Builder.function))


class Killed(BaseException):
    pass


def run(
    dataset: ArraySet, settings: QatSettings = SETTINGS, hooks: Hooks | None = None, **options: object
) -> QatResult:
    loading = Loading(workers=int(str(options.pop("workers", 0))))
    execution = Execution(**options)  # type: ignore[arg-type]
    source = Source(tuple("abcde"), "0" * 64, {})
    return train_on_set(
        graph(), dataset, PREPROCESS, QatPlan(CONFIG, settings), source, hooks, execution=execution, loading=loading
    )


@pytest.fixture(scope="module")
def whole(dataset: ArraySet) -> bytes:
    result = run(dataset)
    assert result.chosen.name != "calibrated"  # so that what was trained is compared
    return serialize(result.quantized.onnx)


def stop_after(steps: int) -> Hooks:
    seen: list[int] = []
    return Hooks(step=lambda step: seen.append(step.number), should_stop=lambda: len(seen) >= steps)


@pytest.mark.parametrize("steps", range(STEPS))
def test_a_run_stopped_at_any_step_goes_on_to_the_same_bytes(
    steps: int, dataset: ArraySet, whole: bytes, tmp_path: Path
) -> None:
    state = tmp_path / "state.pt"
    with pytest.raises(TrainingStoppedError):
        run(dataset, hooks=stop_after(steps), state=state)
    numbers: list[int] = []
    begun: list[tuple[int, int]] = []
    hooks = Hooks(step=lambda step: numbers.append(step.number), begin=lambda *given: begun.append(given))
    result = run(dataset, hooks=hooks, state=state, resume="continue")
    assert numbers == list(range(steps, STEPS)) and begun == [(STEPS, steps)]
    assert serialize(result.quantized.onnx) == whole
    again = run(dataset, hooks=Hooks(step=lambda step: pytest.fail("all is done")), state=state, resume="auto")
    assert serialize(again.quantized.onnx) == whole


@pytest.mark.parametrize("steps", [2, 5])
def test_a_run_killed_between_states_goes_on_from_the_last_one(
    steps: int, dataset: ArraySet, whole: bytes, tmp_path: Path
) -> None:
    def kill(step: object) -> None:
        if getattr(step, "number", 0) == steps:
            raise Killed

    state = tmp_path / "state.pt"
    with pytest.raises(Killed):
        run(dataset, hooks=Hooks(step=kill), state=state, state_interval=2)
    result = run(dataset, state=state, resume="auto", workers=1)
    assert serialize(result.quantized.onnx) == whole


def test_workers_change_nothing(dataset: ArraySet, whole: bytes) -> None:
    assert serialize(run(dataset, workers=2).quantized.onnx) == whole


def test_nothing_is_drawn_from_the_global_generator(dataset: ArraySet, whole: bytes) -> None:
    torch.manual_seed(17)
    before = torch.get_rng_state()
    assert serialize(run(dataset).quantized.onnx) == whole
    assert torch.equal(before, torch.get_rng_state())


def test_a_state_of_another_run_is_refused_by_what_differs(dataset: ArraySet, tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    with pytest.raises(TrainingStoppedError):
        run(dataset, hooks=stop_after(1), state=state)
    fewer = ArraySet("drawn", dataset.classes, dataset.images[:-1], dataset.labels[:-1])
    cases = [
        (dataset, {"settings": replace(SETTINGS, learning_rate=0.02)}, "other values of learning_rate;"),
        (fewer, {}, "other values of .*the training pictures"),
        (dataset, {"teacher": torch.nn.Flatten()}, "teacher tells"),
    ]
    for images, changes, message in cases:
        with pytest.raises(UsageError, match=message):
            run(images, state=state, resume="continue", **changes)


def test_a_state_that_is_there_or_missing_is_refused_before_anything_else(dataset: ArraySet, tmp_path: Path) -> None:
    there = tmp_path / "there.pt"
    there.write_bytes(b"no state")
    calibrated = Hooks(calibrated=lambda images: pytest.fail("too late"))
    for state, resume, message in (
        (there, "new", "exists; give resume='continue'"),
        (tmp_path / "missing.pt", "continue", "no training state"),
        (None, "auto", "nothing says where the state"),
    ):
        with pytest.raises(UsageError, match=message):
            run(dataset, hooks=calibrated, state=state, resume=resume)
    with pytest.raises(UsageError, match="not a state of training under quantization"):
        run(dataset, state=there, resume="auto")
