"""Locks: one holder at a time, whoever waits says so, and the lock of a process that died blocks nobody."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from repghost.locks import locked

FORK = multiprocessing.get_context("fork")
LIMIT = 60  # seconds; reached only where something hangs


def finish(*processes: multiprocessing.process.BaseProcess) -> list[int | None]:
    for process in processes:
        process.join(LIMIT)
    return [process.exitcode for process in processes]


def started(function: Callable[..., None], *arguments: object) -> multiprocessing.process.BaseProcess:
    process = FORK.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def add_ones(path: Path) -> None:
    for _ in range(50):
        with locked(path, lambda line: None):
            path.write_text(str(int(path.read_text()) + 1))


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("0")
    assert finish(*[started(add_ones, path) for _ in range(4)]) == [0] * 4
    assert path.read_text() == "200"
    assert [entry.name for entry in tmp_path.iterdir()] == ["number"]


def hold(path: Path, is_held: int, may_end: int) -> None:
    with locked(path):
        os.write(is_held, b"x")
        os.read(may_end, 1)


def test_whoever_waits_says_for_whom(tmp_path: Path) -> None:
    path = tmp_path / "place"
    (is_held, tell_held), (may_end, end) = os.pipe(), os.pipe()
    process = started(hold, path, tell_held, may_end)
    os.read(is_held, 1)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        os.write(end, b"x")  # only now does the other one go

    with locked(path, say):
        assert lines == [f"process {process.pid} is making {path}; waiting for it (Ctrl-C to stop)"]
    assert finish(process) == [0]


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "place"
    (is_held, tell_held), (may_end, _) = os.pipe(), os.pipe()
    process = started(hold, path, tell_held, may_end)
    os.read(is_held, 1)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    assert finish(process) == [-signal.SIGKILL]
    assert (tmp_path / ".place.lock").exists()
    with locked(path):
        assert capsys.readouterr().err == ""
    assert not list(tmp_path.iterdir())


def test_what_a_lock_file_holds_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / ".place.lock").write_bytes(b"\x1b[2Jnobody\n")
    with (tmp_path / ".place.lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        def say(line: str) -> None:
            assert line.startswith("another process is making ")
            fcntl.flock(other, fcntl.LOCK_UN)

        with locked(tmp_path / "place", say):
            assert (tmp_path / ".place.lock").read_text() == f"{os.getpid()}\n"


def test_a_file_system_without_locks_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*arguments: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with locked(tmp_path / "place"), locked(tmp_path / "place"):
        pass
    assert not list(tmp_path.iterdir())


def test_here_and_folders_without_a_writable_place_beside_them_are_locked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 254)  # as a mount whose parent is read-only: no file can be made beside it
    folder.mkdir()
    monkeypatch.chdir(folder)
    for path in (folder, Path(), Path(), Path("..", folder.name)):
        with locked(path):
            assert [entry.name for entry in folder.iterdir()] == [".lock"] and len(list(tmp_path.iterdir())) == 1
        assert not list(folder.iterdir())
    with pytest.raises(OSError, match="too long"), locked(tmp_path / ("y" * 254)):
        pass
