from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner

from calib.qdq.writer import QUANTIZATION
from compile.bundle.manifest import MANIFEST
from compile.report.add_measurement import add_precision
from compile.report.run_page import render_report, summary_lines
from compile.report.run_report import JSON_FILE, PAGE_FILE, _recorded_choices, finish_report, read_report
from compile.storage.files import sha256
from compile.storage.strict_json import canonical_json
from repghost.cli import cli
from repghost.errors import IntegrityError, UsageError
from repghost.evaluation.accuracy import accuracy, paired_difference

MEASURED = {
    "measured": True,
    "program_digest": "ab" * 32,
    "test": {"pictures": 4321, "sha256": "00", "data": "my set", "split": "test", "broken": ["a.jpg: truncated"]},
    "fp32": {"top1": 0.91234, "low": 0.9, "high": 0.92, "correct": 3942, "pictures": 4321, "by": "PyTorch"},
    "int8": {
        "top1": 0.90123,
        "low": 0.89,
        "high": 0.91,
        "correct": 3894,
        "pictures": 4321,
        "by": "compiled host build",
        "checked_on": 77,
    },
    "change": {
        "difference": -0.01111,
        "low": -0.0155,
        "high": -0.0066,
        "only_before": 71,
        "only_after": 23,
        "agreeing": 4205,
        "pictures": 4321,
    },
}
HOST = {
    "folder": "host/int8",
    "target": "x86-64",
    "precision": "int8",
    "exact": True,
    "variants": ["avx2", "vnni"],
    "bundle_digest": "cd" * 32,
    "program_digest": "ab" * 32,
    "sizes": {"files": {"model.so": 2_345_678}, "weights": 2_000_000, "bundle": 3_456_789},
    "steps": 119,
    "verification": {
        "verified": True,
        "bundle_digest": "cd" * 32,
        "replays": [
            {
                "variant": "avx2",
                "machine": "this machine",
                "emulated": False,
                "pictures": 77,
                "tolerance": 0.0,
                "largest_difference": 0.0,
            }
        ],
        "not_run": [{"variant": "vnni", "reason": "this core cannot run vnni"}],
    },
    "latency": {
        "measured": True,
        "median_ms": 1.234,
        "p90_ms": 1.345,
        "min_ms": 1.123,
        "runs": 200,
        "warmup": 20,
        "threads": 1,
        "variant": "avx2",
        "core": "A core",
        "clock": "governor performance",
    },
}
ARM64 = {
    **HOST,
    "folder": "arm64/int8",
    "target": "arm64",
    "variants": ["neon", "dot", "i8mm"],
    "verification": {"verified": False, "reason": "no qemu-aarch64.", "command": "repghost verify build/x/arm64/int8"},
    "latency": {"measured": False, "reason": "no device", "command": "ssh DEVICE x/repghost-run --bench"},
}
REPORT: dict[str, Any] = {
    "format": "repghost-report",
    "version": 1,
    "folder": "build/x",
    "model": {"name": "repghostnet_0_5x", "width": 0.5, "classes": 10},
    "weights": {"kind": "file", "source": "my.safetensors", "sha256": "11"},
    "preprocess": {"size": 64, "resize": 64, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3},
    "quantization": {
        "config": {"observer": "percentile", "policy": "cpu"},
        "program_digest": "ab" * 32,
        "operators": 119,
        "calibration": {"pictures": 512, "sha256": "22", "data": "my set", "split": "train", "broken": []},
    },
    "programs": {"int8": "ab" * 32, "fp32": "12" * 32},
    "accuracy": MEASURED,
    "builds": [ARM64, HOST],
    "next": [{"command": "repghost verify build/x/arm64/int8", "does": "replay the recorded pictures again"}],
    "tools": {"numpy": "2.0"},
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(REPORT), **changes}


def test_the_page_holds_the_figures_of_the_json() -> None:
    page = render_report(REPORT)
    for text in (
        "fp32 top-1 91.23% (95 %: 90.00% to 92.00%)",
        "int8 top-1 90.12% (95 %: 89.00% to 91.00%)",
        "change -1.11 points (paired 95 %: -1.55 to -0.66) on 4321 pictures",
        "71 only fp32 got right, 23 only int8, same answer on 4205",
        "equal to the numpy reference on the 77 pictures compared",
        "4321 of my set, split test, 1 broken ones not counted",
        "2.35 MB",
        "3.46 MB",
        "median 1.234 ms, p90 1.345 ms, min 1.123 ms (200 runs after 20, 1 thread, variant avx2, A core",
        "vnni: not run: this core cannot run vnni",
    ):
        assert text in page, text


def test_both_sides_of_a_picture_are_in_the_head() -> None:
    head = render_report(REPORT).splitlines()[0]
    preprocess = {**REPORT["preprocess"], "size": [96, 160], "resize": [96, 160]}
    assert render_report(changed(preprocess=preprocess)).splitlines()[0] == re.sub(r"\d+x\d+ pix", "96x160 pix", head)


