"""Compare an integer program with the float evaluation of its file: one step at most a layer, on equal inputs."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

from calib.program import Program, operator_inputs
from calib.qparams import dequantize
from calib.reference import run
from repghost.preprocess import Preprocess

FLOAT_TOLERANCE = 1e-5  # of the largest score: float32 sums in another order


Evaluate = Callable[[dict[str, np.ndarray]], np.ndarray]


def onnx_runtime(model: onnx.ModelProto) -> Evaluate:
    """Return ONNX Runtime's evaluation, in float between Q and DQ as ONNX defines it, nothing optimized."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)[0]


def onnx_reference(model: onnx.ModelProto) -> Evaluate:
    """Return ONNX's reference evaluation; it knows Q and DQ from opset 19 on, where int8 means the same."""
    newer = onnx.ModelProto()
    newer.CopyFrom(model)
    newer.opset_import[0].version = 19
    evaluator = ReferenceEvaluator(newer)
    return lambda feeds: evaluator.run(None, feeds)[0]


def check_steps(
    model: onnx.ModelProto,
    program: Program,
    pictures: np.ndarray,
    prepare: Preprocess,
    evaluator: Callable[[onnx.ModelProto], Evaluate] = onnx_runtime,
) -> float:
    """Run each layer of the file alone, on the program's integers, and compare its integers with the program's.

    Returns the share of int8 values that differ, by the one step that is allowed.
    """
    trace: dict[str, np.ndarray] = {}
    logits = run(program, pictures, trace)
    differing = 0
    for operator in program.operators:
        target = operator.output.name
        evaluate = evaluator(between(model, [tensor.name for tensor in operator_inputs(operator)], target))
        for index in range(len(pictures)):
            feeds = {
                readable(model, t.name): dequantize(trace[t.name][[index]], t.qparams).transpose(0, 3, 1, 2)
                for t in operator_inputs(operator)
            } or {"input": prepare.normalize(pictures[[index]])}
            result = evaluate({name: np.ascontiguousarray(value) for name, value in feeds.items()})
            if operator is program.operators[-1]:
                half_step = operator.epilogue.multiplier.max() / 2  # the bias is rounded to whole steps
                tolerance = half_step + FLOAT_TOLERANCE * np.abs(logits).max()
                np.testing.assert_allclose(result[0], logits[index], atol=tolerance)
                continue
            expected = result.transpose(0, 2, 3, 1) if result.ndim == 4 else result[:, None, None, :]
            steps = np.abs(trace[target][[index]].astype(int) - expected)
            assert steps.max() <= 1, f"{operator.name}: {steps.max()} steps"
            differing += int((steps > 0).sum())
    return differing / sum(value.size for value in trace.values())


def readable(model: onnx.ModelProto, tensor: str) -> str:
    """Return the dequantized tensor behind an int8 tensor, whose name is that of the Q node's input or output."""
    quantize = next(node for node in model.graph.node
                    if node.op_type == "QuantizeLinear" and tensor in (node.input[0], node.output[0]))  # fmt: skip
    return next(node.output[0] for node in model.graph.node if node.input[0] == quantize.output[0])


def between(model: onnx.ModelProto, inputs: list[str], target: str) -> onnx.ModelProto:
    """Cut out the nodes from dequantized inputs to the quantized target, or to the logits."""
    end = target
    if target not in [output.name for output in model.graph.output]:
        dequantize = next(node for node in model.graph.node if readable(model, target) in node.output)
        end = dequantize.input[0]
    start = list(dict.fromkeys(readable(model, name) for name in inputs)) or ["input"]
    inferred = onnx.shape_inference.infer_shapes(model)
    return onnx.utils.Extractor(inferred).extract_model(start, [end])
