"""TensorRT's rules for explicit quantization, one function each: it yields the nodes that break the rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx

from calib.importer.static_shapes import infer_shapes
from compile.ir.qdq_graph import DEQUANTIZE, QUANTIZE
from compile.tensorrt.jetpack import JetPack
from compile.tensorrt.lint.graph import WEIGHTED, Breach, LintGraph, attribute, name_of
from repghost.errors import UsageError, option

Rule = Callable[[LintGraph, JetPack], Iterator[Breach]]
PAIR = (QUANTIZE, DEQUANTIZE)
ACTIVATIONS = ("Relu", "Clip")  # which are fused into the operator before them
# What NVIDIA's guide says that TensorRT imports from no file.
REFUSED = ("ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul")


def _breach(rule: str, node: onnx.NodeProto, reason: str) -> Breach:
    return Breach(rule, name_of(node), node.op_type, reason)


def opset(graph: LintGraph, jetpack: JetPack) -> Iterator[Breach]:
    """The parser of the board's TensorRT has to know the opset."""
    if graph.opset > jetpack.largest_opset:
        versions = " and ".join(jetpack.tensorrt)
        yield Breach(
            "opset",
            "the file",
            f"opset {graph.opset}",
            f"JetPack {jetpack.name} (TensorRT {versions}) reads opsets up to {jetpack.largest_opset}; export with "
            f"opset {jetpack.opset}.",
        )


def operators(graph: LintGraph, jetpack: JetPack) -> Iterator[Breach]:
    """TensorRT knows pairs of Q and DQ and no quantized operators, and no max pool with dilations."""
    for node in graph.nodes(*REFUSED):
        yield _breach("operator", node, "TensorRT does not read it; write a Conv or Gemm between Q/DQ pairs.")
    for node in graph.nodes("MaxPool"):
        dilations = [list(entry.ints) for entry in node.attribute if entry.name == "dilations"]
        if any(side != 1 for sides in dilations for side in sides):
            yield _breach("operator", node, f"its dilations are {dilations[0]}; TensorRT takes only 1.")


def quantized(graph: LintGraph, jetpack: JetPack) -> Iterator[Breach]:
    """int8 without Q/DQ or calibration cache is refused: trtexec would make ranges up."""
    if not any(graph.nodes(*PAIR)):
        yield Breach(
            "quantized",
            "the file",
            "float",
            "int8 is asked for, but there is no QuantizeLinear or DequantizeLinear; trtexec --int8 would invent the "
            f"ranges. Quantize it, or lint it as float with {option('as_float', True)}.",
        )


def zero_point(graph: LintGraph, jetpack: JetPack) -> Iterator[Breach]:
    """TensorRT's int8 is symmetric: the zero point is int8 and 0."""
    for node in graph.nodes(*PAIR):
        if node.op_type == DEQUANTIZE and _is_int32(graph, node):
            continue  # the rule for biases names it
        if len(node.input) < 3 or not node.input[2]:
            if node.op_type == QUANTIZE:
                yield _breach("zero-point", node, "it has no zero point, which in ONNX means uint8; give an int8 0.")
            continue
        value = graph.constants.get(node.input[2])
        if value is None:
            yield _breach("zero-point", node, "its zero point is computed by the graph; only a constant 0 is allowed.")
        elif value.any():
            given = ", ".join(str(entry) for entry in np.unique(value[value != 0])[:3])
            yield _breach("zero-point", node, f"its zero point is {given}; only 0 is allowed (symmetric int8).")
        elif value.dtype != np.int8:
            yield _breach("zero-point", node, f"its zero point is {value.dtype}; int8 is allowed.")


def scale(graph: LintGraph, jetpack: JetPack) -> Iterator[Breach]:
    """Scales are constants above 0: one per activation, and of float16 only since opset 19."""
    for node in graph.nodes(*PAIR):
        value = graph.constants.get(node.input[1])
        if value is None:
            yield _breach("scale", node, "its scale is computed by the graph; only constants are allowed.")
            continue
        if not (np.isfinite(value).all() and (value > 0).all()):
            bad = value[~(np.isfinite(value) & (value > 0))].flat[0]
            yield _breach("scale", node, f"a scale is {float(bad):g}; it must be finite and above 0.")
        if value.size > 1 and node.input[0] not in graph.constant_tensors:
            yield _breach("per-tensor", node, f"it has {value.size} scales for an activation; one is allowed.")
        elif value.ndim and node.input[0] not in graph.constant_tensors and _of_activation(graph, node):
            yield _breach("per-tensor", node, "its scale has the shape [1]; the builder fuses only scalars.")
        if value.dtype == np.float16 and graph.opset < 19:
            yield _breach("scale", node, f"a float16 scale needs opset 19, the file has {graph.opset}.")


