from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from repghost.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from repghost.cli import cli
from repghost.distributed.ranks import Ranks
from repghost.network.model import RepGhostNet
from repghost.training.state.state import read_state
from tests.support import training_processes as processes
from tests.support.forked_commands import HELPER, ForkedCommands, is_running
from tests.support.training_commands import single
from tests.support.training_sets import make_tree, tiny_recipe
from tests.support.two_processes import TwoProcesses, group

# nothing that depends on how a batch is cut
EXACT = ["--freeze", "bn", "--drop", "0", "--reprob", "0", "--no-model-ema"]


def here(command: list[str]) -> Result:
    return CliRunner().invoke(cli, command[3:])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(
    data: Path, tmp_path: Path, two_processes: TwoProcesses
) -> None:
    two = two_processes.run(*single(data, tmp_path / "two", "-b", "8", *EXACT)[3:])
    one = here(single(data, tmp_path / "one", "-b", "16", *EXACT))
    assert (one.exit_code, two.codes) == (0, [0, 0]), one.output + two.stderr
    first, second = (read_state(tmp_path / name / "state.pt") for name in ("one", "two"))
    for name, tensor in first.model.items():
        assert torch.allclose(tensor, second.model[name], atol=1e-5), name
    assert [r.held_out_top1 for r in first.history] == [r.held_out_top1 for r in second.history]
    assert second.history[0].held_out_pictures == 10
    assert two.stdout.count("written:") == 1


@pytest.mark.slow
def test_two_processes_average_the_gradients_of_twice_the_batch(tmp_path: Path, two_processes: TwoProcesses) -> None:
    two_processes.help("gradients", 8, tmp_path)
    processes.gradients(Ranks(), 16, tmp_path)
    whole, halves = (torch.load(tmp_path / f"gradients-{count}.pt", weights_only=True) for count in (1, 2))
    assert whole.keys() == halves.keys()
    assert any(float(tensor.abs().max()) > 1e-3 for tensor in whole.values())
    for name, tensor in whole.items():
        assert torch.allclose(tensor, halves[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.slow
def test_statistics_are_broadcast_or_averaged(tmp_path: Path, two_processes: TwoProcesses) -> None:
    two_processes.help("statistics", "", tmp_path)
    values = json.loads((tmp_path / "statistics.json").read_text())
    assert values == {"broadcast": [1.0, 1.0], "reduce": [1.5, 1.5]}


@pytest.mark.slow
def test_a_lost_process_is_started_again_and_changes_nothing(
    data: Path, tmp_path: Path, two_processes: TwoProcesses, in_children: ForkedCommands
) -> None:
    more = ("-b", "8", "--epochs", "3", "--resume", "auto", "--recovery-interval", "1")
    whole = two_processes.run(*single(data, tmp_path / "whole", *more)[3:])
    words = single(data, tmp_path / "run", "--dist-timeout", "120", *more)[3:]
    said, state, deadline = tmp_path / "said", tmp_path / "run" / "state.pt", time.monotonic() + 240
    process = in_children.start([HELPER, "elastic_training", *words], said)
    while not state.exists():
        assert is_running(process) and time.monotonic() < deadline, said.read_text()
        time.sleep(0.005)
    before = children(process)
    os.kill(before[-1], signal.SIGKILL)
    while set(before) & set(children(process)) or len(children(process)) != 2:
        assert is_running(process), "the run ended before both processes were started again"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert (whole.codes, in_children.wait()) == ([0, 0], 0), whole.stderr + said.read_text()
    first, second = (read_checkpoint(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(first.state_dict[name], second.state_dict[name]) for name in first.state_dict)


def children(parent: int) -> list[int]:
    """The processes that the agent started, by the kernel's own list."""
    return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.mark.slow
def test_two_processes_validate_uneven_shares_as_one(data: Path, tmp_path: Path, two_processes: TwoProcesses) -> None:
    path = tmp_path / "model.safetensors"
    torch.manual_seed(0)
    preprocess = tiny_recipe().preprocess.to_dict()
    write_checkpoint(path, RepGhostNet(0.25, 3).eval(), preprocess, ("blue", "green", "red"))
    arguments = ["validate", str(path), "--data", str(data), "--split", "val", "--images", "9", "--json"]
    two = two_processes.run(*arguments)
    assert two.codes == [0, 0], two.stderr
    first, second = json.loads(two.stdout), json.loads(CliRunner().invoke(cli, arguments).stdout)
    assert (first.pop("processes"), second.pop("processes")) == (2, 1)
    for one, other in zip(first["networks"], second["networks"], strict=True):
        assert one.pop("loss") == pytest.approx(other.pop("loss"))
    assert first == second


@pytest.mark.slow
def test_an_error_ends_all_processes(tmp_path: Path, two_processes: TwoProcesses) -> None:
    tree = make_tree(tmp_path / "data")
    for path in sorted((tree / "train" / "red").iterdir()):
        path.write_bytes(b"broken")
    two = two_processes.run(*single(tree, tmp_path / "run", "-b", "8", "--broken-limit", "2")[3:])
    assert 0 not in two.codes
    assert two.stderr.count("--broken-limit") == len(two.codes)


@pytest.mark.slow
def test_a_killed_process_does_not_leave_the_other_waiting(
    data: Path, tmp_path: Path, in_children: ForkedCommands
) -> None:
    words = single(data, tmp_path / "run", "-b", "8", "--epochs", "5000", "--dist-timeout", "20")[3:]
    deadline = time.monotonic() + 180
    first, second = (in_children.start(words, tmp_path / f"said by {it['RANK']}", **it) for it in group())
    while not (tmp_path / "run" / "state.pt").exists():
        assert is_running(first) and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(second, signal.SIGKILL)
    code, errors = in_children.wait(first), (tmp_path / "said by 0").read_text()
    assert code == 1, errors
    assert "another one ended" in errors
    assert "--resume auto" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_kills_at_any_moment_change_nothing(data: Path, tmp_path: Path, in_children: ForkedCommands) -> None:
    more = ("-b", "8", "--epochs", "4", "--recovery-interval", "2")
    assert here(single(data, tmp_path / "whole", *more)).exit_code == 0
    state, words = tmp_path / "run" / "state.pt", single(data, tmp_path / "run", *more, "--resume", "auto")[3:]
    for attempt, kind in enumerate([signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]):
        before = state.stat().st_mtime_ns if state.exists() else 0
        process, deadline = in_children.start(words, tmp_path / "errors"), time.monotonic() + 180
        while is_running(process) and (not state.exists() or state.stat().st_mtime_ns == before):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(0.013 * attempt)
        with suppress(ProcessLookupError):
            os.kill(process, kind)
        in_children.wait()
    assert CliRunner().invoke(cli, words).exit_code == 0
    whole, stopped = (read_checkpoint(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(whole.state_dict[name], stopped.state_dict[name]) for name in whole.state_dict)


@pytest.mark.slow
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
