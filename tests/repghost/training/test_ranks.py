from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from repghost.checkpoint import read_checkpoint
from repghost.cli import cli
from repghost.runstate import read_state
from tests.repghost.training.sets import make_tree

ROOT = Path(__file__).parents[3]
SMALL = [
    *("--recipe", "imagenet", "--width", "0.25", "--img-size", "32", "--interpolation", "bilinear"),
    *("--epochs", "2", "--warmup-epochs", "1", "--lr", "0.05", "--amp-dtype", "off"),
    *("-j", "0", "--device", "cpu", "--threads", "1", "--dist-timeout", "20"),
]
# nothing that depends on how a batch is cut
EXACT = ["--freeze", "bn", "--drop", "0", "--reprob", "0", "--no-model-ema"]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def single(data: Path, output: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "repghost.cli", "train", "--data", str(data), "-o", str(output), *SMALL, *more]


def torchrun(data: Path, output: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return [*command, *single(data, output, *more)[1:]]


def here(command: list[str]) -> Result:
    return CliRunner().invoke(cli, command[3:])


def finish(command: list[str], timeout: float = 100) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment(), check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("data"))


def test_two_processes_train_as_one_with_twice_the_batch(data: Path, tmp_path: Path) -> None:
    two = finish(torchrun(data, tmp_path / "two", "-b", "8", *EXACT))
    one = here(single(data, tmp_path / "one", "-b", "16", *EXACT))
    assert (one.exit_code, two.returncode) == (0, 0), one.output + two.stderr
    first, second = (read_state(tmp_path / name / "state.pt") for name in ("one", "two"))
    for name, tensor in first.model.items():
        assert torch.allclose(tensor, second.model[name], atol=1e-5), name
    assert [r.held_out_top1 for r in first.history] == [r.held_out_top1 for r in second.history]
    assert second.history[0].held_out_pictures == 10
    assert two.stdout.count("written:") == 1


def test_an_error_in_one_process_ends_all(data: Path, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "data")
    for path in sorted((tree / "train" / "red").iterdir()):
        path.write_bytes(b"broken")
    result = finish(torchrun(tree, tmp_path / "run", "-b", "8", "--broken-limit", "2"))
    assert result.returncode != 0
    assert "--broken-limit" in result.stderr


def test_a_killed_process_does_not_leave_the_other_waiting(data: Path, tmp_path: Path) -> None:
    processes = []
    for rank in range(2):
        more = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        processes.append(
            subprocess.Popen(
                single(data, tmp_path / "run", "-b", "8", "--epochs", "5000"),
                env=environment() | more | {"MASTER_PORT": "29653"}, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "state.pt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    processes[1].kill()
    _, errors = processes[0].communicate(timeout=40)
    processes[1].communicate(timeout=10)
    assert processes[0].returncode == 1, errors
    assert "another one ended" in errors
    assert "--resume auto" in errors
    assert "Traceback" not in errors


def test_kills_at_any_moment_change_nothing(data: Path, tmp_path: Path) -> None:
    more = ("-b", "8", "--epochs", "4", "--recovery-interval", "2")
    assert here(single(data, tmp_path / "whole", *more)).exit_code == 0
    state = tmp_path / "run" / "state.pt"
    for attempt, kind in enumerate([signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]):
        before = state.stat().st_mtime_ns if state.exists() else 0
        command = single(data, tmp_path / "run", *more, "--resume", "auto")
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment())
        deadline = time.monotonic() + 60
        while process.poll() is None and (not state.exists() or state.stat().st_mtime_ns == before):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(0.013 * attempt)
        process.send_signal(kind)
        process.wait(timeout=30)
    assert here(single(data, tmp_path / "run", *more, "--resume", "auto")).exit_code == 0
    whole, stopped = (read_checkpoint(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(whole.state_dict[name], stopped.state_dict[name]) for name in whole.state_dict)


def test_other_weights_under_a_new_classifier(data: Path, tmp_path: Path) -> None:
    first = here(single(data, tmp_path / "first", "-b", "8"))
    assert first.exit_code == 0, first.output
    weights = str(tmp_path / "first" / "model.safetensors")
    more = ("--pretrained", weights, "--num-classes", "5", "--freeze", "backbone", "-b", "8")
    second = here(single(data, tmp_path / "second", *more))
    assert second.exit_code == 0, second.output
    before, after = (read_checkpoint(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert after.spec.num_classes == 5
    for name, tensor in before.state_dict.items():
        assert name.startswith("classifier") or torch.equal(tensor, after.state_dict[name]), name
    other = here(single(data, tmp_path / "third", "--pretrained", weights, "--width", "0.5"))
    assert other.exit_code == 2
    assert "width" in other.output
