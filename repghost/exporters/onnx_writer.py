"""What every ONNX file of the network shares: how its nodes are written, and how the file is closed and checked.

The writers differ in what stands between the nodes: nothing (`repghost.exporters.onnx`), Q/DQ pairs for CPUs
(`calib.qdq.writer`), Q/DQ pairs and float16 for TensorRT (`compile.tensorrt.network.writer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from repghost.graph.operators import INPUT, AveragePool, Convolution, Gate, HardSigmoid, ResidualAdd

IR_VERSIONS = {17: 8, 19: 9}  # by opset, the one that came with it
LOGITS = "logits"
PRODUCER = "repghost"

# The operators without weights, as ONNX calls them, and their attributes.
WEIGHTLESS: dict[type, tuple[str, dict[str, float]]] = {
    ResidualAdd: ("Add", {}),
    AveragePool: ("GlobalAveragePool", {}),
    HardSigmoid: ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    Gate: ("Mul", {}),
}


class OnnxGraph:
    """Collects nodes and initializers in the order in which they are appended."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Append an initializer and return its name."""
        self.initializers.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def node(self, kind: str, name: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append a node and return its output."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=name, **attributes))
        return output

    def convolution(self, op: Convolution, source: str, weight: str, bias: str, linear: str) -> None:
        """Append a convolution, and its ReLU as a node of its own; the result is the tensor of the operator's name.

        Args:
            op: has the geometry.
            source: the tensor it reads.
            weight: of the shape of `op.weight`.
            bias: of the shape of `op.bias`.
            linear: what the convolution's result is called where a ReLU follows.
        """
        output = linear if op.relu else op.name
        self.node(
            "Conv", op.name, (source, weight, bias), output,
            kernel_shape=list(op.weight.shape[2:]), strides=[op.stride] * 2, pads=[op.padding] * 4, group=op.groups,
        )  # fmt: skip
        if op.relu:
            self.node("Relu", f"{op.name}.relu", (output,), op.name)

    def weightless(self, op: ResidualAdd | AveragePool | HardSigmoid | Gate, inputs: Sequence[str]) -> None:
        """Append an operator without weights; the result is the tensor of its name."""
        kind, attributes = WEIGHTLESS[type(op)]
        self.node(kind, op.name, inputs, op.name, **attributes)

    def model(
        self,
        name: str,
        shape: Sequence[int | str],
        classes: int,
        opset: int,
        metadata: dict[str, str],
        version: str = "",
    ) -> onnx.ModelProto:
        """Return the file from "input" to "logits", checked by onnx, with the shape of every tensor.

        Args:
            name: of the graph.
            shape: of the input, float32 [N, C, H, W]; a text is a size that is chosen when the file is used.
            classes: number of logits.
            opset: a key of `IR_VERSIONS`.
            metadata: texts to store.
            version: of the program that writes it, where the file should say so.
        """
        image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)
        logits = helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, (shape[0], classes))
        body = helper.make_graph(self.nodes, name, [image], [logits], self.initializers)
        model = helper.make_model(
            body,
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=IR_VERSIONS[opset],
            producer_name=PRODUCER,
        )
        if version:
            model.producer_version = version
        helper.set_model_props(model, dict(sorted(metadata.items())))
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        onnx.checker.check_model(model, full_check=True)
        return model
