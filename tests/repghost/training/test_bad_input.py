"""What goes wrong in a run: a clear error, and nothing that was there is lost."""

from __future__ import annotations

import errno
import resource
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from repghost.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from repghost.cli import cli
from repghost.data.formats.arrays import ArraySet
from repghost.errors import RepGhostError, UsageError
from repghost.network.model import RepGhostNet
from repghost.training.options import Loading
from repghost.training.state.state import read_state
from repghost.training.train import Hooks, Options, class_names, train
from tests.support.tensors import differing
from tests.support.training_commands import environment, single
from tests.support.training_sets import made_set, make_tree, tiny_recipe

FAST = Options(Loading(workers=0))


def invoke(data: Path, output: Path, *more: str) -> Result:
    return CliRunner().invoke(cli, single(data, output, "-b", "8", *more)[3:])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("data"))


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "data")
    (tree / "train" / "yellow").mkdir()
    result = invoke(tree, tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert "'yellow'" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_the_classes_is_named(label: int) -> None:
    made = made_set()
    labels = made.labels.copy()
    labels[7] = label
    with pytest.raises(UsageError, match="0 to 2 are allowed"):
        ArraySet("made", made.classes, made.images, labels)
    foreign: Any = SimpleNamespace(classes=made.classes, labels=labels)  # a set that does not check by itself
    with pytest.raises(UsageError, match=f"label {label} is outside the 3 classes"):
        class_names(foreign)


@pytest.mark.slow
def test_a_corrupt_image_is_named_once_and_left_out(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "data")
    bad = sorted((tree / "train" / "red").iterdir())[1]
    bad.write_bytes(bad.read_bytes()[:40])
    result = invoke(tree, tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert result.output.count(bad.name) == 1
    assert read_state(tmp_path / "run" / "state.pt").history[-1].broken_pictures == 1


@pytest.mark.slow
def test_a_state_of_other_shapes_is_refused_and_stays(data: Path, tmp_path: Path) -> None:
    assert invoke(data, tmp_path / "run").exit_code == 0
    path = tmp_path / "run" / "state.pt"
    values = torch.load(path, weights_only=True)
    values["model"]["conv_head.bias"] = torch.zeros(7)
    torch.save(values, path)
    before = path.read_bytes()
    result = invoke(data, tmp_path / "run", "--resume")
    assert result.exit_code == 2
    assert "conv_head.bias" in result.output
    assert path.read_bytes() == before


@pytest.mark.slow
def test_resume_takes_the_folder_or_the_file_of_a_run(data: Path, tmp_path: Path) -> None:
    assert invoke(data, tmp_path / "run").exit_code == 0
    for name in ("run", "run/state.pt"):
        result = invoke(data, tmp_path / "other", "--resume", str(tmp_path / name))
        assert result.exit_code == 0, result.output
    assert not (tmp_path / "other").exists()
    absent = invoke(data, tmp_path / "other", "--resume", str(tmp_path / "absent"))
    assert absent.exit_code == 2
    assert "no state.pt" in absent.output


def test_a_checkpoint_of_another_width_is_refused(data: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "wide.safetensors", RepGhostNet(0.3, 3).eval())
    result = invoke(data, tmp_path / "run", "--pretrained", str(tmp_path / "wide.safetensors"))
    assert result.exit_code == 2
    assert "0.3" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_full_disk_loses_nothing_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe(epochs=3)
    whole = train(recipe, made_set(), tmp_path / "whole", validation=made_set(10), options=FAST)

    def fill(record: object) -> None:
        import repghost.checkpoints.state_file

        def full(path: Path, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

        monkeypatch.setattr(repghost.checkpoints.state_file, "write_bytes_atomically", full)

    with pytest.raises(OSError, match="No space"):
        train(recipe, made_set(), tmp_path / "run", hooks=Hooks(epoch=fill), validation=made_set(10), options=FAST)
    monkeypatch.undo()
    assert len(read_state(tmp_path / "run" / "state.pt").history) == 1
    result = train(
        recipe, made_set(), tmp_path / "run", validation=made_set(10), options=replace(FAST, resume="continue")
    )
    assert differing(whole.model.state_dict(), result.model.state_dict()) == []


@pytest.mark.slow
def test_the_command_says_that_the_disk_is_full(data: Path, tmp_path: Path) -> None:
    # a limit on the size of a file stops the writer as a full disk does: in the middle of the state
    def limit() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    command = single(data, tmp_path / "run", "-b", "8")
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=240, env=environment(), check=False, preexec_fn=limit
    )
    assert result.returncode == 1
    assert "free space" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "run").glob("*.pt")) + list((tmp_path / "run").glob(".*"))


@pytest.mark.slow
def test_frozen_batch_norms_keep_everything_but_the_rest_learns(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "start.safetensors"
    write_checkpoint(path, RepGhostNet(0.25, 3).eval())
    assert invoke(data, tmp_path / "run", "--pretrained", str(path), "--freeze", "bn").exit_code == 0
    before, after = (read_checkpoint(name).state_dict for name in (path, tmp_path / "run" / "model.safetensors"))
    kept = [name for name in before if ".running_" in name or name.startswith("bn1.")]
    assert all(torch.equal(before[name], after[name]) for name in kept if not name.endswith("tracked"))
    assert not torch.equal(before["conv_head.weight"], after["conv_head.weight"])


# In the last step of the second epoch: a loss that is no number, or a finite one with gradients that are not.
NO_NUMBERS = {
    "the loss became nan in epoch 2": lambda logits: logits.sum() * torch.nan,
    "no longer numbers in epoch 2": lambda logits: (logits.sum() * 0).abs().sqrt(),
}


@pytest.mark.slow
@pytest.mark.parametrize("said", NO_NUMBERS)
def test_what_is_no_number_never_overwrites_the_last_state(said: str, tmp_path: Path) -> None:
    steps, before = made_set().labels.size // 8, []

    def loss(inputs: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        before.append(0)
        plain = torch.nn.functional.cross_entropy(logits, targets)
        return plain + NO_NUMBERS[said](logits) if len(before) == 2 * steps else plain

    kept: list[bytes] = []
    hooks = Hooks(epoch=lambda record: kept.append((tmp_path / "state.pt").read_bytes()))
    with pytest.raises(RepGhostError, match=rf"{said}; the last state is kept as it was"):
        train(tiny_recipe(epochs=3), made_set(), tmp_path, hooks, made_set(12), replace(FAST, loss=loss))
    assert (tmp_path / "state.pt").read_bytes() == kept[-1] and len(kept) == 1
    assert len(read_state(tmp_path / "state.pt").history) == 1
    read_checkpoint(tmp_path / "best.safetensors")
