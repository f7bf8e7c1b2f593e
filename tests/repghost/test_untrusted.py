"""Files, numbers and JSON from outside, read within limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from repghost.errors import IntegrityError, UsageError
from repghost.untrusted import LARGEST_INT, open_regular, parse_int, parse_json, read_bounded


def test_a_regular_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    (tmp_path / "link").symlink_to(path)
    assert read_bounded(path, 5) == read_bounded(tmp_path / "link", 5) == b"12345"
    with pytest.raises(UsageError, match="file: 5 bytes; at most 4 are allowed"):
        read_bounded(path, 4)
    with pytest.raises(IntegrityError, match="symbolic link"):
        read_bounded(tmp_path / "link", 5, error=IntegrityError, follow_links=False)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(UsageError, match="not a regular file"):
            read_bounded(path, 10)


@pytest.mark.parametrize("name", ["absent", "a\0b", "loop", "x" * 300, "file/below"])
def test_a_name_that_cannot_be_opened_is_an_error_of_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match="cannot be read"):
        open_regular(tmp_path / name)


def test_a_file_that_grows_is_refused(tmp_path: Path) -> None:
    if not Path("/proc/self/status").is_file():
        pytest.skip("needs /proc")
    with pytest.raises(UsageError, match="grew"):  # files there say that they are empty
        read_bounded(Path("/proc/self/status"), 1 << 20)


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "+1", "1_0", "0x1", "1.0", "\u0661", "\xb2", "1\n", "9" * 20, "9" * 5000]
)
def test_other_digits_are_no_number(text: str) -> None:
    assert parse_int(text) is None


def test_a_number_lies_in_its_range() -> None:
    assert parse_int("007") == 7 and parse_int("-3", -5) == -3 and parse_int(str(LARGEST_INT)) == LARGEST_INT
    assert parse_int("-1") is None and parse_int("6", 1, 5) is None and parse_int(str(LARGEST_INT + 1)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"a": 1, "a": 2}',
        "NaN",
        "-Infinity",
        "1e999",
        "9" * 400,
        str(1 << 63),
        "[" * 34 + "]" * 34,
        "[" * 100_000,
        '"\\ud800"',
        b"\xff",
        b'"' + b"x" * (1 << 20) + b'"',
    ],
)
def test_what_is_not_strict_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(UsageError, match=r"^it (is not JSON that can be read|has \d+ bytes)"):
        parse_json(text, "it")


@pytest.mark.parametrize("value", [None, [], {"a": [1, -(1 << 63), 1.5e300]}, "\U0001f47b", "é"])
def test_strict_json_is_read(value: Any) -> None:
    import json

    assert parse_json(json.dumps(value), "it") == value
