from __future__ import annotations

from pathlib import Path

import pytest

from repghost.errors import UsageError
from repghost.hub.address import Address, is_address, is_plain, parse_address

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf://me/birds", ("me/birds", None, "")),
        ("hf://me/birds/", ("me/birds", None, "")),
        ("hf://me/birds@v1/arm64/int8", ("me/birds", "v1", "arm64/int8")),
        (f"hf://a-b/c.d@{COMMIT}/model.safetensors", ("a-b/c.d", COMMIT, "model.safetensors")),
    ],
)
def test_the_parts_of_an_address(text: str, parts: tuple[str, str | None, str]) -> None:
    found = parse_address(text)
    assert (found.repository, found.revision, found.path) == parts
    assert parse_address(Path(text)) == found and is_address(Path(text))  # as click gives it
    assert parse_address(str(found)) == found


def test_only_a_commit_is_pinned() -> None:
    assert parse_address(f"hf://me/birds@{COMMIT}").is_pinned
    assert not parse_address("hf://me/birds@main").is_pinned and not Address("me/birds").is_pinned


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://me", "hf://me/b@", "hf://me/..", "hf://me/b@..", "hf://me/b/../c", "hf://me/b/.git/config", "hf://me/b/a//b",
     "hf://me/b/\x1b[2J",
     "hf://me/b/a\nb", "hf:///etc/passwd", "hf://-me/b", "hf://me/b/1/2/3/4/5/6/7"],
)  # fmt: skip
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no address of the hub"):
        parse_address(text)


def test_what_can_be_a_path_here() -> None:
    assert is_plain("arm64/int8/model.so") and is_plain("README.md")
    assert not any(map(is_plain, ("", "..", "a/../b", "/etc/passwd", "a\\b", ".hidden", "x" * 200, "a/\u202e")))