def test_every_figure_of_the_page_comes_from_the_json() -> None:
    """Change each number of the JSON in turn: the page must change with it, or never have shown it."""
    shown = render_report(REPORT)
    for path in (("fp32", "top1"), ("int8", "top1"), ("change", "difference"), ("change", "low"), ("change", "high")):
        report = changed(accuracy=copy.deepcopy(MEASURED))
        report["accuracy"][path[0]][path[1]] += 0.05
        assert render_report(report) != shown, path
    for name in ("median_ms", "p90_ms", "min_ms"):
        build = copy.deepcopy(HOST)
        build["latency"][name] += 1
        assert render_report(changed(builds=[ARM64, build])) != shown, name


def test_copies_among_the_images_that_calibrate_are_told() -> None:
    quantization = copy.deepcopy(REPORT["quantization"])
    quantization["calibration"]["repeated"] = 7
    assert "512 pictures, 7 of them copies" in render_report(changed(quantization=quantization))
    assert "copies" not in render_report(REPORT)


def test_notes_on_the_images_stand_beside_the_accuracy() -> None:
    page = render_report(changed(notes=["not read, files that end in .txt: 2"]))
    assert "\n- not read, files that end in .txt: 2\n" in page


def test_the_float_build_is_compared_with_pytorch() -> None:
    record = {**MEASURED, "fp32_build": {"top1": 0.9, "agreeing": 4320, "pictures": 4321, "by": "compiled host build"}}
    page = render_report(changed(accuracy=record))
    assert re.search("compiled fp32 build .*PyTorch on 4320 of 4321 .*90.00%", page)
    assert "compiled fp32 build" not in render_report(REPORT)


def test_a_build_this_machine_cannot_run_is_not_said_to_have_answered() -> None:
    record = {**MEASURED, "fp16_build": {"top1": 0.9, "agreeing": 4319, "pictures": 4321, "by": "numpy reference"}}
    page = render_report(changed(accuracy=record))
    assert re.search("numpy reference of the fp16 build .* 4319 of 4321", page)
    assert "compiled fp16 build" not in page


def test_what_was_not_measured_says_so_with_the_command() -> None:
    report = changed(accuracy={"measured": False, "reason": "the weights are random", "command": "make compile ..."})
    for text in (render_report(report), "\n".join(summary_lines(report))):
        assert re.search("accuracy: not measured .*the weights are random.*`make compile ...`", text)
        assert "top-1" not in text
        assert ARM64["latency"]["command"] in text  # type: ignore[index]
    page = render_report(report)
    assert "arm64/int8: not measured" in page
    assert "no qemu-aarch64" in page
    assert not re.search(r"arm64/int8: median", page)


def test_emulation_is_never_called_a_latency() -> None:
    build = copy.deepcopy(HOST)
    build["verification"]["replays"][0].update(emulated=True, machine="qemu-aarch64 -cpu cortex-a53")
    assert "(emulated, qemu-aarch64 -cpu cortex-a53)" in render_report(changed(builds=[build]))


def test_a_tolerance_is_not_called_equality() -> None:
    build = copy.deepcopy(HOST)
    build["verification"]["replays"][0].update(tolerance=0.001, largest_difference=0.0005)
    page = render_report(changed(builds=[build]))
    assert re.search("within 0.001 .*0.0005", page)
    assert "equal to the bit" not in page


def test_no_change_has_no_sign_of_its_own() -> None:
    report = changed(accuracy=copy.deepcopy(MEASURED))
    report["accuracy"]["change"].update(difference=-0.0, low=-0.00001, high=0.0)
    assert re.search(r"change \+0\.00 points .*\+0\.00 to \+0\.00", render_report(report))


def test_the_interval_is_that_of_evaluate() -> None:
    import numpy as np

    labels = np.arange(100) % 7
    before, after = labels.copy(), labels.copy()
    before[:5] += 1
    after[3:20] += 1
    record = copy.deepcopy(MEASURED)
    record["fp32"].update(accuracy(before, labels).to_dict())  # type: ignore[attr-defined]
    record["int8"].update(accuracy(after, labels).to_dict())  # type: ignore[attr-defined]
    record["change"] = paired_difference(before, after, labels).to_dict()
    page = render_report(changed(accuracy=record))
    assert "fp32 top-1 95.00%" in page
    assert "int8 top-1 83.00%" in page
    assert "change -12.00 points" in page
    assert re.search("15 only fp32.* 3 only int8", page)


def write_bundle_stub(folder: Path, name: str) -> str:
    (folder / name).mkdir(parents=True)
    (folder / name / MANIFEST).write_bytes(b"{}")
    return sha256(b"{}")


