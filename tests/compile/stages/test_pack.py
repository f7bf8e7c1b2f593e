"""Where the bundles of a run lie."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from compile.stages.pack import bundle_folder
from compile.subject.request import Request
from compile.targets.precisions import INT8
from compile.targets.table import HOST, TARGETS, host_target


@pytest.mark.parametrize(
    ("asked", "built", "folder"),
    [
        ("arm64", "arm64", "arm64/int8"),
        ("aarch64", "arm64", "arm64/int8"),
        ("x86_64", "x86-64", "x86-64/int8"),
        ("android", "android", "android/int8"),
        ("android", "x86-64", "host/int8"),
    ],
)
def test_the_folder_bears_the_targets_name(asked: str, built: str, folder: str) -> None:
    build = SimpleNamespace(target=TARGETS[built], precision=INT8)
    assert bundle_folder(Request(asked, (INT8,)), build) == folder  # type: ignore[arg-type]


def test_this_machine_lies_under_host() -> None:
    host = host_target()
    if host is None:
        pytest.skip("no target fits this machine")
    build = SimpleNamespace(target=host, precision=INT8)
    assert bundle_folder(Request(HOST, (INT8,)), build) == "host/int8"  # type: ignore[arg-type]
