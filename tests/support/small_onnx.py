"""Small float ONNX networks, built node by node, and what ONNX Runtime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CHANNELS, ROWS, COLUMNS = 4, 9, 7
Spelled = (
    tuple[str, list[str], str] | tuple[str, list[str], str, dict[str, Any]]
)  # operator, inputs, result, attributes


def model_of(
    nodes: Sequence[Spelled],
    constants: Mapping[str, NDArray[Any]],
    shape: Sequence[int | str] = (1, CHANNELS, ROWS, COLUMNS),
    *,
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
    head: bool = True,
) -> bytes:
    """Return an ONNX file whose image is "x".

    Args:
        nodes: the last one makes "y".
        constants: what the nodes read besides.
        shape: of the image.
        opset: of ONNX.
        kind: of the image and the result.
        head: whether a global pool makes scores of a map "y".
    """
    nodes = [*nodes, ("GlobalAveragePool", ["y"], "pooled"), ("Flatten", ["pooled"], "scores")] if head else nodes
    made = [
        helper.make_node(operator, inputs, [result] if isinstance(result, str) else result, name=f"n{index}_{operator}",
                         **(rest[0] if rest else {}))
        for index, (operator, inputs, result, *rest) in enumerate(nodes)
    ]  # fmt: skip
    graph = helper.make_graph(
        made, "small", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("scores" if head else "y", kind, ["n", "classes"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def by_onnx_runtime(model: bytes, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores of one image, [classes]."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options)
    (scores,) = session.run(None, {session.get_inputs()[0].name: image})
    return np.asarray(scores).reshape(-1)


def numbers(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Return float32 numbers around zero."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def network(model: bytes) -> onnx.ModelProto:
    """Return the model in the bytes of a file."""
    return onnx.ModelProto.FromString(model)
