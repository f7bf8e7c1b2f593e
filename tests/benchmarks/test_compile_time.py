"""The page about the time of compilation says what was measured, and the measuring counts children too."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compile_time
from benchmarks.compile_time import COMPILE_SECTION, goal_sentences, measure_run, render_compile_time, run_compile_time
from benchmarks.shared.documents import read_performance
from repghost.errors import RepGhostError
from repghost.network.spec import WIDTHS
from tests.support import ROOT

STAND_IN = """
import os, pathlib, subprocess, sys
arguments = dict(zip(sys.argv[2::2], sys.argv[3::2]))
if arguments["--width"] == "9":
    sys.exit("error: no such width")
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass"], check=True)
assert not pathlib.Path(os.environ["REPGHOST_CACHE"]).exists(), "kernels of an earlier run"
model = pathlib.Path(arguments["--output"]) / "net" / "arm64" / "int8" / "model.so"
model.parent.mkdir(parents=True)
model.write_bytes(bytes(1234))
print("compile  1.0 s  3 instruction sets, 17 kernels compiled, 0.3 s of processor time")
"""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make the command a script that works for 0.3 seconds in a child."""
    script = tmp_path / "repghost"
    script.write_text(f"#!{sys.executable}\n{STAND_IN}")
    script.chmod(0o755)
    monkeypatch.setattr(compile_time, "own_command", lambda name: str(script))


def run(width: float, seconds: float, host: bool = False) -> dict[str, Any]:
    return {
        "width": width, "host": host, "processor_seconds": seconds, "wall_seconds": seconds, "kernels": 9,
        "model_bytes": 2_900_000, "load": [3.0, 1.0],
    }  # fmt: skip


def test_a_run_is_measured_with_its_children(stand_in: None, tmp_path: Path) -> None:
    measured = measure_run(0.5, True, tmp_path)
    assert measured["processor_seconds"] >= 0.3
    assert (measured["kernels"], measured["model_bytes"], measured["host"]) == (17, 1234, True)
    assert measured["wall_seconds"] > 0


def test_a_run_that_fails_says_why(stand_in: None, tmp_path: Path) -> None:
    with pytest.raises(RepGhostError, match="no such width"):
        measure_run(9, False, tmp_path)


@pytest.mark.slow
def test_every_run_starts_without_kernels_and_the_page_is_written(stand_in: None, tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text(
        f"before\n{COMPILE_SECTION.markers.begin}\nold\n{COMPILE_SECTION.markers.end}\nafter\n"
    )
    said: list[str] = []
    value = run_compile_time(tmp_path, [0.5, 1.0], said.append)
    assert [(it["width"], it["host"]) for it in value["runs"]] == [(0.5, True), (0.5, False), (1.0, False)]
    assert len(said) == 3
    assert read_performance(tmp_path)["compile"] == value
    page = (tmp_path / "performance.md").read_text()
    assert page.startswith("before\n") and page.endswith("after\n") and "old" not in page
    assert "| 1x | arm64 | 17 | 0.00 |" in page


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([run(0.5, 40.0)], ["20.0 s on 2 free cores", "bar 20 s: reached", "not measured"]),
        ([run(0.5, 50.0, host=True)], ["50.0 s of processor time", "missed by 25%", "not measured"]),
        ([run(width / 2, 75.0) for width in range(1, len(WIDTHS) + 1)], ["bar 300 s: reached"]),
        ([run(width / 2, 90.0) for width in range(1, len(WIDTHS) + 1)], ["bar 300 s: missed by 20%"]),
    ],
)
def test_goals_say_what_is_reached(runs: list[dict[str, Any]], expected: list[str]) -> None:
    text = " ".join(goal_sentences(runs))
    assert all(words in text for words in expected), text
    assert text in " ".join(render_compile_time({"machine": {"core": "c", "cores": 2, "system": "s"}, "runs": runs})
                            .replace("- ", "").split("\n"))  # fmt: skip


def test_the_committed_page_is_made_from_the_committed_json() -> None:
    document, markers = json.loads((ROOT / "docs/performance.json").read_text()), COMPILE_SECTION.markers
    page = (ROOT / "docs/performance.md").read_text()
    assert f"{markers.begin}\n{COMPILE_SECTION.text(document['compile'])}\n{markers.end}" in page
