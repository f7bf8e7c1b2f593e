"""What can be wrong with a QDQ file: edits of a good one, and the words of the error that must name each."""

import json
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support.qdq_models import preprocess

Edit = Callable[[onnx.ModelProto], None]


def initializer(model: onnx.ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def attribute(model: onnx.ModelProto, node_name: str, name: str) -> onnx.AttributeProto:
    return next(item for item in node(model, node_name).attribute if item.name == name)


def replaced(name: str, values: object, dtype: type) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        initializer(model, name).CopyFrom(numpy_helper.from_array(np.asarray(values, dtype), name))

    return edit


def opset(version: int) -> Edit:
    return lambda model: model.opset_import[0].CopyFrom(helper.make_opsetid("", version))


def input_shape(*sizes: object) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        value = helper.make_tensor_value_info("input", TensorProto.FLOAT, sizes)
        model.graph.input[0].CopyFrom(value)

    return edit


def external(location: str) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        tensor = initializer(model, "stem.weight")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return edit


def metadata(key: str, value: str | None) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        entries = {entry.key: entry.value for entry in model.metadata_props} | {key: value}
        helper.set_model_props(model, {name: text for name, text in entries.items() if text is not None})

    return edit


def cycle(model: onnx.ModelProto) -> None:
    node(model, "pointwise.node").input[0] = "add.dq"


def repeat_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(node(model, "logits.node"))


def repeat_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(initializer(model, "stem.bias"))


def repeat_node_name(model: onnx.ModelProto) -> None:
    node(model, "tail.node").name = "stem.node"


def unknown_operator(model: onnx.ModelProto) -> None:
    node(model, "se.gate.node").op_type = "HardSigmoyd"


def custom_domain(model: onnx.ModelProto) -> None:
    node(model, "se.gate.node").domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def subgraph(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "empty", [], [])
    node(model, "se.gate.node").attribute.append(helper.make_attribute("then_branch", body))


def bigger_than_file(model: onnx.ModelProto) -> None:
    initializer(model, "stem.bias").dims[0] = 1 << 40


def wrong_byte_count(model: onnx.ModelProto) -> None:
    initializer(model, "stem.bias").dims[0] = 9


def negative_size(model: onnx.ModelProto) -> None:
    initializer(model, "stem.bias").dims[0] = -8


def int8_out_of_range(model: onnx.ModelProto) -> None:
    tensor = initializer(model, "input.zero_point")
    tensor.ClearField("raw_data")
    tensor.int32_data.append(300)


def uint8_read_as_int8(model: onnx.ModelProto) -> None:
    item = node(model, "stem.relu.q.node")
    model.graph.initializer.append(numpy_helper.from_array(np.uint8(128), "unsigned"))
    item.input[2] = "unsigned"


def computed_scale(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Tanh", ["input.scale"], ["computed"]))
    node(model, "stem.relu.q.node").input[1] = "computed"


def per_channel_zero_points(model: onnx.ModelProto) -> None:
    replaced("stem.weight.zero_point", np.full(8, 3), np.int8)(model)


def axis_of_activation(model: onnx.ModelProto) -> None:
    replaced("stem.relu.scale", np.full(8, 0.1), np.float32)(model)
    replaced("stem.relu.zero_point", np.zeros(8), np.int8)(model)
    for name in ("stem.relu.q.node", "stem.relu.dq.node"):
        node(model, name).attribute.append(helper.make_attribute("axis", 2))


def zero_points_of_activation(model: onnx.ModelProto) -> None:
    replaced("stem.relu.scale", np.full(8, 0.1), np.float32)(model)
    replaced("stem.relu.zero_point", np.arange(8), np.int8)(model)


def int32_bias_with_zero_point(model: onnx.ModelProto) -> None:
    replaced("stem.bias", np.arange(8), np.int32)(model)
    model.graph.initializer.append(numpy_helper.from_array(np.int32(5), "five"))
    dequantize = helper.make_node("DequantizeLinear", ["stem.bias", "stem.relu.scale", "five"], ["bias"], name="bias")
    model.graph.node.insert(0, dequantize)
    node(model, "stem.node").input[2] = "bias"


def constant_output(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 7), np.float32), "fixed"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("fixed", TensorProto.FLOAT, [1, 7]))


def int8_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8


def second_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 16, 4]))


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 3, 16, 16]))


def shapes_disagree(model: onnx.ModelProto) -> None:
    node(model, "add.node").input[1] = "pointwise.relu.dq"


def float_input_of_bytes(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8


def axis(value: int) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        attribute(model, "stem.weight.dq.node", "axis").i = value

    return edit


def two_results(model: onnx.ModelProto) -> None:
    node(model, "se.gate.node").CopyFrom(
        helper.make_node("Dropout", ["se.expand.dq"], ["se.gate", "unused"], name="se.gate.node")
    )


def attribute_of_texts(model: onnx.ModelProto) -> None:
    node(model, "stem.node").attribute.append(helper.make_attribute("texts", ["a", "b"]))


def model_function(model: onnx.ModelProto) -> None:
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "f", ["a"], ["b"], [], opsets))


def probabilities_per_pixel(model: onnx.ModelProto) -> None:
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("stem", TensorProto.FLOAT, [1, 8, 8, 8]))


def output_from_nowhere(model: onnx.ModelProto) -> None:
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("nowhere", TensorProto.FLOAT, [1, 7]))


def blocked(model: onnx.ModelProto) -> None:
    opset(21)(model)
    model.ir_version = 10
    node(model, "stem.weight.dq.node").attribute.append(helper.make_attribute("block_size", 2))


