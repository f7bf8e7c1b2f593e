"""Compare an integer program with the float evaluation of its file: one step at most a layer, on equal inputs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto
from onnx.helper import make_tensor_value_info
from onnx.reference import ReferenceEvaluator

from calib.importer.static_shapes import make_static
from calib.integer.program import Dequantize, Program
from calib.integer.reference import run
from repghost.data.images.preprocess import Preprocess

FLOAT_TOLERANCE = 1e-5  # of the largest score: float32 sums in another order
WIDE_STEPS = 2  # of int16: float32 sums of hundreds of products are off by so much of 2**-15 of the largest


Evaluate = Callable[[dict[str, np.ndarray]], list[np.ndarray]]


def onnx_runtime(model: onnx.ModelProto) -> Evaluate:
    """Return ONNX Runtime's evaluation, in float between Q and DQ as ONNX defines it, nothing optimized."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)


def onnx_reference(model: onnx.ModelProto) -> Evaluate:
    """Return ONNX's reference evaluation; it knows Q and DQ from opset 19 on, where int8 means the same."""
    newer = onnx.ModelProto()
    newer.CopyFrom(model)
    newer.opset_import[0].version = 19
    evaluator = ReferenceEvaluator(newer)
    return lambda feeds: evaluator.run(None, feeds)


def check_steps(
    model: onnx.ModelProto,
    program: Program,
    images: np.ndarray,
    prepare: Preprocess,
    evaluator: Callable[[onnx.ModelProto], Evaluate] = onnx_runtime,
) -> float:
    """Give each layer of the file the program's integers, and compare the integers it makes with the program's.

    Returns the share of int8 values that differ, by the one step that is allowed.
    """
    trace: dict[str, np.ndarray] = {}
    logits = run(program, images, trace)
    last = program.operators[-1]
    places = places_of(model, [operator.output.name for operator in program.operators[:-1]])
    scores_are_int8 = isinstance(last, Dequantize)
    evaluate = evaluator(opened(model, list(places.values()), () if scores_are_int8 else (last.output.name,)))
    differing = 0
    for index in range(len(images)):
        feeds = {"input": prepare.normalize(images[[index]])}
        for tensor, place in places.items():
            # NHWC to NCHW; the file may call a map of one pixel a vector
            integers = trace[tensor][[index]].astype(np.int32).transpose(0, 3, 1, 2).reshape(place.shape)
            real = ((integers - place.zero_point) * place.scale).astype(np.float32)
            feeds |= dict.fromkeys(place.readers, np.ascontiguousarray(real))
        made = evaluate(feeds)
        for (tensor, place), expected in zip(places.items(), made, strict=False):
            integers = trace[tensor][[index]].transpose(0, 3, 1, 2).reshape(place.shape)
            steps = np.abs(integers.astype(int) + place.offset - expected)
            assert steps.max() <= place.apart, f"{tensor}: {steps.max()} steps"
            differing += int((steps > 0).sum())
        if scores_are_int8:
            continue
        scores = made[-1]
        half_step = last.epilogue.multiplier.max() / 2  # the bias is rounded to whole steps
        tolerance = half_step + FLOAT_TOLERANCE * np.abs(logits).max()
        np.testing.assert_allclose(scores[0], logits[index], atol=tolerance)
    return differing / sum(value.size for value in trace.values())


@dataclass(frozen=True)
class Place:
    """Where a file holds an int8 tensor of the program.

    Attributes:
        quantized: the results of the Q nodes, equal ones where there are several.
        readers: the results of the DQ nodes.
        shape: as the file has it.
        scale: one, or one for each channel.
        zero_point: of int8; 0 of int16.
        offset: 128 where the file counts from 0.
        kind: of the integers in the file.
        apart: how many steps one may be from the program's.
    """

    quantized: str
    readers: tuple[str, ...]
    shape: tuple[int, ...]
    scale: np.ndarray
    zero_point: int
    offset: int
    kind: int
    apart: int


def places_of(model: onnx.ModelProto, tensors: list[str]) -> dict[str, Place]:
    """Return where a file holds tensors of the program; without those that only the program quantizes."""
    graph = onnx.shape_inference.infer_shapes(make_static(model)).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in values}
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = {tensor: _place(graph, tensor, shapes, constants) for tensor in tensors}
    return {tensor: place for tensor, place in found.items() if place is not None}


def _place(
    graph: onnx.GraphProto, tensor: str, shapes: dict[str, tuple[int, ...]], constants: dict[str, np.ndarray]
) -> Place | None:
    """Return one of them; it has the name of the Q node's input, or of its output where that input was int8 already."""
    made = [n for n in graph.node if n.op_type == "QuantizeLinear" and tensor in (n.input[0], n.output[0])]
    if not made:
        return None
    names = [n.output[0] for n in made]
    readers = tuple(n.output[0] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in names)
    shape = shapes[readers[0]]
    scale, *given = (constants[name] for name in made[0].input[1:] if name)
    zero = given[0] if given else np.uint8(0)  # ONNX's default
    offset = 128 if zero.dtype == np.uint8 else 0
    per_channel = scale.reshape([-1 if axis == 1 else 1 for axis in range(len(shape))])
    kind = onnx.helper.np_dtype_to_tensor_dtype(zero.dtype)
    apart = WIDE_STEPS if zero.dtype == np.int16 else 1
    return Place(names[0], readers, shape, per_channel, int(zero.flat[0]) - offset, offset, kind, apart)


def opened(model: onnx.ModelProto, places: list[Place], scores: tuple[str, ...]) -> onnx.ModelProto:
    """Return the model cut at every Q/DQ pair: dequantized tensors become inputs, quantized ones outputs."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for place in places:
        for reader in place.readers:
            graph.input.append(make_tensor_value_info(reader, TensorProto.FLOAT, place.shape))
    outputs = [make_tensor_value_info(place.quantized, place.kind, place.shape) for place in places]
    outputs += [value for value in graph.output if value.name in scores]
    del graph.output[:]
    graph.output.extend(outputs)
    fed = {reader for place in places for reader in place.readers}
    kept = [node for node in graph.node if node.output[0] not in fed]
    del graph.node[:]
    graph.node.extend(kept)
    return result
