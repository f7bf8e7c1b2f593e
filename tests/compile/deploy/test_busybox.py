"""A board with BusyBox and nothing else, an account without a home: as small as boards get."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compile.bundle.manifest import Bundle
from compile.deploy.probe import probe
from repghost.cli import cli
from repghost.errors import ToolMissingError
from tests.support.busybox import fetch_busybox, leave_only_busybox
from tests.support.standin import TOOLS, Standin


@pytest.fixture(scope="session")
def busybox() -> Path:
    try:
        return fetch_busybox()
    except ToolMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def small(board: Standin, busybox: Path) -> Iterator[Standin]:
    """The board with BusyBox for all its programs, its shell too."""
    leave_only_busybox(board.bin, busybox, tuple(name for name in TOOLS if name != "uname"))
    board.profile('HOME=/nonexistent\n[ "$1" != -c ] || exec busybox sh "$@"')
    yield board


def invoke(board: Standin, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "--ssh-config", str(board.config())])


@pytest.mark.slow
def test_what_busybox_says_is_understood(small: Standin) -> None:
    facts = probe(small.connection(str(small.home / "probe")))
    assert facts.digest_tool == "sha256sum" and facts.writable and facts.loaders is not None
    assert "not found" not in facts.libc
    assert facts.libc == "" or facts.glibc or "musl" in facts.libc


@pytest.mark.parametrize("command", ["status", "rollback", "doctor"])
def test_an_account_without_a_home_is_told_of_absolute_folders(small: Standin, command: str) -> None:
    done = invoke(small, command, *(["--on"] if command == "doctor" else []), "board")
    assert done.exit_code == (4 if command == "doctor" else 2)
    assert "lacks a home folder" in done.output


@pytest.mark.slow
def test_a_version_goes_there_and_back_without_a_home(small: Standin, versions: list[Bundle]) -> None:
    where = f"board:{small.home}/absolute"
    assert invoke(small, "deploy", str(versions[0].path), "board").exit_code == 2
    for bundle in versions[:2]:
        done = invoke(small, "deploy", str(bundle.path), where)
        assert done.exit_code == 0, done.output
    assert json.loads(invoke(small, "status", where, "--json").stdout)["current"] == versions[1].digest
    done = invoke(small, "bench", str(versions[2].path), "--on", where, "--rounds", "1", "--inferences", "3")
    assert done.exit_code == 0 and re.search(r"median [0-9.]+ ms", done.output), done.output
    done = invoke(small, "rollback", where)
    assert done.exit_code == 0 and versions[0].digest[:12] in done.output
    assert not (small.home / "absolute/lock").exists()