def values_of_another_type(model: onnx.ModelProto) -> None:
    tensor = initializer(model, "stem.bias")
    tensor.ClearField("raw_data")
    tensor.float_data.extend([1.0, 2.0])


def names_not_text(model: onnx.ModelProto) -> None:
    """Break the UTF-8 of a name that several places share; only the bytes of the file can hold that."""
    broken = model.SerializeToString().replace(b"stem.relu", b"stem.\xff\xfelu")
    model.ParseFromString(broken)


# What is done to a good file, and words of the error that must name it.
BAD_FILES: list[tuple[str, Edit, str]] = [
    ("opset 12", opset(12), "opset 12; 13 to 21"),
    ("opset of the future", opset(99), "opset 99"),
    ("external data above", external("../weights.bin"), "another file"),
    ("external data absolute", external("/etc/passwd"), "another file"),
    ("external data beside", external("weights.bin"), "another file"),
    ("unknown operator", unknown_operator, "HardSigmoyd"),
    ("custom domain", custom_domain, "com.microsoft"),
    ("subgraph", subgraph, "subgraph"),
    ("dynamic size", input_shape(1, 3, "height", 16), "every size must be fixed"),
    ("batch of 2", input_shape(2, 3, 16, 16), "batch 1"),
    ("five channels", input_shape(1, 5, 16, 16), "one RGB picture .1, 3, H, W. or grey one .1, 1, H, W."),
    ("too large", input_shape(1, 3, 16, 4097), "at most 4096 pixels a side"),
    ("another size", input_shape(1, 3, 16, 24), r"makes pictures of 16 px, the network reads .16, 24."),
    ("no picture", input_shape(1, 3), "one RGB picture"),
    ("channels last", input_shape(1, 16, 16, 3), "channels last"),
    ("input of bytes", float_input_of_bytes, "must be float32"),
    ("scale of zero", replaced("stem.relu.scale", 0.0, np.float32), "above 0 .* not 0.0"),
    ("negative scale", replaced("stem.relu.scale", -0.1, np.float32), "above 0 .* not -0.1"),
    ("scale not a number", replaced("stem.relu.scale", np.nan, np.float32), "NaN or infinity"),
    ("infinite scale", replaced("stem.relu.scale", np.inf, np.float32), "NaN or infinity"),
    ("subnormal scale", replaced("stem.relu.scale", 1e-40, np.float32), "finite normal float32"),
    ("zero weight scale", replaced("stem.weight.scale", [0] * 8, np.float32), "stem.weight.dq.node.*above 0"),
    ("zero point of 300", int8_out_of_range, r"outside \[-128, 127\]"),
    ("uint8 read as int8", uint8_read_as_int8, "shapes in the file do not fit|checker"),
    ("int32 zero point", replaced("stem.relu.zero_point", 3, np.int32), "int32|checker"),
    ("computed scale", computed_scale, "computed by the graph"),
    ("per-channel zero points", per_channel_zero_points, "zero point other than 0"),
    ("scales along the rows of a map", axis_of_activation, "8 scales along axis 2 of an activation"),
    ("zero points per channel", zero_points_of_activation, "several zero points"),
    ("int32 bias with a zero point", int32_bias_with_zero_point, "int32; int8 is allowed"),
    ("int8 input", int8_input, "must be float32"),
    ("constant output", constant_output, "nothing computes the output"),
    ("axis too large", axis(4), "axis"),
    ("axis too small", axis(-5), "axis"),
    ("other axis", axis(1), r"8 scales for 3 channels|axis"),
    ("too few scales", replaced("stem.weight.scale", [0.1] * 7, np.float32), "7 scales"),
    ("tensor written twice", repeat_node, "two tensors are called 'logits'"),
    ("constant twice", repeat_initializer, "two tensors are called 'stem.bias'"),
    ("node name twice", repeat_node_name, "two nodes are called 'stem.node'"),
    ("cycle", cycle, "cycle through"),
    ("constant bigger than the file", bigger_than_file, "more than the file can hold"),
    ("constant of another size", wrong_byte_count, "needs 36 bytes and has 32"),
    ("negative size", negative_size, "more than the file can hold"),
    ("weight not finite", replaced("stem.bias", [np.nan] * 8, np.float32), "'stem.bias' holds NaN"),
    ("double weights", replaced("stem.bias", [0.0] * 8, np.float64), "has type DOUBLE"),
    ("second output of three axes", second_output, "maps|checker|nothing computes"),
    ("two inputs", second_input, "2 inputs"),
    ("shapes disagree", shapes_disagree, "checker|shapes"),
    ("node with two results", two_results, "has 2 outputs"),
    ("attribute of texts", attribute_of_texts, "not made of numbers|checker"),
    ("model function", model_function, "model functions"),
    ("map as output", probabilities_per_pixel, r"float32 logits \[1, classes\]"),
    ("output nobody computes", output_from_nowhere, "checker|nothing computes"),
    ("blocked quantization", blocked, "blocked quantization"),
    ("matrix of scales", replaced("stem.relu.scale", [[0.1]], np.float32), "scalar or"),
    ("fewer values than the shape", values_of_another_type, "stem.bias.*cannot be read"),
    ("names that are not text", names_not_text, "not UTF-8"),
    ("no Preprocess", metadata("repghost.preprocess", None), "how pictures are prepared"),
    ("Preprocess not JSON", metadata("repghost.preprocess", "{"), "is not JSON"),
    ("Preprocess of deep JSON", metadata("repghost.preprocess", "[" * 100_000), "is not JSON"),
    ("Preprocess a number", metadata("repghost.preprocess", "3"), "JSON object"),
    ("Preprocess of another size", metadata("repghost.preprocess", json.dumps(preprocess(32).to_dict())), "32 px"),
]
