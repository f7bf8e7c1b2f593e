"""Boards that answer nonsense: every command ends with one of its exit codes and a sentence that is safe to show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.bundle.manifest import Bundle
from compile.deploy import lock
from compile.storage.files import sha256
from compile.storage.strict_json import canonical_json
from compile.targets.table import ALIASES, Target
from repghost.cli import cli
from repghost.errors import RepGhostError
from tests.support.fake_board import FakeBoard, Fault, in_place_of_ssh

COMMANDS: dict[str, tuple[str, ...]] = {
    "status": ("status", "pi"),
    "status as JSON": ("status", "pi", "--json"),
    "rollback": ("rollback", "pi"),
    "rollback to": ("rollback", "pi", "--to", "{older}"),
    "deploy": ("deploy", "{new}", "pi"),
    "deploy as JSON": ("deploy", "{new}", "pi", "--json"),
    "bench": ("bench", "{new}", "--on", "pi"),
    "doctor": ("doctor", "--on", "pi"),
    "doctor as JSON": ("doctor", "--on", "pi", "--json"),
}
SCRIPTS = (
    "probe", "inventory", "begin", "append", "digests", "read", "runner", "publish", "switch", "prune", "discard",
)  # fmt: skip


def outcome(board: FakeBoard, command: str, versions: list[Bundle]) -> Result:
    words = [word.format(new=versions[2].path, older=versions[0].digest[:9]) for word in COMMANDS[command]]
    with in_place_of_ssh(board):
        return CliRunner().invoke(cli, words, color=True)  # so that click takes no escape sequence away


@pytest.fixture(scope="session")
def machine(host: Target) -> str:
    return next(name for name, target in ALIASES.items() if target == host.name)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_an_honest_board_is_served(command: str, versions: list[Bundle], machine: str) -> None:
    board = FakeBoard(machine, versions[:2])
    done = outcome(board, command, versions)
    assert done.exit_code == 0, done.output
    assert board.current.endswith(versions[{"deploy": 2, "rollback": 0}.get(command.split()[0], 1)].digest)


TEXTS = [
    *("", " ", "²", "٣", "-1", "0", "1e999", "NaN", "9" * 19, "1" * 5000, "\x1b[2J\x1b]0;x\x07", "\u202e", "\u2028x"),
    *("\0", "\x85", "\r\n\r\n", "../..", "bundles/../x", "a" * 64, "A" * 9000, "complete", "held", "current x"),
    *("problem \x1b[31m", "lacks \x1b[31m", "have ² x", "have 99999999999999999999 model.so", "size ²", "sha256 x y"),
    *("cores ²", "free_kb -1", "machine \x1b", "boot 2", "</0 0>", "[" * 5000, "{}", "null", '{"ok": true}'),
    *('{"a": 1, "a": 2}', '{"pictures": 1e400}', f"history {'a' * 64} ² m t p", f"bundles ² {'a' * 64}"),
]
nonsense = (st.sampled_from(TEXTS) | st.text(max_size=30)).map(lambda text: text.encode("utf-8", "surrogatepass"))
anything = nonsense | st.binary(max_size=40)
numbers = st.sampled_from([0, 1, 2, 3, 5, 8, 13])


def change_line(number: int, text: bytes, keep: int) -> Fault:
    """Replace, drop (an empty text) or follow a line by another one."""

    def fault(whole: bytes) -> bytes:
        lines = whole.split(b"\n")
        at = number % len(lines)
        return b"\n".join([*lines[: at + keep], *([text] if text else []), *lines[at + 1 :]])

    return fault


def change_word(number: int, place: int, text: bytes) -> Fault:
    def fault(whole: bytes) -> bytes:
        lines = whole.split(b"\n")
        words = lines[number % len(lines)].split(b" ")
        words[place % len(words)] = text
        lines[number % len(lines)] = b" ".join(words)
        return b"\n".join(lines)

    return fault


def change_json(key: str, value: Any) -> Fault:
    """Give a key of the runner's result another value."""

    def fault(whole: bytes) -> bytes:
        lines = whole.split(b"\n")
        for at, line in enumerate(lines):
            if line.startswith(b"{"):
                lines[at] = json.dumps({**json.loads(line), key: value}).encode()
        return b"\n".join(lines)

    return fault


def change_status(text: bytes) -> Fault:
    return lambda whole: whole.replace(b" 0>", b" " + text + b">")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([10**300, -1, 0.0, 1e308]) | st.floats()
    | st.text(max_size=9) | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
