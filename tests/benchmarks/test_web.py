"""Networks in a browser: the page from its JSON, the model of TensorFlow.js, and what is served and installed."""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.pages.web import render_web, web_rows
from benchmarks.shared.page import ISOLATED, PageError, served
from benchmarks.web import packages
from benchmarks.web.__main__ import FILE, MARKERS, PAGE
from benchmarks.web.contenders import Build, PageContender
from benchmarks.web.tfjs_model import MODEL, WEIGHTS, write_tfjs_model
from compile.bench.processes import Identity
from repghost.errors import ToolMissingError, UsageError
from repghost.graph.operators import (
    INPUT,
    RELU,
    Add,
    Classifier,
    Concat,
    Convolution,
    Function,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Multiply,
    Step,
)  # fmt: skip
from tests.benchmarks.test_host import result
from tests.support import ROOT

DOCS = ROOT / "docs"


def document(ours: float = 1.0) -> dict[str, Any]:
    results = [
        result("repghost int8", "int8", [ours, ours, 2.0], ours=True),
        result("repghost fp32", "fp32", [2.0, 2.0, 4.0], ours=True),
        result("onnxruntime-web int8", "int8", [5.0, 5.0, 9.0]),
        result("LiteRT.js fp32", "fp32", [2.5, 2.5, 5.0]),
    ]
    for it in results:
        it["variant"] = "simd128" if it["ours"] else ""
    run = {"threads": 1, "load_before": [0.5, 0, 0], "load_after": [0.7, 0, 0], "results": results}
    first = {"visits": 3, "median_ms": 90.5, "min_ms": 80, "max_ms": 99, "download_ms": 30.0, "bytes": 2_500_000}
    network = {
        "name": "0.5x",
        "machine": {"core": "a core", "cores": 2, "system": "Linux 6 x86_64"},
        "browser": "HeadlessChrome/1",
        "settings": {"size": 224, "inferences": 3, "warmup": 1, "visits": 3},
        "runs": [run],
        "absent": [{"name": "a runtime", "reason": "it <b>fails</b>", "command": ""}],
        "first_answer": {"repghost int8": first},
    }
    carried = {
        "name": "repghostnet_0_5x",
        "size": 64,
        "files": {"model.wasm": 1_700_000},
        "first_answer": {**first, "files": {"/repghost-int8/model.wasm": 1_700_000}},
    }
    return {"networks": [network], "carried": carried, "packages": {"onnxruntime-web": "1.2.3"}}


def test_a_build_is_judged_by_the_fastest_other_one() -> None:
    int8, fp32 = web_rows(document())
    assert (int8.other["name"], int8.ratio["median"], int8.outcome.reached) == ("LiteRT.js fp32", 0.4, True)
    assert (fp32.other["name"], fp32.ratio["median"], fp32.outcome) == ("LiteRT.js fp32", 0.8, None)
    assert not next(iter(web_rows(document(ours=2.0)))).outcome.reached


def test_the_page_says_what_is_reached_and_missed() -> None:
    page = render_web(document(ours=2.0))
    assert "**missed by 0.20**" in page
    assert ["model.wasm", "1.7 MB", "1.8 MB", "reached"] in [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()
    ]
    assert "a runtime: not compared" in page


@pytest.mark.skipif(not (DOCS / FILE).is_file(), reason="not measured yet")
def test_the_section_is_of_its_json() -> None:
    page, value = (DOCS / PAGE).read_text(), json.loads((DOCS / FILE).read_text())
    assert page == MARKERS.replace(page, render_web(value), PAGE)


