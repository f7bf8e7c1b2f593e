from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from repghost.cli import cli
from repghost.data import ImageSet, open_dataset
from repghost.distributed.ranks import Ranks
from repghost.training.feeds.base import TOGETHER, epoch_order
from repghost.training.feeds.loader import LoaderFeed
from repghost.training.options import Loading
from repghost.training.state.state import read_state
from repghost.training.train import Hooks, Options, TrainingStoppedError, TrainResult, train
from tests.support import training_processes as processes
from tests.support.tensors import differing
from tests.support.training_commands import single
from tests.support.training_sets import make_tree, tiny_recipe
from tests.support.training_shards import write_numbered, write_shards
from tests.support.two_processes import TwoProcesses

FAST = Options(Loading(workers=0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 training images in 5 uneven shards, 10 that evaluate in 2."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder / "train", [13, 7, 1, 17, 10])
    write_shards(folder / "val", [6, 4])
    return folder


def patterns(folder: Path) -> tuple[Path, Path]:
    return folder / "train" / "{000000..000004}.tar", folder / "val" / "{000000..000001}.tar"


def command(folder: Path, output: Path, *more: str) -> Result:
    training, validation = patterns(folder)
    return CliRunner().invoke(cli, single(training, output, "-b", "8", "--val-data", str(validation), *more)[3:])


@pytest.mark.parametrize("shards", [1, 5, 40])
def test_an_epoch_takes_every_image_once_and_a_few_shards_at_a_time(shards: int) -> None:
    sizes = np.random.default_rng(0).integers(1, 30, shards)
    starts, count = np.cumsum([0, *sizes[:-1]]), int(sizes.sum())
    orders = [epoch_order(count, 3, epoch, 1, 1, starts).ravel() for epoch in range(3)]
    assert all(np.array_equal(np.sort(order), np.arange(count)) for order in orders)
    assert shards == 1 or not np.array_equal(orders[0], orders[1])
    shard_of = np.searchsorted(starts, orders[2], side="right") - 1
    last, first = {s: i for i, s in enumerate(shard_of)}, {s: i for i, s in reversed(list(enumerate(shard_of)))}
    open_at_once = max(sum(first[s] <= place <= last[s] for s in first) for place in range(count))
    assert open_at_once <= TOGETHER


@pytest.mark.slow
def test_two_processes_see_every_image_once(tmp_path: Path, two_processes: TwoProcesses) -> None:
    pattern = write_numbered(tmp_path / "train", [90, 31, 3, 100])
    two_processes.help("seen", pattern, tmp_path)
    two = json.loads((tmp_path / "seen.json").read_text())
    assert [len(part) for part in two] == [112, 112]
    assert sorted(two[0] + two[1]) == list(range(224))
    one = processes.seen(Ranks(), str(pattern))[0]
    steps = [np.concatenate([part[step : step + 4] for part in two]) for step in range(0, 112, 4)]
    assert np.concatenate(steps).tolist() == one


def test_workers_change_nothing(folder: Path) -> None:
    training, validation = opened(folder)
    found = []
    for workers in (0, 2):
        feed = LoaderFeed(tiny_recipe(), training, validation, 3, Loading(workers=workers), Ranks())
        found.append([part[0] for part in feed.batches(1, 0)])
    assert len(found[0]) == 6
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def opened(folder: Path) -> tuple[ImageSet, ImageSet]:
    training, validation = patterns(folder)
    return open_dataset(training, "train"), open_dataset(validation, "val")


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    training, validation = opened(folder)
    return train(tiny_recipe(), training, tmp_path_factory.mktemp("whole"), validation=validation, options=FAST)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, 9])
def test_a_stopped_run_goes_on_bit_for_bit(folder: Path, whole: TrainResult, tmp_path: Path, steps: int) -> None:
    training, validation = opened(folder)
    seen: list[int] = []
    hooks = Hooks(step=lambda record: seen.append(record.epoch), should_stop=lambda: len(seen) >= steps)
    with pytest.raises(TrainingStoppedError):
        train(tiny_recipe(), training, tmp_path / "run", hooks=hooks, validation=validation, options=FAST)
    result = train(
        tiny_recipe(), training, tmp_path / "run", validation=validation, options=replace(FAST, resume="continue")
    )
    assert differing(whole.model.state_dict(), result.model.state_dict()) == []


