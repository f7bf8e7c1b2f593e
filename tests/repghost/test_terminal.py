"""Text from outside on a terminal: one line, and nothing that a terminal obeys."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from repghost.cli import cli
from repghost.errors import RepGhostError, UsageError
from repghost.terminal import MOST_BROKEN, escape, say, say_broken, say_page, shell_command
from tests.support import ROOT

FORGED = "a\x1b[2J\nerror: forged\r\u2028\u202e.pth"
SHOWN = r"a\x1b[2J\nerror: forged\r\u2028\u202e.pth"


def test_what_a_terminal_obeys_is_spelt_out() -> None:
    assert escape(FORGED) == SHOWN
    assert escape(os.fsdecode(b"caf\xe9.png")) == r"caf\udce9.png"
    assert escape(Path("Schrödinger \\ 猫.png")) == "Schrödinger \\ 猫.png"
    assert escape("0123456789", limit=8) == "01234..."


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.text(st.characters()), st.integers(3, 40))
def test_any_text_becomes_one_printable_line(text: str, limit: int) -> None:
    shown = escape(text)
    assert shown.isprintable() and escape(shown) == shown and len(escape(text, limit)) <= limit


def test_an_error_has_the_lines_it_was_given_and_no_other() -> None:
    assert str(UsageError(f"{FORGED} is no file.")) == f"{SHOWN} is no file."
    assert str(RepGhostError("two:", "  a\nb")) == "two:\n  a\\nb"


def test_a_command_to_copy_is_quoted() -> None:
    assert shell_command("repghost", "fuse", Path("my net; rm -rf x.pth")) == "repghost fuse 'my net; rm -rf x.pth'"
    assert shlex.split(shell_command("a b", "c'd", 5)) == ["a b", "c'd", "5"]
    assert "\x1b" not in shell_command("a\x1b[2J")


@pytest.mark.parametrize("arguments", [("fuse", FORGED, "out"), ("quantize", FORGED), ("verify", FORGED), (FORGED,)])
def test_a_file_name_forges_no_line(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "\x1b" not in result.output and "\nerror: forged" not in result.output


def test_what_is_printed_has_the_lines_it_was_given_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    say("two", f"written: {FORGED}", os.fsdecode(b"caf\xe9"))
    say_page("a\n\x1b[2Jb\n")
    assert capsys.readouterr().out == f"two\nwritten: {SHOWN}\ncaf\\udce9\na\n\\x1b[2Jb\n"


def test_commands_print_everything_but_json_with_say() -> None:
    """JSON spells out what a terminal obeys itself."""
    lines = [line for path in (ROOT / "repghost/commands").rglob("*.py") for line in path.read_text().splitlines()]
    assert [
        line for line in lines if re.search(r"click\.echo|\bprint\(", line) and "echo(json.dumps(" not in line
    ] == []


# In a terminal.

TOLD = """
import sys
from repghost import terminal
terminal.live = sys.stderr.isatty()
terminal.say_passing("calibrate ...")
terminal.say("calibrate 1 s")
terminal.say_summary("net", "", "written: \\x1b[2Jx", "")
terminal.say_next(terminal.shell_command("repghost", "flops"))
"""


def told(in_terminal: bool, **variables: str) -> str:
    """Return what a program that says everything writes, in a terminal of 40 columns or into a pipe."""
    code = [sys.executable, "-c", TOLD]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "40", "PYTHONUTF8": "1", "TERM": "xterm"}
    environment = {key: value for key, value in environment.items() if key != "NO_COLOR"} | variables
    if not in_terminal:
        return subprocess.run(code, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout
    ours, theirs = pty.openpty()
    subprocess.run(code, env=environment, stdout=theirs, stderr=theirs, timeout=60, check=True)
    os.close(theirs)
    written = os.read(ours, 4096)
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


def test_a_terminal_gets_a_frame_and_a_passing_line() -> None:
    bar = "─"
    assert told(True).split("\n") == [
        "calibrate ...\r\x1b[Kcalibrate 1 s",
        f"╭{bar} \x1b[1mnet\x1b[0m {bar * 33}",
        "│ written: \\x1b[2Jx",
        f"╰{bar * 39}",
        "next:",
        "  repghost flops",
        "",
    ]
    assert "\x1b[1m" not in told(True, NO_COLOR="1") and "╭" in told(True, NO_COLOR="1")
    assert "\x1b[1m" not in told(True, TERM="dumb")


def test_a_pipe_gets_plain_lines() -> None:
    assert told(False) == "calibrate 1 s\n\nwritten: \\x1b[2Jx\n\nnext:\n  repghost flops\n"


@pytest.mark.parametrize("count", [0, MOST_BROKEN, MOST_BROKEN + 3])
def test_broken_pictures_are_named_up_to_a_number_and_counted(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    say_broken([f"{number}.png: no image" for number in range(count)], "left out")
    lines = capsys.readouterr().err.splitlines()
    named = [f"broken picture, left out: {number}.png: no image" for number in range(min(count, MOST_BROKEN))]
    assert lines == named + ["3 other broken pictures, left out"] * (count > MOST_BROKEN)
