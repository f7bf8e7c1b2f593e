"""What is int8 by choice, scales that float16 holds, and the evaluators against each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
import torch

from calib.integer.qparams import QParams
from calib.ptq.apply import quantize_graph
from calib.settings.config import LayerSettings, QuantConfig
from calib.settings.quantspec import QuantSpec
from compile.tensorrt.evaluate import ONNX_REFERENCE, TorchNetwork, second_evaluator
from compile.tensorrt.jetpack import JETPACKS
from compile.tensorrt.lint.check import lint_graph
from compile.tensorrt.lint.graph import index_graph
from compile.tensorrt.network.placement import PlacementOptions, float_placement, place
from compile.tensorrt.network.scales import LARGEST, SMALLEST, half_scale, half_spec, half_weight_scales
from compile.tensorrt.network.writer import FileForm, write_onnx
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.graph.operators import Classifier, Convolution, Function, Graph
from repghost.graph.trace import graph_of
from repghost.network.fuse import fused
from repghost.network.model import RepGhostNet

SIZE = 32
CHOICES = [(se, depthwise) for se in ("int8", "float") for depthwise in ("int8", "float")]


@dataclass(frozen=True)
class Made:
    graph: Graph
    spec: QuantSpec
    inputs: np.ndarray

    def file(self, options: PlacementOptions | None, opset: int = 17, dtype: str = "float32") -> onnx.ModelProto:
        placement = float_placement(self.graph) if options is None else place(self.graph, options)
        return write_onnx(self.graph, self.spec, placement, SIZE, FileForm(opset, dtype), {})


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    torch.manual_seed(1)
    network = fused(RepGhostNet(0.5, num_classes=10).eval())
    preprocess = Preprocess(size=SIZE, resize=SIZE)
    images = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.uint8)
    config = QuantConfig("tensorrt", LayerSettings(observer="min_max"))
    graph, spec = quantize_graph(graph_of(network), images, preprocess, config)
    yield Made(graph, half_spec(graph, spec), preprocess.normalize(images))


@pytest.mark.slow
@pytest.mark.parametrize(("squeeze_excite", "depthwise"), CHOICES)
def test_every_choice_keeps_every_rule(made: Made, squeeze_excite: str, depthwise: str) -> None:
    options = PlacementOptions(squeeze_excite, depthwise)
    result = lint_graph(index_graph(made.file(options)), JETPACKS["5"])
    assert not result.breaches, [str(breach) for breach in result.breaches]
    placement = place(made.graph, options)
    assert set(result.int8_layers) == placement.layers
    depthwise_layers = {op.name for op in made.graph.operators if isinstance(op, Convolution) and op.is_depthwise}
    gates = {op.input for op in made.graph.operators if isinstance(op, Function)}
    assert bool(placement.layers & depthwise_layers) == (depthwise == "int8")
    assert (gates <= placement.layers) == (squeeze_excite == "int8")
    layers = [op for op in made.graph.operators if isinstance(op, Convolution | Classifier)]
    assert list(placement.layer_types()) == [op.name for op in layers]


@pytest.mark.slow
def test_what_an_int8_convolution_is_added_to_is_quantized(made: Made) -> None:
    fused_adds = made.graph.fused_adds
    assert fused_adds
    for squeeze_excite, depthwise in CHOICES:
        placement = place(made.graph, PlacementOptions(squeeze_excite, depthwise))
        for name, add in fused_adds.items():
            assert (add.name, add.input) not in placement.quantized_reads
            if name in placement.layers:
                assert (add.name, add.other) in placement.quantized_reads


def test_scales_are_those_that_float16_holds(made: Made) -> None:
    scales = np.array([0.1, 1e-9, 3.14159, 0.25], np.float32)
    half = half_weight_scales(scales)
    assert (half >= scales).all() and (half.astype(np.float16).astype(np.float32) == half).all()
    assert half_scale(1e-12) == SMALLEST
    assert half_scale(0.1) == float(np.float16(0.1))
    for qparams in made.spec.activations.values():
        assert qparams.zero_point == 0 and float(np.float16(qparams.scale)) == qparams.scale


@pytest.mark.parametrize(
    ("qparams", "words"),
    [(QParams(0.1, 3), "has zero point 3; TensorRT takes only 0"), (QParams(2 * LARGEST, 0), "float16 ends at 65504")],
)
def test_scales_that_tensorrt_does_not_take_are_named(made: Made, qparams: QParams, words: str) -> None:
    name = made.graph.names()[1]
    spec = replace(made.spec, activations={**made.spec.activations, name: qparams})
    with pytest.raises(UsageError, match=words):
        half_spec(made.graph, spec)


@pytest.mark.parametrize(("opset", "dtype"), [(17, "float32"), (19, "float16")])
def test_the_evaluators_agree(made: Made, opset: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made.file(PlacementOptions(), opset, dtype)
    content = model.SerializeToString()
    own = TorchNetwork(model, half=dtype == "float16")(made.inputs)
    _, runtime = second_evaluator(content)
    # Both round the same values, so they part by a step where rounding errors of float sums decide, and there alone;
    # int8 parts from float by up to half a step everywhere.
    noise = np.square(own - TorchNetwork(made.file(None))(made.inputs)).mean()
    assert np.square(runtime(made.inputs) - own).mean() < noise
    if dtype == "float32":
        monkeypatch.setattr("compile.tensorrt.evaluate.find_spec", lambda name: None)
        name, reference = second_evaluator(content)
        assert name == ONNX_REFERENCE
        assert np.square(reference(made.inputs[:1]) - own[:1]).mean() < noise


def test_int8_is_near_float_and_not_float(made: Made) -> None:
    before, after = TorchNetwork(made.file(None))(made.inputs), TorchNetwork(made.file(PlacementOptions()))(made.inputs)
    assert 0 < np.square(before - after).mean() < np.square(before).mean()  # a wrong scale loses the signal


def test_rounding_to_float16_moves_the_answers(made: Made) -> None:
    model = made.file(None, 19, "float16")
    assert np.abs(TorchNetwork(model, half=True)(made.inputs) - TorchNetwork(model)(made.inputs)).max() > 0


def test_a_foreign_operator_is_named() -> None:
    node = onnx.helper.make_node("Softmax", ["input"], ["logits"], name="soft")
    values = [onnx.helper.make_tensor_value_info(name, 1, [1, 3]) for name in ("input", "logits")]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", values[:1], values[1:]))
    with pytest.raises(UsageError, match="'soft': operator Softmax"):
        TorchNetwork(model)(np.zeros((1, 3), np.float32))
