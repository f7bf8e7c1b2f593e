"""A board that restarts while it is measured: a sentence and exit code 5, and the next deployment finds its way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compile.bundle.manifest import Bundle
from compile.deploy.install import deploy
from compile.deploy.measure import BoardRun, measure_on_board
from compile.deploy.ssh import connection as connection_module
from repghost.cli import cli
from repghost.errors import DeviceUnreachableError
from tests.support.standin import Standin


def is_measuring(number: int) -> bool:
    try:
        return b"--bench\0" in Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return False


def while_measuring(board: Standin, act: Any) -> threading.Thread:
    """Call `act` as soon as a runner measures on the board."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not any(map(is_measuring, board.running())):
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_board_that_restarts_during_a_benchmark(board: Standin, versions: list[Bundle], tmp_path: Path) -> None:
    folder = board.new_folder()
    deploy(versions[0].path, board.connection(folder))
    thread = while_measuring(board, lambda: board.restart("after"))
    words = ["bench", str(versions[1].path), "--on", f"board:{folder}", "--seconds", "60", "--json"]
    done = CliRunner().invoke(cli, [*words, str(tmp_path / "x.json"), "--ssh-config", str(board.config())])
    thread.join(60)
    assert done.exit_code == 5, done.output
    (entry,) = json.loads((tmp_path / "x.json").read_text())["results"]
    assert not entry["measured"] and "connection to board broke while a command ran there" in entry["reason"]
    assert (board.home / folder / "lock").exists()  # of a start that is over
    assert board.current(folder) == versions[0].digest
    deploy(versions[2].path, board.connection(folder))
    assert board.current(folder) == versions[2].digest
    assert {path.name for path in (board.home / folder).iterdir()} == {"bundles", "current", "history", "incoming"}
    assert not any((board.home / folder / "incoming").iterdir())


@pytest.mark.slow
def test_a_board_that_stops_answering_during_a_benchmark(
    board: Standin, versions: list[Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power is gone: nobody ends the connection."""
    silent = [word.replace("Interval=5", "Interval=1") for word in connection_module.OPTIONS]
    monkeypatch.setattr(connection_module, "OPTIONS", tuple(silent))
    stopped: list[int] = []

    def stop() -> None:
        stopped.extend(board.running())
        for number in stopped:
            os.kill(number, signal.SIGSTOP)

    thread = while_measuring(board, stop)
    began = time.monotonic()
    try:
        with pytest.raises(DeviceUnreachableError, match="broke while a command ran there"):
            measure_on_board(versions[1], board.connection(board.new_folder()), BoardRun(seconds=300))
    finally:
        thread.join(60)
        for number in stopped:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
    assert time.monotonic() - began < 120  # of the 300 s


@pytest.mark.slow
def test_a_restart_between_two_commands_is_noticed(board: Standin, versions: list[Bundle]) -> None:
    board.tool("cat", f'case $* in *boot_id) echo $$ ;; *) exec {shutil.which("cat")} "$@" ;; esac')
    with pytest.raises(DeviceUnreachableError, match="board restarted while it was measured"):
        measure_on_board(versions[1], board.connection(board.new_folder()), BoardRun(runs=3, warmup=1))
