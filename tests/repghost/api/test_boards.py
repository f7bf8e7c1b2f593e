from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import repghost
from repghost.api.benchmarks.arguments import Benchmark
from repghost.api.boards import deployment
from repghost.errors import RepGhostError, UsageError


def test_a_value_that_is_no_bundle_is_told() -> None:
    for function in (repghost.verify, repghost.bench):
        with pytest.raises(UsageError, match="a bundle is its folder"):
            function(7)
    with pytest.raises(UsageError, match="is no folder"):
        repghost.verify("nowhere")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seconds": 3}, "belong to on="),
        ({"cores": "0"}, "belong to on="),
        ({"cpu": "max"}, "belongs to count="),
        ({"keep": "there"}, "belongs to per_layer="),
        ({"threads": 0}, "whole numbers from 1 to 64"),
        ({"threads": []}, "whole numbers from 1 to 64"),
        ({"precision": "int4"}, "unknown precision"),
        ({"python": "nowhere/python"}, "is no file"),
        ({"per_layer": True, "variants": ("avx2", "vnni")}, "at most one instruction set"),
    ],
)
def test_arguments_of_another_way_to_measure_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        repghost.bench("nowhere", **options)


def test_failures_on_boards_are_kept_until_somebody_asks() -> None:
    entries = [{"measured": True}, {"measured": False, "exit_code": 5, "error": "no answer"}]
    found = Benchmark({"results": entries}, "board: no answer")
    assert found.failed == 1 and repr(found) == "board: no answer"
    with pytest.raises(RepGhostError, match="1 of 2 measurements failed"):
        found.check()


def test_a_deployment_demands_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(deployment.install, "deploy", lambda *given: seen.extend(given))
    monkeypatch.setattr("compile.deploy.ssh.connection.shutil.which", lambda name: "/usr/bin/ssh", raising=False)
    repghost.deploy("build/net/arm64/int8", "pi@board:there", max_drop=1.5, keep=2, port=22)
    path, connection, settings, _ = seen
    assert path == Path("build/net/arm64/int8") and connection.address.folder == "there"
    assert (settings.max_drop_points, settings.keep, settings.accept_unmeasured) == (1.5, 2, False)
    with pytest.raises(UsageError):
        repghost.deploy("build/net/arm64/int8", "a board")
