"""Compare an integer program with the float evaluation of its file: one step at most a layer, on equal inputs."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

from calib.integer.program import Program
from calib.integer.qparams import dequantize
from calib.integer.reference import run
from repghost.data.preprocess import Preprocess

FLOAT_TOLERANCE = 1e-5  # of the largest score: float32 sums in another order


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
    tensors = [operator.output for operator in program.operators[:-1]]
    pairs = {tensor.name: quantizer_and_reader(model, tensor.name) for tensor in tensors}
    evaluate = evaluator(opened(model, list(pairs.values()), last.output.name))
    differing = 0
    for index in range(len(images)):
        feeds = {"input": prepare.normalize(images[[index]])}
        for tensor in tensors:
            real = dequantize(trace[tensor.name][[index]], tensor.qparams).transpose(0, 3, 1, 2)
            feeds[pairs[tensor.name][1]] = np.ascontiguousarray(real)
        *made, scores = evaluate(feeds)
        for tensor, expected in zip(tensors, made, strict=True):
            steps = np.abs(trace[tensor.name][index].astype(int) - expected[0].transpose(1, 2, 0))
            assert steps.max() <= 1, f"{tensor.name}: {steps.max()} steps"
            differing += int((steps > 0).sum())
        half_step = last.epilogue.multiplier.max() / 2  # the bias is rounded to whole steps
        tolerance = half_step + FLOAT_TOLERANCE * np.abs(logits).max()
        np.testing.assert_allclose(scores[0], logits[index], atol=tolerance)
    return differing / sum(value.size for value in trace.values())


def quantizer_and_reader(model: onnx.ModelProto, tensor: str) -> tuple[str, str]:
    """Return the int8 and the dequantized tensor of the file for one of the program.

    The program's tensor has the name of the Q node's input, or of its output where that input was int8 already.
    """
    nodes = model.graph.node
    quantize = next(n for n in nodes if n.op_type == "QuantizeLinear" and tensor in (n.input[0], n.output[0]))
    return quantize.output[0], next(n.output[0] for n in nodes if n.input[0] == quantize.output[0])


def opened(model: onnx.ModelProto, pairs: list[tuple[str, str]], scores: str) -> onnx.ModelProto:
    """Return the model cut at every Q/DQ pair: dequantized tensors become inputs, quantized ones outputs."""
    result = onnx.shape_inference.infer_shapes(model)
    graph = result.graph
    known = {value.name: value for value in graph.value_info}
    graph.input.extend(known[reader] for _, reader in pairs)
    outputs = [known[quantized] for quantized, _ in pairs]
    outputs += [value for value in graph.output if value.name == scores]
    del graph.output[:]
    graph.output.extend(outputs)
    fed = {reader for _, reader in pairs}
    kept = [node for node in graph.node if node.output[0] not in fed]
    del graph.node[:]
    graph.node.extend(kept)
    return result
