"""A network with several results: their order and place, what a bundle says of them, and what refuses them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from calib.integer.program import Dequantize, Program
from calib.integer.reference import run
from calib.quantize import Quantized, Source, quantize_network
from calib.settings.config import QuantConfig
from calib.simulate.exact import ExactNetwork
from compile.bundle.host_model import ABI, ABI_RESULTS, LoadedModel
from compile.bundle.manifest import MANIFEST, check_bundle, write_bundle
from compile.frontend.qdq_file import read_qdq
from compile.ir.compiled_network import CompiledNetwork, CompiledVariant
from compile.ir.memory_plan import plan_memory
from compile.link.toolchain import model_config
from compile.passes import explain, lower
from compile.passes.rules import Refusal
from compile.stages.compile_networks import Compilation, model_info
from compile.targets.precisions import INT8
from compile.targets.table import Target
from repghost.data.images.preprocess import Preprocess
from repghost.detection.boxes import BoxRule, Level
from repghost.errors import IntegrityError, UsageError
from repghost.exporters.onnx import graph_onnx
from repghost.graph.operators import INPUT, RELU, Graph
from tests.support.damaged_bundles import edit
from tests.support.fake_bundle import CLASSES, fake_sections
from tests.support.small_detector import convolution

SIZE = 12
OTHER = BoxRule(1, (Level(1, 1, ((1.0, 1.0),)),)).to_dict()
PREPROCESS = Preprocess(SIZE, SIZE, squash=True)


def network() -> Graph:
    """Three results: one that a later layer reads too, and two at the ends."""
    return Graph(
        (
            convolution("stem", INPUT, (8, 3, 3), 2, clamp=RELU),
            convolution("fine", "stem", (5, 8, 1)),
            convolution("middle", "fine", (9, 5, 3), 2, clamp=RELU),
            convolution("coarse", "middle", (6, 9, 1)),
            convolution("last", "middle", (3, 9, 3), 2),
        ),
        3, (SIZE, SIZE), ("fine", "coarse", "last"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def quantized(images: np.ndarray) -> Quantized:
    source = Source(("a", "b"), "0" * 64, {"data": "noise"})
    return quantize_network("several", network(), images, PREPROCESS, QuantConfig(), source)


@pytest.fixture(scope="module")
def program(quantized: Quantized, tmp_path_factory: pytest.TempPathFactory) -> Program:
    path = tmp_path_factory.mktemp("several") / "several.qdq.onnx"
    path.write_bytes(quantized.onnx.SerializeToString())
    return lower(read_qdq(path))


def test_the_program_gives_the_numbers_of_each_result_one_behind_the_other(
    program: Program, quantized: Quantized, images: np.ndarray
) -> None:
    seen: dict[str, np.ndarray] = {}
    exact = ExactNetwork(quantized.graph, quantized.spec)
    exact(torch.from_numpy(PREPROCESS.normalize(images)), lambda name, value: seen.update({name: value.numpy()}))
    expected = []
    for name in ("fine", "coarse", "last"):
        params = quantized.spec.activations[name]
        steps = (seen[name] - params.zero_point).transpose(0, 2, 3, 1).reshape(len(images), -1)
        expected.append(steps.astype(np.float32) * np.float32(params.scale))
    assert [(it.name, it.height, it.width, it.channels) for it in program.outputs] == [
        ("fine.result", 6, 6, 5), ("coarse.result", 3, 3, 6), ("last.result", 2, 2, 3)
    ]  # fmt: skip
    assert program.classes == 6 * 6 * 5 + 3 * 3 * 6 + 2 * 2 * 3
    assert np.array_equal(run(program, images), np.concatenate(expected, axis=1))


@pytest.mark.slow
def test_a_build_gives_the_same_bits(
    program: Program, images: np.ndarray, host_build: Callable[[Any], LoadedModel]
) -> None:
    assert np.array_equal(host_build(program).logits(images), run(program, images))


def test_results_lie_in_the_callers_memory_and_nowhere_else(program: Program) -> None:
    assert [op.start for op in program.operators if isinstance(op, Dequantize)] == [0, 180, 234]
    assert not set(program.results) & set(plan_memory(program).placements)


def test_the_float_file_has_the_same_results() -> None:
    file = graph_onnx(network(), SIZE, "several")
    shapes = {it.name: [dim.dim_value for dim in it.type.tensor_type.shape.dim] for it in file.graph.output}
    assert shapes == {"fine.result": [1, 5, 6, 6], "coarse.result": [1, 6, 3, 3], "last.result": [1, 3, 2, 2]}


def test_a_result_in_float_is_refused(quantized: Quantized, tmp_path: Path) -> None:
    changed = quantized.onnx.__class__.FromString(quantized.onnx.SerializeToString())
    del changed.metadata_props[:]
    for node in changed.graph.node:
        if node.name == "last.identity":
            node.input[0] = "last"
    kept = [node for node in changed.graph.node if node.name not in ("last.quantize", "last.dequantize")]
    del changed.graph.node[:]
    changed.graph.node.extend(kept)
    (tmp_path / "float.qdq.onnx").write_bytes(changed.SerializeToString())
    lowered = explain(read_qdq(tmp_path / "float.qdq.onnx", PREPROCESS))
    reasons = [item.result.reason for item in lowered if isinstance(item.result, Refusal)]
    assert any("3 results; put QuantizeLinear" in reason for reason in reasons), reasons


@pytest.fixture
def sections(host: Target) -> dict[str, Any]:
    """What a bundle says whose ten numbers are two results."""
    outputs = [
        {"name": "a", "height": 1, "width": 1, "channels": 6}, {"name": "b", "height": 2, "width": 2, "channels": 1}
    ]  # fmt: skip
    assert CLASSES == 10
    return {**fake_sections(host), "abi": ABI_RESULTS, "outputs": outputs}


def test_a_bundle_of_several_results_is_of_another_version(
    sections: dict[str, Any], host: Target, host_files: dict[str, bytes], tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / "several", host_files, sections)
    assert bundle.manifest["version"] == 2
    plain = write_bundle(tmp_path / "plain", host_files, fake_sections(host))
    assert plain.manifest["version"] == 1 and "outputs" not in plain.manifest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest["outputs"].pop(), "2 to 64 maps"),
        (lambda manifest: manifest["outputs"][0].update(channels=7), "have 11 numbers"),
        (lambda manifest: manifest["outputs"][0].update(height=-1), "positive sizes"),
        (lambda manifest: manifest.update(version=1), "outputs"),
        (lambda manifest: manifest.pop("outputs"), "outputs"),
        (lambda manifest: manifest.update(detection={}), "detection"),
        (lambda manifest: manifest.update(detection=OTHER), "are not those"),
    ],
)  # fmt: skip
def test_a_manifest_whose_results_do_not_fit_is_refused(
    change: Callable[[dict[str, Any]], None], message: str, sections: dict[str, Any], host_files: dict[str, bytes],
    tmp_path: Path,
) -> None:  # fmt: skip
    write_bundle(tmp_path / "b", host_files, sections)
    edit(tmp_path / "b", change)
    assert json.loads((tmp_path / "b" / MANIFEST).read_text())
    with pytest.raises(IntegrityError, match=message):
        check_bundle(tmp_path / "b")


def test_an_empty_or_doubled_result_is_refused(quantized: Quantized, tmp_path: Path) -> None:
    for count, message in ((0, "0 outputs"), (2, "listed twice|outputs")):
        changed = quantized.onnx.__class__.FromString(quantized.onnx.SerializeToString())
        first = changed.graph.output[0]
        del changed.graph.output[:]
        changed.graph.output.extend([first] * count)
        (tmp_path / "x.qdq.onnx").write_bytes(changed.SerializeToString())
        with pytest.raises(UsageError, match=message):
            read_qdq(tmp_path / "x.qdq.onnx")


def compiled(host: Target) -> CompiledNetwork:
    return CompiledNetwork((CompiledVariant(host.variants[0].name, b"", "step", "w"),), {"w": b""}, (1,), 0, ("k",))


def described(program: Program, host: Target, detection: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `rg_info` of a build says, of a subject of which nothing else is asked."""
    subject: Any = SimpleNamespace(name="net", preprocess=PREPROCESS, detection=detection)
    return model_info(subject, Compilation(program, host, INT8), compiled(host))


def test_one_result_is_described_as_before_and_several_as_what_they_are(program: Program, host: Target) -> None:
    alone = replace(program, operators=program.operators[:3], outputs=())
    assert alone.results == (alone.operators[-1].output.name,)
    assert described(alone, host)["abi"] == ABI and not {"outputs", "detection"} & set(described(alone, host))
    several = described(program, host, {"version": 1})
    assert several["abi"] == ABI_RESULTS and several["detection"] == {"version": 1}
    assert sum(it["height"] * it["width"] * it["channels"] for it in several["outputs"]) == several["classes"]
    for info in (described(alone, host), several):
        assert f"#define RG_NETWORK_ABI {info['abi']}\n" in model_config(compiled(host), host, info)
