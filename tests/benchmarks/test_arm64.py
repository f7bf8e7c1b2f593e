"""The arm64 section of the performance page: every goal from the JSON, nothing counted twice, other sections kept."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import fp16_agreement as predictions
from benchmarks.arm64 import ARM64_SECTION, CPU_OF_FLOAT, NETWORKS, read_others, with_kept
from benchmarks.host import HOST_SECTION
from benchmarks.pages.arm64 import evaluate_counts, render_counts
from benchmarks.shared import counting as counting_module
from benchmarks.shared.counting import Counting, counted
from benchmarks.shared.documents import write_section
from benchmarks.shared.goals import INSTRUCTIONS, best_other, cycles_of
from compile.bench.count import CPUS, Counted, CountRun
from compile.bench.counter_build import InstructionCounter
from compile.cycles.stretch import Stretch
from compile.storage.measurements import Measurements
from compile.storage.stage_cache import StageCache
from compile.summary.sources import File
from compile.summary.sources.performance import read
from repghost.errors import UsageError
from repghost.network.spec import WIDTHS
from tests.support import ROOT

DOCS = ROOT / "docs"
CYCLES = {
    "cortex-a53": 9.9e6, "cortex-a72": 8.0e6, "cortex-a55": 9.5e6, "cortex-a76": 3.4e6, "cortex-a510": 7e6,
    "cortex-a710": 3e6,
}  # fmt: skip


def count(
    width: float, precision: str, cpu: str, million: float, cycles: dict[str, float] | None = None
) -> dict[str, Any]:
    whole = {"total": int(million * 1e6), "instructions": {}, "modelled_cycles": {**CYCLES, **(cycles or {})}}
    return {
        "format": "repghost-count", "version": 2, "bundle": "ab", "precision": precision, "size": 224, "cpu": cpu,
        "model": f"repghostnet_{width:g}x", "emulator": "qemu-aarch64 version 7.2.22", "variant": "dot",
        "model_bytes": 2_900_000, "workspace_bytes": 400_000, "whole": whole,
    }  # fmt: skip


def other(million: float, a76: float, a55: float) -> dict[str, float]:
    """Return the figures of another runtime at one width."""
    return {"cortex-a76": million, cycles_of("cortex-a76"): a76, cycles_of("cortex-a55"): a55}


REPLAYS = [{"tolerance": 0.0}, {"tolerance": 0.0}, {"tolerance": 0.0}]
VERIFIED = {"int8": REPLAYS, "fp16": [{"tolerance": 0.1}]}
HALF = [
    count(0.5, "int8", "cortex-a76", 7.654),
    count(0.5, "int8", "max", 7.655),
    count(0.5, "int8", "cortex-a72", 15.1),
    count(0.5, "int8", "cortex-a53", 15.1),
    count(0.5, "fp32", "cortex-a72", 16.9, {"cortex-a72": 6.8e6, "cortex-a53": 22.2e6}),
    count(0.5, "fp16", "cortex-a76", 12.25),
]
ARM64: dict[str, Any] = {
    "date": "2026-11-24",
    "emulator": "qemu-aarch64 version 7.2.22",
    "networks": [{"width": 0.5, "size": 224, "verification": VERIFIED, "counts": HALF}],
    "agreement": {
        "precision": "fp16", "model": "repghostnet_0_5x", "data": "Fashion-MNIST", "split": "test", "pictures": 1000,
        "agreeing": 994, "change": {"difference": 0.001, "low": -0.001, "high": 0.003}, "machine": "an emulated core",
    },
    "rivals": {
        "source": "measured by a test",
        "method": "Somehow.",
        "rows": [
            {"runtime": "MNN", "precision": "fp16", "0.5": other(16.3, 5.72, 20.4)},
            {"runtime": "MNN", "precision": "int8", "0.5": other(21.0, 8.0, 21.5)},
        ],
    },
}  # fmt: skip


def lines_with(page: str, *words: str) -> list[str]:
    return [line for line in page.splitlines() if all(word in line for word in words)]


def test_each_goal_is_evaluated_by_its_figure() -> None:
    rows = {(it.goal.what, it.goal.subject): it for it in evaluate_counts(ARM64)}
    a76 = rows["int8 instructions on cortex-a76", "0.5x"]
    assert (a76.measured, a76.goal.limit, a76.goal.stretch, a76.reached) == (7.654, 9, 7, True)
    assert a76.goal.note == "21 (MNN int8), 16.3 (MNN fp16)"
    matrix = rows["int8 instructions on max (i8mm), at most those on cortex-a76", "0.5x"]
    assert (matrix.measured, matrix.goal.limit, matrix.reached) == (7.655, 7.654, False)
    cycles = rows["int8 modelled Cortex-A76, Neoverse N1 cycles, at most 0.6 of the best elsewhere", "0.5x"]
    assert cycles.goal.limit == pytest.approx(0.6 * 5.72) and cycles.reached
    assert not rows["fp16 instructions on cortex-a76", "0.5x"].reached
    agreement = rows["fp16 answers as float32, of 1000 pictures", "repghostnet_0_5x, carried"]
    assert agreement.measured == pytest.approx(99.4) and not agreement.reached
    assert rows["int8 model.so, all instruction sets in it", "0.5x"].measured == 2.9


def test_the_page_says_what_is_missed_by_how_much_and_which_precision_to_use() -> None:
    page = render_counts(ARM64)
    assert lines_with(page, "fp16 instructions on cortex-a76", "12.25 M", "**missed by 0.25 M**")
    assert lines_with(page, "i8mm", "**missed by 0.001 M**")
    assert lines_with(page, "int8 instructions on cortex-a76", "7.654 M", "| reached |")
    assert "3 int8 builds" in page and "1 float builds" in page
    assert lines_with(page, "Cortex-A72: use float", "1.18 at 0.5x")  # 8.0 / 6.8
    assert lines_with(page, "Cortex-A53: use float", "1.00 at 0.5x")
    assert lines_with(page, "| MNN int8 |", "| 21 |", "8 / 21.5")
    assert "994 of 1000 pictures of Fashion-MNIST" in page


def test_every_count_of_the_json_changes_the_page() -> None:
    shown = render_counts(ARM64)
    for index in range(len(HALF)):
        for change in ("total", *CYCLES):
            changed = copy.deepcopy(ARM64)
            whole = changed["networks"][0]["counts"][index]["whole"]
            if change == "total":
                whole["total"] += 1_000_000
            else:
                whole["modelled_cycles"][change] += 1e6
            assert render_counts(changed) != shown, (index, change)


def test_hosts_section_and_arm64s_stand_beside_each_other(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    host, arm64 = HOST_SECTION.markers, ARM64_SECTION.markers
    page.write_text(f"# P\n\n{host.begin}\nof the host\n{host.end}\n\n{arm64.begin}\n{arm64.end}\n")
    write_section(tmp_path, ARM64_SECTION, ARM64)
    first = page.read_text()
    assert f"{HOST_SECTION.markers.begin}\nof the host\n{HOST_SECTION.markers.end}" in first and "16.90 M" in first
    write_section(tmp_path, ARM64_SECTION, ARM64)
    assert page.read_text() == first
    assert json.loads((tmp_path / "performance.json").read_text())["arm64"] == ARM64


def test_the_committed_page_is_made_from_the_committed_json() -> None:
    document = json.loads((DOCS / "performance.json").read_text())
    page = (DOCS / "performance.md").read_text()
    markers = ARM64_SECTION.markers
    assert f"{markers.begin}\n{ARM64_SECTION.text(document['arm64'])}\n{markers.end}" in page
    counted_networks = {(network["width"], network["size"]) for network in document["arm64"]["networks"]}
    assert counted_networks == {(network.width, network.size) for network in NETWORKS}
    assert len(evaluate_counts(document["arm64"])) >= len(INSTRUCTIONS) + len(WIDTHS) + 3


def test_other_runtimes_are_data_with_a_source(tmp_path: Path) -> None:
    others = read_others(DOCS)
    assert "measured by us" in others["source"] and len(others["rows"]) >= 12
    assert best_other({"rivals": others}, 1.0, "cortex-a72", "int8") == "65.7 (LiteRT int8), 52.6 (ncnn fp32)"
    (tmp_path / "rivals-arm64.json").write_text('{"format": "other"}')
    with pytest.raises(UsageError, match="has the format 'other'"):
        read_others(tmp_path)


class _Bundle:
    """What `counted` asks of a bundle."""

    digest, path = "cd", Path("bundle")

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self, name: str) -> bytes:
        return self.content


class _Emulator:
    def version(self) -> str:
        return "qemu-aarch64 version 1"


def test_a_counted_inference_is_kept_until_its_bytes_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def run(bundle: _Bundle, *rest: object) -> CountRun:
        runs.append(bundle.content)
        return CountRun("dot", 1, Counted(Stretch({"dot": len(bundle.content)}), {}), ())

    monkeypatch.setattr(counting_module, "run_counted", run)
    monkeypatch.setattr(counting_module, "count_result", lambda bundle, counter, cpu, run: {"total": run.whole.total})
    counter = InstructionCounter(_Emulator(), {"guest": b"1"}, None, "", StageCache(tmp_path))  # type: ignore[arg-type]
    counting = Counting(counter, Measurements(tmp_path))
    cpu = CPUS["cortex-a76"]
    for content, expected in ((b"ab", 1), (b"ab", 1), (b"abc", 2), (b"ab", 2)):
        found = counted(_Bundle(content), cpu, counting)  # type: ignore[arg-type]
        assert found == {"total": len(content)} and len(runs) == expected
    counted(_Bundle(b"ab"), CPUS[CPU_OF_FLOAT["fp32"]], counting)  # type: ignore[arg-type]
    assert len(runs) == 3, "another core is another count"


def test_predictions_come_part_by_part_and_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def classify(bundle: object, machine: object, images: np.ndarray[Any, Any]) -> list[int]:
        asked.append(len(images))
        return [int(value) for value in images[:, 0, 0, 0]]

    monkeypatch.setattr(predictions, "_classify", classify)
    monkeypatch.setattr(predictions, "_machine", lambda bundle: type("M", (), {"name": "a core"}))
    images = np.arange(120, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    for _ in range(2):
        found = predictions.predictions(_Bundle(b"model"), images, Measurements(tmp_path), lambda line: None)  # type: ignore[arg-type]
        assert found.tolist() == list(range(120)) and sorted(asked) == [20, 50, 50]


def test_the_summary_reads_the_counts() -> None:
    document = {"format": "repghost-performance", "version": 1, "arm64": ARM64}
    learned = read(File(document, "performance.json"))
    emulated = [speed for speed in learned.speeds if speed.where == "emulated"]
    assert {(speed.precision, speed.unit) for speed in emulated} >= {("int8", "instructions"), ("fp16", "instructions")}
    (ours,) = [s for s in emulated if s.machine == "emulated cortex-a76" and s.precision == "int8"]
    assert (ours.value, ours.kind, ours.weights) == (7_654_000, "emulated", "random")


def test_what_was_counted_of_other_precisions_stays() -> None:
    before = {
        "verification": {"int8": ["old"], "fp16": ["kept"]},
        "counts": [{"precision": "int8"}, {"precision": "fp16"}],
    }
    entry = {"width": 0.5, "verification": {"int8": ["new"]}, "counts": [{"precision": "int8", "cpu": "max"}]}
    found = with_kept(entry, before)
    assert found["verification"] == {"int8": ["new"], "fp16": ["kept"]}
    assert found["counts"] == [{"precision": "int8", "cpu": "max"}, {"precision": "fp16"}]
    assert with_kept(entry, None) is entry