KEYS = ["ok", "pictures", "mismatches", "tolerance", "variant", "min_ms", "median_ms", "p90_ms", "runs", "throttled"]
STATUSES = [b"1", b"2", b"124", b"126", b"139", b"256", "²".encode(), b"-1", b"1" * 400]
faults = st.one_of(
    st.builds(change_line, numbers, anything, st.sampled_from([0, 1])),
    st.builds(change_word, numbers, numbers, anything),
    st.builds(change_json, st.sampled_from(KEYS), values),
    st.builds(change_status, st.sampled_from(STATUSES)),
    st.builds(lambda length: lambda whole: whole[:length], st.integers(0, 400)),
    st.builds(lambda text: lambda whole: text, anything),
    st.builds(lambda text: lambda whole: text + whole + text, anything),
)
bad_boards = st.dictionaries(st.sampled_from(SCRIPTS), st.lists(faults, min_size=1, max_size=2), min_size=1, max_size=3)


def check(done: Result, board: FakeBoard, versions: list[Bundle]) -> None:
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (0, 2, 3, 4, 5, 6)
    assert all(character.isprintable() or character == "\n" for character in done.output), ascii(done.output)
    if board.current.endswith(versions[2].digest):
        assert "runner" in board.asked[: board.asked.index("switch")]  # nothing unproven becomes current


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_any_answer_ends_in_a_sentence(command: str, versions: list[Bundle], machine: str) -> None:
    @settings(max_examples=80, derandomize=True, deadline=None)
    @given(bad_boards, st.sampled_from([0, 0, 1, 255]))
    def run(wrong: Mapping[str, list[Fault]], code: int) -> None:
        board = FakeBoard(machine, versions[:2], wrong, code)
        check(outcome(board, command, versions), board, versions)

    run()


@pytest.mark.parametrize("text", TEXTS)
def test_each_answer_that_was_once_trouble(text: str, versions: list[Bundle], machine: str) -> None:
    for command in ("status", "deploy"):
        for fault in (change_line(3, text.encode(), 1), lambda whole: whole.replace(b"have 0", text.encode())):
            board = FakeBoard(machine, versions[:2], {name: [fault] for name in ("begin", "inventory", "probe")})
            check(outcome(board, command, versions), board, versions)


@pytest.mark.slow
@pytest.mark.parametrize(
    "value", ["\x1b[2J\n\u202e", "9" * 99, None, True, -1, 10**300, 1e308, float("nan"), [], {"a": {}}]
)
def test_each_value_of_a_result_is_checked(value: Any, versions: list[Bundle], machine: str) -> None:
    for key in KEYS:
        for command in ("deploy", "bench"):
            board = FakeBoard(machine, versions[:2], {"runner": [change_json(key, value)]})
            check(outcome(board, command, versions), board, versions)


def test_a_name_on_the_board_moves_no_cursor(versions: list[Bundle], machine: str) -> None:
    text = f"bundles 1 {'a' * 64}\nhistory {'a' * 64} 12 \x1b[2J \u202e p".encode()
    board = FakeBoard(machine, versions[:2], {"inventory": [change_line(3, text, 1)]})
    done = outcome(board, "status", versions)
    check(done, board, versions)
    assert r"aaaaaaaaaaaa  1970-01-01" in done.output and r"\x1b[2J \u202e p" in done.output


@pytest.mark.slow
@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.lists(anything, max_size=5), st.booleans())
def test_any_answer_for_the_lock_is_survived(lines: list[bytes], whole: bool) -> None:
    try:
        assert lock._is_held(b"\n".join(lines) + (b"\n" if whole else b""), "pi") in (True, False)
    except RepGhostError as error:
        assert str(error).isprintable() and error.exit_code in (2, 5)


WRONG_SECTIONS = {
    "model": {"name": "\x1b[2J"},
    "target": {"name": {"a": 1}},
    "variants": [{"x": 1}, "\x1b"],
    "precision": "\u202e",
    "accuracy": {"measured": 1},
}


@pytest.mark.parametrize("key", WRONG_SECTIONS)
def test_a_manifest_that_the_board_wrote_is_not_trusted(
    key: str, versions: list[Bundle], machine: str, tmp_path: Path
) -> None:
    """Its folder has the right name: the board can compute a digest, too."""
    text = canonical_json({**versions[0].manifest, key: WRONG_SECTIONS[key]})
    (tmp_path / "manifest.json").write_bytes(text)
    forged = replace(versions[0], path=tmp_path, digest=sha256(text))
    board = FakeBoard(machine, [forged, versions[1]])
    check(outcome(board, "rollback", versions), board, versions)