@pytest.mark.slow
def test_the_command_trains_and_validates_on_shards(folder: Path, tmp_path: Path) -> None:
    result = command(folder, tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert read_state(tmp_path / "run" / "state.pt").history[-1].held_out_pictures == 10
    arguments = ["validate", str(tmp_path / "run" / "model.safetensors"), "--data", str(patterns(folder)[1])]
    validated = CliRunner().invoke(cli, arguments)
    assert validated.exit_code == 0, validated.output
    assert "10 pictures" in validated.output


@pytest.mark.slow
def test_two_processes_train_on_shards_as_one(folder: Path, tmp_path: Path, two_processes: TwoProcesses) -> None:
    exact = ("--freeze", "bn", "--drop", "0", "--reprob", "0", "--no-model-ema")
    assert command(folder, tmp_path / "one", *exact, "-b", "16").exit_code == 0
    training, validation = patterns(folder)
    words = single(training, tmp_path / "two", "-b", "8", "--val-data", str(validation), *exact)[3:]
    two = two_processes.run(*words)
    assert two.codes == [0, 0], two.stderr
    first, second = (read_state(tmp_path / name / "state.pt") for name in ("one", "two"))
    for name, tensor in first.model.items():
        assert torch.allclose(tensor, second.model[name], atol=1e-5), name
    assert [r.held_out_top1 for r in first.history] == [r.held_out_top1 for r in second.history]


@pytest.mark.slow
def test_broken_samples_are_named_counted_and_limited(tmp_path: Path) -> None:
    training, validation = write_shards(tmp_path / "train", [30, 18]), write_shards(tmp_path / "val", [10])
    path = tmp_path / "train" / "000001.tar"
    data = path.read_bytes().replace(b"00000040.cls", b"00000040.clx")  # a sample without a label
    data = fixed_checksums(data)
    place = data.index(b"IHDR", data.index(b"00000033.png"))
    path.write_bytes(data[:place] + b"IHDX" + data[place + 4 :])  # and an image that is none
    arguments = single(training, tmp_path / "run", "-b", "8", "--val-data", str(validation))[3:]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert result.output.count("'00000040' has no label") == 1
    assert result.output.count("000001.tar:00000033.png") == 1
    assert read_state(tmp_path / "run" / "state.pt").history[-1].broken_pictures == 2
    limited = CliRunner().invoke(cli, [*arguments, "-o", str(tmp_path / "other"), "--broken-limit", "1"])
    assert limited.exit_code == 1
    assert "--broken-limit" in limited.output


def fixed_checksums(data: bytes) -> bytes:
    """Mend the headers whose names were changed."""
    blocks = [data[place : place + 512] for place in range(0, len(data), 512)]
    for number, block in enumerate(blocks):
        if block[257:262] == b"ustar":
            total = sum(block[:148]) + sum(block[156:]) + 8 * 32
            blocks[number] = block[:148] + f"{total:06o}\0 ".encode() + block[156:]
    return b"".join(blocks)


def test_what_evaluates_has_to_be_given_and_must_not_be_trained_on(folder: Path, tmp_path: Path) -> None:
    training, _ = patterns(folder)
    missing = CliRunner().invoke(cli, single(training, tmp_path / "run", "-b", "8")[3:])
    assert missing.exit_code == 2
    assert "--val-data" in missing.output
    both = folder / "train" / "{000003..000004}.tar"
    shared = CliRunner().invoke(cli, single(training, tmp_path / "run", "-b", "8", "--val-data", str(both))[3:])
    assert shared.exit_code == 2
    assert "no picture may do both" in shared.output
    demo = ["train", "--recipe", "demo", "--data", str(training), "--val-data", str(both), "-o", str(tmp_path / "run")]
    useless = CliRunner().invoke(cli, demo)
    assert useless.exit_code == 2
    assert "--val-data has no effect" in useless.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_folder_may_evaluate_shards_and_another_folder(folder: Path, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    result = CliRunner().invoke(cli, single(tree, tmp_path / "run", "-b", "8", "--val-data", str(tree))[3:])
    assert result.exit_code == 0, result.output
    other = CliRunner().invoke(cli, single(patterns(folder)[0], tmp_path / "x", "--val-data", str(tree))[3:])
    assert other.exit_code == 2  # its classes have names, the shards' have numbers
    assert "classes" in other.output