def _of_activation(graph: LintGraph, node: onnx.NodeProto) -> bool:
    quantize = graph.made_by(node.input[0], QUANTIZE) if node.op_type == DEQUANTIZE else node
    return quantize is not None and quantize.input[0] not in graph.constant_tensors


def weight_scale(graph: LintGraph, jetpack: JetPack) -> Iterator[Breach]:
    """Weights have one scale per output channel."""
    for node in graph.nodes(*WEIGHTED):
        dequantize = graph.dequantizer(node.input[1])
        if dequantize is None or node.input[1] not in graph.constant_tensors:
            continue
        value = graph.constants.get(dequantize.input[1])
        if value is None:
            continue  # the rule for scales names it
        wanted = _output_axis(node)
        if value.size == 1 and _output_channels(graph, node) != 1:
            yield _breach("per-channel", node, "its weight has one scale; one per output channel is wanted.")
        elif value.ndim and attribute(dequantize, "axis", 1) != wanted:
            given = attribute(dequantize, "axis", 1)
            yield _breach("axis", node, f"its weight's scales lie on axis {given}; the output channels on {wanted}.")


def _output_axis(node: onnx.NodeProto) -> int:
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}[node.op_type]


def _output_channels(graph: LintGraph, node: onnx.NodeProto) -> int | None:
    """Return how many channels a layer makes, from the constant behind its weight; None where there is none."""
    tensor = node.input[1]
    while tensor not in graph.constants:
        maker = graph.maker.get(tensor)
        if maker is None:
            return None
        tensor = maker.input[0]
    shape = graph.constants[tensor].shape
    axis = _output_axis(node)
    return int(shape[axis]) if axis < len(shape) else None


def bias(graph: LintGraph, jetpack: JetPack) -> Iterator[Breach]:
    """A bias stays float: TensorRT reads no int32 DequantizeLinear."""
    for node in graph.nodes(DEQUANTIZE):
        if _is_int32(graph, node):
            yield _breach(
                "bias", node, "it dequantizes int32, usually a bias; keep biases float (ONNX Runtime: QuantizeBias)."
            )
    for node in graph.nodes(*WEIGHTED):
        dequantize = graph.made_by(node.input[2], DEQUANTIZE) if len(node.input) > 2 else None
        if dequantize is not None and not _is_int32(graph, dequantize):
            yield _breach("bias", node, "its bias comes from a DequantizeLinear; keep biases float.")


def _is_int32(graph: LintGraph, node: onnx.NodeProto) -> bool:
    value = graph.constants.get(node.input[0])
    return value is not None and value.dtype == np.int32


def half_quantized(graph: LintGraph, jetpack: JetPack) -> Iterator[Breach]:
    """Input and weight of a layer are both quantized, or neither."""
    for node in graph.nodes(*WEIGHTED):
        if node.input[1] not in graph.constant_tensors:
            continue
        data, weight = (graph.dequantizer(name) is not None for name in node.input[:2])
        if data != weight:
            has, lacks = ("input", "weight") if data else ("weight", "input")
            yield _breach("half-quantized", node, f"its {has} is quantized, its {lacks} is not; quantize both or none.")


def residual(graph: LintGraph, jetpack: JetPack) -> Iterator[Breach]:
    """What is added to an int8 convolution is quantized; what the sum alone reads of a convolution is not."""
    for node in graph.nodes("Add"):
        if any(name in graph.constant_tensors for name in node.input):
            continue
        sources = [graph.source_of_quantized(name) for name in node.input]
        if not any(sources) and any(_could_add(graph, name) for name in node.input):
            yield _breach(
                "residual", node, "it adds to an int8 convolution, but its other input is not quantized; quantize that."
            )
        if all(sources) and any(_could_add(graph, source, name) for source, name in _pairs_before(graph, node)):
            yield _breach(
                "residual", node, "both inputs are quantized, so no convolution can take it in; leave one unquantized."
            )


