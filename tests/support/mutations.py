"""Changes of a QDQ graph that leave it parsable: other wires, operators, attributes, constants, nodes between."""

import numpy as np
import onnx
from numpy.random import Generator
from onnx import helper, numpy_helper

OPERATORS = (
    "Relu", "Add", "Mul", "Sub", "Div", "Sigmoid", "Flatten", "Reshape", "Transpose", "MatMul", "Concat", "Slice",
    "Pad", "MaxPool", "GlobalAveragePool", "ReduceMean", "HardSwish", "Clip", "Max", "Identity", "Squeeze",
    "Unsqueeze", "Softmax", "AveragePool", "Shape",
)  # fmt: skip
BETWEEN = ("Relu", "Flatten", "Identity", "Sigmoid", "Squeeze", "Neg", "Transpose", "GlobalAveragePool", "Add", "Mul",
           "Sub", "Max")  # fmt: skip
INTEGERS, FLOATS, FACTORS = (-1, 0, 1, 2, 3, 7, 2**31), (0, -1, 0.5, 1e38, np.nan, np.inf), (0, -1, 2, 1e-30, 1e30)


def mutate(model: onnx.ModelProto, rng: Generator) -> None:
    """Change one thing in a model; it may become wrong, or another network."""
    graph = model.graph
    node = graph.node[int(rng.integers(len(graph.node)))]
    names = [*(name for item in graph.node for name in item.output), *(tensor.name for tensor in graph.initializer)]
    match rng.integers(7):
        case 0:
            node.input[int(rng.integers(len(node.input)))] = str(rng.choice(names))
        case 1:
            node.op_type = str(rng.choice(OPERATORS))
        case 2:
            _change_constant(graph.initializer[int(rng.integers(len(graph.initializer)))], rng)
        case 3 if node.attribute:
            _change_attribute(node.attribute[int(rng.integers(len(node.attribute)))], rng)
        case 4 if node.attribute:
            node.attribute.pop()
        case 5 if len(node.input) > 1:
            node.input.pop()
        case _:
            _insert(graph, names, rng)


def _change_constant(tensor: onnx.TensorProto, rng: Generator) -> None:
    array = numpy_helper.to_array(tensor)
    ones = (1,) * int(rng.integers(1, 4))
    match rng.integers(6):
        case 0:
            array = array.reshape(-1)
        case 1:
            array = array.reshape(ones + array.shape)
        case 2:
            array = array.reshape(array.shape + ones)
        case 3 if array.dtype == np.float32:
            array = array * np.float32(rng.choice(FACTORS))
        case 4 if array.size:
            array = np.repeat(array.reshape(-1)[:1], int(rng.integers(0, 12)))
        case _:
            array = array.astype(str(rng.choice(["float32", "int8", "uint8", "int32", "int64"])))
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _change_attribute(attribute: onnx.AttributeProto, rng: Generator) -> None:
    if attribute.type == onnx.AttributeProto.INT:
        attribute.i = int(rng.choice(INTEGERS))
    elif attribute.type == onnx.AttributeProto.INTS and attribute.ints:
        attribute.ints[int(rng.integers(len(attribute.ints)))] = int(rng.choice(INTEGERS))
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = float(rng.choice(FLOATS))


def _insert(graph: onnx.GraphProto, names: list[str], rng: Generator) -> None:
    """Put a node between another one and one of its inputs."""
    at, operator, name = int(rng.integers(len(graph.node))), str(rng.choice(BETWEEN)), f"between{len(graph.node)}"
    reader = graph.node[at]
    index = int(rng.integers(len(reader.input)))
    inputs = [reader.input[index]]
    if operator in ("Add", "Mul", "Sub", "Max"):
        inputs.append(str(rng.choice(names)))
    graph.node.insert(at, helper.make_node(operator, inputs, [name], name=name))
    graph.node[at + 1].input[index] = name
