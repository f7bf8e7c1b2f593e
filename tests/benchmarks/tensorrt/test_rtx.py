"""NVIDIA's parser and builder without a GPU: what they list, and the page about it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from benchmarks.pages.jetson import render_check
from benchmarks.tensorrt.rtx import build_with_rtx, rtx_is_here
from benchmarks.tensorrt.rtx_worker import read_layers
from compile.storage.stage_cache import ROOT
from compile.storage.strict_json import parse_strict
from compile.tensorrt.jetpack import JETPACKS
from repghost.errors import ToolMissingError
from repghost.network.spec import WIDTHS
from tests.support.jetson_runs import Runs

CONSTANTS = "Constants: [ { Name: c, Dimensions: [1], Datatype: Int8, Format: (Linear) }], "


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("jetson"))


LINES = [
    "Name: __myl_MulMaxRoun_0, LayerType: kgen, Inputs: [ { Name: a, Dimensions: [1], Datatype: Int8, Format: (L) }], "
    f"{CONSTANTS}Outputs: [ {{ Name: b, Datatype: Int8 }}], Metadata: [ONNX Layer: stem][ONNX Layer: stem.quantize]",
    "Name: stem_1, LayerType: correlation, Inputs: [ { Name: b, Dimensions: [1,3], Datatype: Half, Format: (L) }], "
    f"{CONSTANTS}Outputs: [ {{ Name: c, Datatype: Int8 }}], Metadata: [ONNX Layer: stem][ONNX Layer: stem.relu]",
    "Name: head_2, LayerType: correlation, Inputs: [ { Name: c, Dimensions: [1,3], Datatype: Int8, Format: (L) }], "
    "Outputs: [ { Name: d, Datatype: Float }], TacticName: t, Metadata: [ONNX Layer: head]",
    "a line about something else, LayerType unknown",
]


def test_layers_are_read_from_the_log() -> None:
    """The types are those of what a convolution reads: not of constants, outputs, or kernels around it."""
    layers = read_layers(LINES)
    assert layers["stem"] == ["Half"] and layers["head"] == ["Int8"] and layers["stem.quantize"] == ["Int8"]


@pytest.mark.slow
def test_int8_layers_of_the_built_engine_are_the_promised_ones(runs: Runs) -> None:
    if not rtx_is_here():
        pytest.skip("TensorRT for RTX is not installed; pip install '.[tensorrt-rtx]'")
    folder = runs.bundle("6")
    promise = dict(line.split() for line in (folder / "promise.txt").read_text().splitlines())
    int8, fp16 = build_with_rtx([folder / "int8.onnx", folder / "fp16.onnx"])
    for build in (int8, fp16):
        assert build.parsed and build.built and not build.errors and build.engine_bytes > 1 << 20
        assert set(promise) <= set(build.layers)
    assert int8.int8_layers(list(promise)) == {name for name, kind in promise.items() if kind == "int8"}
    assert not fp16.int8_layers(list(promise))


def test_an_interpreter_without_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError, match="cannot start"):
        build_with_rtx([tmp_path / "x.onnx"], tmp_path / "absent")
    lacking = tmp_path / "python"
    lacking.write_text("#!/bin/sh\necho ModuleNotFoundError >&2\nexit 1\n")
    lacking.chmod(0o755)
    with pytest.raises(ToolMissingError, match="pip install tensorrt-rtx-cu12"):
        build_with_rtx([tmp_path / "x.onnx"], lacking)


BUILD = {
    "width": "0.5", "jetpack": "6", "kind": "int8", "sha256": "ab", "bytes": 2250000, "lint": "clean", "parsed": True,
    "built": True, "errors": [], "engine_bytes": 13116932, "seconds": 7.3, "layers": 96, "promised_int8": 82,
    "built_int8": 82, "as_promised": True, "version": "1.7.1.116",
}  # fmt: skip
SHARE = {"top1": 0.91, "low": 0.9, "high": 0.92, "pictures": 1000, "by": "PyTorch", "checked_on": 0}
CHANGE = {
    "difference": -0.001, "low": -0.002, "high": 0.001, "pictures": 1000, "only_before": 3, "only_after": 2,
    "agreeing": 990,
}  # fmt: skip
RESULT = {
    "size": 224, "builds": [BUILD], "torch_tensorrt": None, "building": None,
    "accuracy": [{
        "model": "net", "weights": {"source": "net.safetensors", "sha256": "cd" * 32}, "size": 64,
        "config": {"observer": "x", "ranges_by_answers": True, "bias_correction": True},
        "test": {"pictures": 1000, "data": "set", "split": "test"}, "fp32": SHARE, "int8": SHARE, "change": CHANGE,
    }],
}  # fmt: skip


def test_the_committed_page_is_that_of_its_json() -> None:
    docs = ROOT / "docs"
    result = parse_strict((docs / "jetson.json").read_bytes(), "jetson.json", 32 << 20)
    assert (docs / "jetson.md").read_text() == render_check(result)
    cases = {(build["width"], build["jetpack"], build["kind"]) for build in result["builds"]}
    assert len(cases) == len(WIDTHS) * len(JETPACKS) * 2
    assert all(build["parsed"] and build["built"] and build["as_promised"] for build in result["builds"])


def test_the_page_says_what_failed_and_what_was_not_made() -> None:
    page = render_check(RESULT)
    assert "| 0.5x | 6 | int8 | 2.25 | yes | yes | 13.12 | 82 of 96 | 82 | yes |" in page
    assert "1 of 1 are as promised" in page and "| ranges by answers, bias correction | within 0.3 |" in page
    assert "| net | 1000 | 91.00% | 91.00% | -0.10 (-0.20 to +0.10) | 99.00% |" in page and "Not measured." in page
    assert "The dry run of its converters was not made" in page and "no Jetson reached" in page
    worse = copy.deepcopy(RESULT)
    worse["builds"][0].update(built_int8=81, as_promised=False)  # type: ignore[index]
    worse["accuracy"][0]["change"]["difference"] = -0.0031  # type: ignore[index]
    worse["building"] = {
        "width": "2", "size": 224, "seconds": 61.5, "processor_seconds": 31.5,
        "load": [0.1, 2.0], "machine": {"core": "A", "cores": 2, "system": "Linux"},
    }  # fmt: skip
    worse["torch_tensorrt"] = {
        "version": "2.14.0", "tensorrt_version": "1.6",
        "networks": {"int8": {"operators": 9, "supported": 8, "engines": 2, "int8": 1, "promised": 2}},
    }  # fmt: skip
    page = render_check(worse)
    assert "0 of 1 are as promised" in page and "| 81 | NO |" in page and "| NOT within 0.3 |" in page
    assert "31.5 s of processor time, NOT within the bar of 30 s; 61.5 s by the clock" in page
    assert "int8: 9 operators, 8 of them convertible, 2 engines" in page and "A harness" in page
