"""Killed after each remote command, or two at once: what runs on the board is always a whole, proven version."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compile.bundle.manifest import Bundle
from compile.deploy.install import deploy
from compile.deploy.inventory import take_inventory
from compile.deploy.rollback import rollback
from repghost.errors import DeviceUnreachableError
from tests.support.standin import Standin, run

WRAPPER = """#!/bin/sh
{ssh} "$@"
status=$?
echo >>{count}
[ "$(wc -l <{count})" -eq {at} ] && kill -9 $PPID
exit $status
"""


def killed_after(board: Standin, bundle: Bundle, folder: str, commands: int, tmp_path: Path) -> int:
    """Run `repghost deploy` in a process that is killed after so many remote commands; returns its exit code."""
    bin_folder, count = tmp_path / f"bin{commands}", tmp_path / f"count{commands}"
    bin_folder.mkdir()
    wrapper = bin_folder / "ssh"
    wrapper.write_text(WRAPPER.format(ssh=shutil.which("ssh"), count=count, at=commands))
    wrapper.chmod(0o755)
    words = ["-m", "repghost.cli", "deploy", str(bundle.path), f"board:{folder}", "--ssh-config", str(board.config())]
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, timeout=60, check=False)
    return done.returncode


def wait_until_free(board: Standin, folder: str) -> None:
    deadline = time.monotonic() + 10
    while (board.home / folder / "lock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_after_each_remote_command(board: Standin, versions: list[Bundle], tmp_path: Path) -> None:
    folder = board.new_folder()
    old, new = versions[0], versions[1]
    place = board.home / folder
    killed, switched = 0, 0
    deploy(old.path, board.connection(folder))
    shutil.copytree(place, tmp_path / "before", symlinks=True)
    for commands in range(1, 40):
        wait_until_free(board, folder)
        shutil.rmtree(place)
        shutil.copytree(tmp_path / "before", place, symlinks=True)
        board.give(place)
        code = killed_after(board, new, folder, commands, tmp_path)
        current = board.current(folder)
        assert current in (old.digest, new.digest)
        assert switched == 0 or current == new.digest  # once a later kill finds the new version, all later ones do
        run(place / "current/repghost-run", "--verify")
        switched += current == new.digest
        if code == 0:
            break
        assert code == -signal.SIGKILL
        killed += 1
    assert code == 0
    assert killed >= 12
    assert 2 <= switched < killed


@pytest.mark.slow
def test_a_killed_deployment_leaves_no_lock(board: Standin, versions: list[Bundle], tmp_path: Path) -> None:
    folder = board.new_folder()
    deploy(versions[0].path, board.connection(folder))
    assert killed_after(board, versions[1], folder, 4, tmp_path) == -signal.SIGKILL
    wait_until_free(board, folder)
    deploy(versions[1].path, board.connection(folder))
    assert board.current(folder) == versions[1].digest


@pytest.mark.slow
def test_two_at_once_one_wins_and_none_breaks(board: Standin, versions: list[Bundle]) -> None:
    folder = board.new_folder()
    deploy(versions[0].path, board.connection(folder))

    connection = board.connection(folder)  # one for both: making one writes the configuration that ssh reads

    def attempt(bundle: Bundle) -> str | None:
        try:
            deploy(bundle.path, connection)
        except DeviceUnreachableError as error:
            assert "busy with a deployment" in str(error)
            return None
        return bundle.digest

    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(attempt, versions[1:3]))
        assert board.current(folder) in [digest for digest in outcomes if digest]
        run(board.home / folder / "current/repghost-run", "--verify")
        assert not (board.home / folder / "lock").exists()


@pytest.mark.slow
def test_the_newest_versions_stay(board: Standin, versions: list[Bundle]) -> None:
    folder = board.new_folder()
    connection = board.connection(folder)
    for bundle in versions:
        deploy(bundle.path, connection)
    found = take_inventory(connection)
    assert [version.digest for version in found.versions] == [bundle.digest for bundle in versions[-3:]]
    assert {path.name for path in (board.home / folder / "bundles").iterdir()} == {b.digest for b in versions[-3:]}
    for bundle in reversed(versions[-3:-1]):
        assert rollback(connection).version.digest == bundle.digest
    deploy(versions[0].path, connection)  # the current one is kept, and what is newer by the time of its deployment
    assert board.current(folder) == versions[0].digest
    deploy(versions[0].path, connection)  # again: nothing is copied, nothing is lost
    assert len(take_inventory(connection).versions) == 3
