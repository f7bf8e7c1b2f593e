"""The table of what a step of training under quantization costs, from its JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.qat_step import (
    FINAL,
    FLOAT_BRANCHES,
    FLOAT_FUSED,
    FUSED,
    LABELS,
    LEARN,
    MARKERS,
    REPARAM,
    render_cost,
    write,
)
from tests.support import ROOT


def found(learn: float, final: float) -> dict[str, Any]:
    """Return measurements where a float step takes a second and one under quantization as long as is said."""
    seconds = {FLOAT_FUSED: [1.0] * 11, FLOAT_BRANCHES: [1.0] * 11}
    for mode in (FUSED, REPARAM):
        seconds |= {mode + LEARN: [learn] * 11, mode + FINAL: [final] * 11, mode + LABELS: [1.0] * 11}
    return {
        "machine": {"threads": 1}, "network": {"name": "net", "size": 64, "batch": 64}, "rounds": 11, "steps": 2,
        "share_of_learning": 0.5, "seconds": seconds,
    }  # fmt: skip


def test_the_mean_of_a_run_is_that_of_its_parts_and_held_against_the_goal() -> None:
    page = render_cost(found(2.0, 1.5))
    assert "| fused, mean of a run | 1750 | float, fused network | 1000 | 1.75 (1.75 to 1.75) | 1.8 | kept |" in page
    assert "| fused, while scales learn | 2000 | float, fused network | 1000 | 2.00 (2.00 to 2.00) | 1.8 |" in page
    assert page.count("**missed by 0.20**") == 1 and page.count("| 3 | kept |") == 4


def test_the_rest_of_the_page_stays(tmp_path: Path) -> None:
    write(tmp_path, found(1.0, 1.0))
    page = tmp_path / "qat.md"
    page.write_text("before\n" + page.read_text() + "after\n")
    write(tmp_path, found(2.0, 1.5))
    assert page.read_text().startswith("before\n") and page.read_text().endswith("after\n")
    assert "**missed by 0.20**" in page.read_text()


def test_the_committed_page_is_made_from_the_committed_json() -> None:
    committed = json.loads((ROOT / "docs/qat.json").read_text())
    page = (ROOT / "docs/qat.md").read_text()
    assert f"{MARKERS.begin}\n{render_cost(committed)}\n{MARKERS.end}" in page