def test_builds_of_earlier_runs_are_kept_while_they_are_true(tmp_path: Path) -> None:
    digest = write_bundle_stub(tmp_path, "arm64/int8")
    finish_report(tmp_path, changed(builds=[{**ARM64, "bundle_digest": digest}]))
    later = finish_report(tmp_path, changed(builds=[HOST]))
    assert [build["folder"] for build in later["builds"]] == ["host/int8", "arm64/int8"]
    assert read_report(tmp_path) == later
    (tmp_path / "arm64/int8" / MANIFEST).write_bytes(b"{ }")
    assert len(finish_report(tmp_path, changed(builds=[HOST]))["builds"]) == 1


def test_builds_of_another_program_are_dropped(tmp_path: Path) -> None:
    digest = write_bundle_stub(tmp_path, "arm64/int8")
    finish_report(tmp_path, changed(builds=[{**ARM64, "bundle_digest": digest, "program_digest": "ef" * 32}]))
    assert len(finish_report(tmp_path, changed(builds=[HOST]))["builds"]) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": "repghost-report", "version": 2}', b"\xff"])
def test_a_damaged_report_is_refused_and_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / JSON_FILE).write_bytes(content)
    with pytest.raises(IntegrityError):
        read_report(tmp_path)
    finish_report(tmp_path, changed())
    assert read_report(tmp_path)["model"]["name"] == "repghostnet_0_5x"


def test_no_report_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="repghost compile"):
        read_report(tmp_path)


def test_the_command_prints_the_page_or_the_json(tmp_path: Path) -> None:
    (tmp_path / JSON_FILE).write_bytes(canonical_json(REPORT))
    assert CliRunner().invoke(cli, ["report", str(tmp_path)]).output == render_report(REPORT)
    assert json.loads(CliRunner().invoke(cli, ["report", "--json", str(tmp_path)]).output) == REPORT
    assert not (tmp_path / PAGE_FILE).exists()


def test_the_page_names_the_observers_that_the_file_was_made_with(tmp_path: Path) -> None:
    file = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    recorded = {"observers": {"stem": "min_max"}, "training": {"chosen": "calibrated"}}
    onnx.helper.set_model_props(file, {QUANTIZATION: json.dumps(recorded)})
    onnx.save(file, tmp_path / "calibrated.onnx")
    choices = _recorded_choices(tmp_path / "calibrated.onnx")
    assert choices == {"observers": {"stem": "min_max"}}
    page = render_report(changed(quantization={**REPORT["quantization"], **choices}))
    assert "observer percentile 99.99, another one for 1 tensor" in page and "(min_max for 1)" in page
    for text, found in (('{"training": {"chosen": "epoch 2"}}', {"trained": "epoch 2"}), ("[]", {}), ("{", {})):
        onnx.helper.set_model_props(file, {QUANTIZATION: text})
        onnx.save(file, tmp_path / "other.onnx")
        assert _recorded_choices(tmp_path / "other.onnx") == found


DETECTOR = {
    "name": "ssdlite", "classes": 2, "detects": True,
    "results": [{"name": f"map {index}", "height": 3, "width": 4, "channels": 5} for index in range(10)],
}  # fmt: skip
UNMEASURED = {"measured": False, "reason": "it gives several results", "command": "repghost detect-validate BUNDLE"}


def test_a_detector_has_results_and_average_precision_and_no_top1(tmp_path: Path) -> None:
    report = finish_report(tmp_path, changed(model=DETECTOR, accuracy=UNMEASURED))
    page = render_report(report)
    assert "boxes of 2 classes; 10 results (map 0 3 x 4 x 5, " in page and "and 2 more)" in page
    assert "detect-validate" in page and "top-1" not in page
    entry = {
        "bundle_digest": HOST["bundle_digest"], "data": "shapes", "split": "val", "ap": 0.7286, "ap50": 0.98,
        "pictures": 200, "objects": 368, "intervals": {"ap50": [0.966, 0.991]}, "classes": {"circle": 0.98},
    }  # fmt: skip
    for ap in (0.1, 0.7286):
        assert add_precision(tmp_path, {**entry, "ap": ap})
    line = "- host/int8: AP 72.9%, AP50 98.0% (95 % of the draws: 96.6% to 99.1%) on 200 pictures with 368 objects"
    page = (tmp_path / "report.md").read_text()
    assert line in page and "AP 10.0%" not in page and "detect-validate" not in page
    later = finish_report(tmp_path, changed(model=DETECTOR, accuracy=UNMEASURED))  # of the same bytes
    assert line in render_report(later)
    assert not add_precision(tmp_path, {**entry, "bundle_digest": "0" * 64})
    assert not add_precision(tmp_path / "nowhere", entry)


def test_results_that_are_no_boxes_are_named() -> None:
    page = render_report(changed(model={**DETECTOR, "classes": 0, "detects": False}, accuracy=UNMEASURED))
    assert "10 results (map 0 3 x 4 x 5" in page and "boxes" not in page and "0 classes" not in page
