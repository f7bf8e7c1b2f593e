"""One deployment at a time: a lock ends with its owner, and nobody waits for ever for a board to give one."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from compile.bundle.manifest import Bundle
from compile.deploy import lock
from compile.deploy.install import deploy
from compile.deploy.inventory import take_inventory
from compile.deploy.lock import lock_board
from compile.deploy.ssh.address import parse_address
from compile.deploy.ssh.connection import Connection, SshSettings
from compile.storage import plain_folders
from compile.storage.plain_folders import MOST_CHARACTERS, plain_temporary_folder
from repghost.errors import DeviceUnreachableError, RepGhostError, UsageError
from tests.support.standin import Standin

BOOT = Path("/proc/sys/kernel/random/boot_id")


def started(pid: int) -> str:
    """When a process started, as its lock has to say."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def test_a_busy_board_is_left_alone(board: Standin, versions: list[Bundle]) -> None:
    folder = board.new_folder()
    with lock_board(board.connection(folder)):
        with pytest.raises(DeviceUnreachableError, match="busy with a deployment from "):
            deploy(versions[1].path, board.connection(folder))
        pid, boot, _, who, start = (board.home / folder / "lock/owner").read_text().split()
        assert (boot, start) == (BOOT.read_text().strip(), started(int(pid)))
        assert take_inventory(board.connection(folder)).holder == who
    assert not (board.home / folder / "lock").exists()


def test_a_deployment_that_lost_the_board_stops(board: Standin, versions: list[Bundle]) -> None:
    folder = board.new_folder()
    owner = board.home / folder / "lock/owner"

    def steal(line: str) -> None:
        if line.startswith("copy") and owner.exists():
            text = owner.read_text().split()
            owner.unlink()
            owner.write_text(" ".join([*text[:2], "f" * 16, *text[3:]]) + "\n")

    with pytest.raises(RepGhostError, match="another deployment has taken over") as caught:
        deploy(versions[1].path, board.connection(folder), say=steal)
    assert caught.value.exit_code == 5
    assert board.current(folder) is None
    assert owner.exists()  # it belongs to somebody else now


def leave_lock(board: Standin, folder: str, owner: str | None) -> Path:
    place = board.home / folder / "lock"
    place.mkdir(parents=True)
    if owner is not None:
        (place / "owner").write_text(owner)
    board.give(place.parent)
    return place


# Of a process that is gone, or whose number another one has by now; the last is of an older version, without a start.
STALE = {
    "gone": "999999 {boot} 0123456789abcdef x@y 1\n",
    "another start of the board": "{pid} other-boot 0123456789abcdef x@y {start}\n",
    "a recycled number": "{pid} {boot} 0123456789abcdef x@y 12345\n",
    "a recycled number, no start": "{pid} {boot} 0123456789abcdef x@y\n",
    "no name": "{pid} {boot}\n",
    "empty": "",
    "no file": None,
}


@pytest.mark.parametrize("owner", STALE.values(), ids=STALE.keys())
def test_a_lock_whose_owner_is_gone_is_taken(board: Standin, owner: str | None) -> None:
    folder, boot = board.new_folder(), BOOT.read_text().strip()
    with subprocess.Popen(["sleep", "60"]) as other:  # a process that has the number now
        text = None if owner is None else owner.format(boot=boot, pid=other.pid, start=started(other.pid))
        place = leave_lock(board, folder, text)
        with lock_board(board.connection(folder)):
            assert str(other.pid) != (place / "owner").read_text().split()[0]
        other.kill()
    assert not place.exists()


LIVE = {
    "with its start": "{pid} {boot} 0123456789abcdef x@y {start}\n",
    "of an older version": "{pid} {boot} 0123456789abcdef x@y\n",
}


@pytest.mark.parametrize("owner", LIVE.values(), ids=LIVE.keys())
def test_a_lock_whose_owner_runs_is_kept(board: Standin, owner: str) -> None:
    folder, boot = board.new_folder(), BOOT.read_text().strip()
    with subprocess.Popen(["sh", "-c", "sleep 60; : token=0123456789abcdef"]) as other:
        place = leave_lock(board, folder, owner.format(boot=boot, pid=other.pid, start=started(other.pid)))
        with (
            pytest.raises(DeviceUnreachableError, match="busy with a deployment from x@y"),
            lock_board(board.connection(folder)),
        ):
            pytest.fail("the lock was taken")
        other.kill()
    assert place.exists()


# What an ssh does whose board stops talking while it is asked for the lock.
SILENT = {
    "says nothing": "exec sleep 100",
    "closes its output and stays": "exec >&- 2>&-; exec sleep 100",
    "closes its answer and stays": "exec >&-; exec sleep 100",
    "never ends": "exec yes",
    "never ends its errors": "exec yes >&2",
}


@pytest.mark.parametrize("script", SILENT.values(), ids=SILENT.keys())
def test_a_board_that_stops_talking_is_given_up(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HOLD_LIMIT_S", 0.3)
    (tmp_path / "ssh").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    connection = Connection(parse_address("board"), SshSettings())
    began = time.monotonic()
    with (
        pytest.raises(DeviceUnreachableError, match=r"0\.3 s .*restart the board"),
        lock_board(connection),
    ):
        pytest.fail("the lock was taken")
    assert time.monotonic() - began < 9  # of the 100 s, and without the patience that a held board gets


ANSWERS = {
    "problem busy with a deployment from x@y": (DeviceUnreachableError, "Wait until it is done"),
    "problem mkdir: Read-only file system": (DeviceUnreachableError, "Name a folder on a file system"),
    "problem \x1b[2J": (DeviceUnreachableError, r"\\x1b\[2J"),
    "lacks a home folder": (UsageError, "lacks a home folder"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_a_board_says_instead_of_the_lock(answer: str) -> None:
    kind, words = ANSWERS[answer]
    with pytest.raises(kind, match=words) as caught:
        lock._is_held(f"{answer}\n".encode(), "board")
    assert str(caught.value).isprintable()
    assert not lock._is_held(answer.encode(), "board")  # no whole line yet
    assert lock._is_held(f"\xff\nheld\n{answer}\n".encode("latin-1"), "board")


def test_the_socket_has_a_short_and_plain_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for odd in ("a b", "50%h", "a,b", "x" * MOST_CHARACTERS, "", "/proc", "relative"):
        monkeypatch.setenv("TMPDIR", odd if odd.startswith("/") or not odd else str(tmp_path / odd))
        (tmp_path / odd).mkdir(exist_ok=True)
        with plain_temporary_folder("repghost-ssh-") as folder:
            assert folder is not None and str(folder.parent) in plain_folders.PLACES
            assert folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(plain_folders, "PLACES", ("/proc", str(tmp_path / "absent")))
    with plain_temporary_folder("repghost-ssh-") as folder:
        assert folder is None


@pytest.mark.slow
@pytest.mark.parametrize("nowhere", [False, True])
def test_a_board_is_reached_with_any_temporary_folder(
    board: Standin, versions: list[Bundle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nowhere: bool
) -> None:
    odd = tmp_path / "a b %h,'\""
    odd.mkdir()
    monkeypatch.setenv("TMPDIR", str(odd))
    monkeypatch.setenv("HOME", "/proc")
    if nowhere:
        monkeypatch.setattr(plain_folders, "PLACES", ())
    folder = board.new_folder()
    deploy(versions[0].path, board.connection(folder))
    assert board.current(folder) == versions[0].digest
    shutil.rmtree(odd)