def small_graph() -> Graph:
    def layer(name: str, source: str, shape: tuple[int, ...], **more: Any) -> Convolution:
        weight = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        return Convolution(name, source, weight, np.zeros(shape[0], np.float32), **more)

    gate = (Step("Add", (0, 3.0)), Step("Clip", (1, 0.0, 6.0)), Step("Div", (2, 6.0)))
    operators = (
        layer("stem", INPUT, (4, 3, 3, 3), strides=(2, 2), pads=(1, 1, 1, 1), clamp=RELU),
        layer("depthwise", "stem", (4, 1, 3, 3), pads=(1, 2, 3, 4), groups=4),
        Add("sum", "depthwise", "stem", RELU),
        GlobalAveragePool("mean", "sum"),
        Function("gate", "mean", gate),
        Multiply("gated", "sum", "gate"),
        Concat("both", ("gated", "sum")),
        GlobalAveragePool("pool", "both"),
        Classifier("scores", "pool", np.ones((5, 8), np.float32), np.zeros(5, np.float32)),
    )
    return Graph(operators, 3)


def test_a_network_becomes_a_model_of_tensorflow_js(tmp_path: Path) -> None:
    path = write_tfjs_model(small_graph(), (8, 8), tmp_path / "model")
    model = json.loads(path.read_text())
    nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
    assert path.name == MODEL
    assert all(name in nodes for node in nodes.values() for name in node.get("input", ()))
    stem, depthwise = nodes["stem"], nodes["depthwise"]
    fused = [base64.b64decode(it).decode() for it in stem["attr"]["fused_ops"]["list"]["s"]]
    assert (stem["op"], fused) == ("_FusedConv2D", ["BiasAdd", "Relu"])
    assert depthwise["op"] == "FusedDepthwiseConv2dNative"
    pads = depthwise["attr"]["explicit_paddings"]["list"]["i"]
    assert pads == ["0", "0", "1", "3", "2", "4", "0", "0"]  # above and below, left and right
    assert [nodes[name]["op"] for name in ("sum/before", "sum")] == ["AddV2", "Relu"]
    assert [nodes[name]["op"] for name in ("gate/1", "gate/2", "gate")] == ["AddV2", "Minimum", "RealDiv"]
    (group,) = model["weightsManifest"]
    shapes = {entry["name"]: entry["shape"] for entry in group["weights"]}
    assert shapes["stem/weight"] == [3, 3, 3, 4] and shapes["depthwise/weight"] == [3, 3, 4, 1]
    assert (path.parent / WEIGHTS).stat().st_size == sum(4 * int(np.prod(shape)) for shape in shapes.values())


def test_an_operator_without_a_node_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pooled: the writer of TensorFlow.js models has no MaxPool"):
        write_tfjs_model(Graph((MaxPool("pooled", INPUT, (2, 2)),), 3), (8, 8), tmp_path / "model")


def test_a_served_page_is_isolated(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("a page")
    with served(tmp_path, ISOLATED) as address, urllib.request.urlopen(f"{address}a.html", timeout=10) as answer:
        assert ISOLATED.items() <= dict(answer.headers).items()
        assert answer.read() == b"a page"


def test_packages_are_installed_once_and_need_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    with pytest.raises(ToolMissingError, match="npm is not installed"):
        packages.install_packages(tmp_path)
    (packages.place_of(tmp_path) / "node_modules").mkdir(parents=True)
    assert packages.install_packages(tmp_path).name == "node_modules"


class FakePage:
    """What a page answers; numbers that are none come back as null."""

    def __init__(self, scores: list[float | None]) -> None:
        self.scores = scores

    def run(self, script: str) -> Any:
        answers = {"start": {"version": "1", "variant": ""}, "answers": [self.scores], "turn": [1.5, 2.5]}
        return answers[script.partition("(")[0]]


def test_a_build_whose_scores_are_no_numbers_does_not_take_part() -> None:
    build = Build(Identity("a runtime int8", "a runtime", "int8", "a test"), "a file", "litert")
    contender = PageContender(FakePage([1.0, 2.0]), build, 3)  # type: ignore[arg-type]
    assert (contender.version, contender.turn(2), contender.logits.shape) == ("1", [1.5, 2.5], (1, 2))
    with pytest.raises(PageError, match="not finite"):
        PageContender(FakePage([1.0, None]), build, 3)  # type: ignore[arg-type]
