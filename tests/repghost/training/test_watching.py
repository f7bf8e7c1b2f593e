"""What a run leaves to look at: the plot, TensorBoard's events, and hooks that several want."""

from __future__ import annotations

import importlib.machinery
import itertools
import re
import sys
import types
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from repghost.cli import cli
from repghost.errors import RepGhostError, ToolMissingError, install_command
from repghost.training.follow.hooks import joined
from repghost.training.follow.plot import draw, draw_png
from repghost.training.follow.tensorboard import board, scalars
from repghost.training.follow.weights_and_biases import weights_and_biases
from repghost.training.options import Loading
from repghost.training.state.state import EpochRecord, read_state
from repghost.training.train import Hooks, Options, TrainingStoppedError, train
from tests.support.training_commands import single
from tests.support.training_sets import made_set, make_tree, tiny_recipe

FAST = Options(Loading(workers=0))


def record(epoch: int, raw: float | None = 0.4) -> EpochRecord:
    return EpochRecord(
        epoch, 2.0 / epoch, 0.1 * epoch, 0.3 / epoch, 9.0, 100.0, 0.15 * epoch, 0.9, 1.5 / epoch, 10, raw
    )


def points(svg: str, name: str) -> list[tuple[float, float]]:
    """The points of a line, as they lie in the image: y grows downwards."""
    group = next((item for item in ET.fromstring(svg).iter() if item.get("id") == name), None)
    if group is None:
        return []
    words = str(next(item for item in group.iter() if item.tag.endswith("path")).get("d")).replace("L", "M").split("M")
    return [(float(x), float(y)) for x, y in (word.split()[:2] for word in words if word.strip())]


@pytest.mark.parametrize("name", ["loss-training", "loss-evaluated", "top1-training", "top1-evaluated", "rate"])
def test_each_line_of_the_plot_has_the_values_of_its_epochs(name: str) -> None:
    found = points(draw([record(epoch) for epoch in range(1, 6)]), name)
    assert len(found) == 5
    steps = [second[1] - first[1] for first, second in itertools.pairwise(found)]
    assert all((step < 0) == name.startswith("top1") for step in steps)  # top-1 rises, the others fall
    if name.startswith("top1"):
        assert max(steps) - min(steps) < 0.01  # it rises evenly
    else:
        assert steps[0] / steps[-1] == pytest.approx((1 - 1 / 2) / (1 / 4 - 1 / 5), rel=0.01)


@pytest.mark.slow
def test_the_plot_is_the_same_bytes_and_leaves_out_what_was_not_evaluated() -> None:
    history = [record(epoch) for epoch in range(1, 4)]
    assert draw(history) == draw(history)
    assert points(draw(history), "top1-raw")
    assert not points(draw([record(1, None), record(2, None)]), "top1-raw")
    assert len(points(draw([record(1)]), "rate")) == 1


@pytest.mark.slow
def test_the_command_leaves_a_plot_and_events_of_every_epoch(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    data, run = make_tree(tmp_path / "data"), tmp_path / "run"
    result = CliRunner().invoke(cli, single(data, run, "-b", "8")[3:])
    assert result.exit_code == 0, result.output
    history = read_state(run / "state.pt").history
    assert (run / "summary.svg").read_text() == draw(history)
    assert (run / "summary.png").read_bytes() == draw_png(history)
    with Image.open(run / "summary.png") as shown:
        assert shown.size == (1200, 384) and len(shown.convert("RGB").getcolors(1 << 20)) > 20
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == set(scalars(history[0]))
    for name in scalars(history[0]):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        expected = [(one.epoch, pytest.approx(scalars(one)[name], rel=1e-6)) for one in history]
        assert found == expected, name


def test_events_are_left_out_where_they_are_not_wanted(tmp_path: Path) -> None:
    with board(tmp_path, False) as hooks:
        hooks.epoch(record(1))
    assert not list(tmp_path.iterdir())


def test_events_that_are_wanted_need_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ToolMissingError, match=re.escape(install_command("tensorboard"))), board(tmp_path, True):
        pass
    with board(tmp_path, None) as hooks:
        hooks.epoch(record(1))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_joined_hooks_are_all_called_and_each_may_stop(tmp_path: Path) -> None:
    seen: list[Any] = []

    def note(name: str) -> Hooks:
        return Hooks(
            begin=lambda epochs, images: seen.append((name, "begin", epochs, images)),
            epoch=lambda one: seen.append((name, one.epoch)),
            end=lambda model, history: seen.append((name, "end", model.training, len(history))),
        )

    train(tiny_recipe(), made_set(), tmp_path, joined(note("a"), note("b")), made_set(10), FAST)
    each = [("begin", 2, 48), (1,), (2,), ("end", False, 2)]
    assert seen == [(name, *words) for words in each for name in "ab"]
    stopping = joined(Hooks(), Hooks(should_stop=lambda: True))
    with pytest.raises(TrainingStoppedError):
        train(tiny_recipe(), made_set(), tmp_path / "other", stopping, made_set(10), FAST)


class StandIn(types.ModuleType):
    """A wandb that keeps what it is told, as the package does offline."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
        self.told: list[Any] = []
        self.error = error

    def init(self, **settings: Any) -> StandIn:
        if self.error is not None:
            raise self.error
        self.told.append(settings)
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.told.append((step, values))

    def finish(self, exit_code: int) -> None:
        self.told.append(exit_code)


def test_weights_and_biases_gets_every_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", fake := StandIn())
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    with weights_and_biases(tmp_path / "run", True, {"epochs": 2}) as hooks:
        hooks.begin(2, 10)
        hooks.epoch(record(1))
        hooks.epoch(record(2))
    settings = {"project": "repghost", "name": "run", "dir": str(tmp_path / "run"), "config": {"epochs": 2}}
    assert fake.told == [settings, (1, scalars(record(1))), (2, scalars(record(2))), 0]


def test_weights_and_biases_is_told_of_a_run_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", fake := StandIn())
    with pytest.raises(TrainingStoppedError), weights_and_biases(tmp_path, True, {}) as hooks:
        hooks.begin(2, 10)
        raise TrainingStoppedError("stopped")
    assert fake.told[-1] == 1


def test_weights_and_biases_is_never_used_unasked_and_refuses_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", fake := StandIn(ValueError("no API key\nmore")))
    with weights_and_biases(tmp_path, False, {}) as hooks:
        hooks.begin(1, 1)
        hooks.epoch(record(1))
    assert fake.told == []
    with (
        pytest.raises(RepGhostError, match=r"\(no API key\)\. Log in with 'wandb login'"),
        weights_and_biases(tmp_path, True, {}) as hooks,
    ):
        hooks.begin(1, 1)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ToolMissingError, match="pip install"), weights_and_biases(tmp_path, True, {}):
        pass