def _pairs_before(graph: LintGraph, node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
    """Yield the float tensor and the dequantized one of each Q/DQ pair right before a node."""
    for name in node.input:
        source = graph.source_of_quantized(name) if graph.made_by(name, DEQUANTIZE) else None
        if source is not None:
            yield source, name


def _could_add(graph: LintGraph, *results: str) -> bool:
    """Return whether an int8 convolution makes the first of some tensors, each of which has one reader."""
    maker = graph.made_by(results[0], "Conv", "ConvTranspose")
    if results[0] in {value.name for value in graph.model.graph.output}:
        return False  # the caller reads it, too
    return maker is not None and graph.is_int8(maker) and all(len(graph.readers[name]) == 1 for name in results)


def joined(graph: LintGraph, jetpack: JetPack) -> Iterator[Breach]:
    """A Concat is int8 as a whole or not at all."""
    for node in graph.nodes("Concat"):
        kinds = [graph.dequantizer(name) is not None for name in node.input if name not in graph.constant_tensors]
        if any(kinds) and not all(kinds):
            yield _breach(
                "concat", node, f"{sum(kinds)} of its {len(kinds)} inputs are quantized; quantize all of them or none."
            )


def int8_result(graph: LintGraph, jetpack: JetPack) -> Iterator[Breach]:
    """An operator without weights that reads int8 has to write it, unless it only moves numbers."""
    for node in graph.nodes("AveragePool", "Add"):  # which NVIDIA's guide shows between DQ and Q
        inputs = [name for name in node.input if name not in graph.constant_tensors]
        if len(inputs) < len(node.input) or any(graph.source_of_quantized(name) is None for name in inputs):
            continue
        readers = graph.readers.get(node.output[0], [])
        while len(readers) == 1 and readers[0].op_type in ACTIVATIONS:
            readers = graph.readers.get(readers[0].output[0], [])
        if any(reader.op_type != QUANTIZE for reader in readers) or not readers:
            yield _breach(
                "int8-result", node, "its inputs are quantized and its result is not; quantize that, too, or neither."
            )


def fusion(graph: LintGraph, jetpack: JetPack) -> Iterator[Breach]:
    """Nothing stands between a convolution and the activation or batch norm that is fused into it."""
    for node in graph.nodes(*ACTIVATIONS, "BatchNormalization"):
        source = graph.source_of_quantized(node.input[0])
        if source is not None and graph.made_by(source, "Conv") is not None:
            yield _breach("fusion", node, "a Q/DQ pair parts it from its convolution; quantize its result instead.")
    for node in graph.nodes("BatchNormalization"):
        maker = graph.made_by(node.input[0], "Conv")
        if maker is not None and graph.is_int8(maker):
            yield _breach("fusion", node, f"fold it into {name_of(maker)} before quantizing.")


def pair(graph: LintGraph, jetpack: JetPack) -> Iterator[Breach]:
    """Q and DQ come in pairs of one scale."""
    outputs = {value.name for value in graph.model.graph.output}
    for node in graph.nodes(QUANTIZE):
        readers = graph.readers.get(node.output[0], [])
        if node.output[0] in outputs or not readers or any(reader.op_type != DEQUANTIZE for reader in readers):
            yield _breach("pair", node, "its int8 result is read by something other than a DequantizeLinear.")
    for node in graph.nodes(DEQUANTIZE):
        quantize = graph.made_by(node.input[0], QUANTIZE)
        if quantize is None:
            if node.input[0] not in graph.constant_tensors:
                yield _breach("pair", node, "what it dequantizes comes from no QuantizeLinear.")
            continue
        before, after = (graph.constants.get(member.input[1]) for member in (quantize, node))
        if before is not None and after is not None and not np.array_equal(before, after):
            yield _breach("pair", node, f"its scale differs from that of {name_of(quantize)}.")


def types(graph: LintGraph, jetpack: JetPack) -> Iterator[Breach]:
    """Types and shapes fit together; a strongly typed build takes them as they are."""
    try:
        infer_shapes(graph.model)
    except UsageError as error:
        yield Breach("types", "the file", "types", " ".join(str(error).split())[:200])


FLOAT_RULES: tuple[Rule, ...] = (opset, operators, types)
INT8_RULES: tuple[Rule, ...] = (
    quantized, zero_point, scale, weight_scale, bias, half_quantized, residual, joined, int8_result, fusion, pair
)  # fmt: skip
