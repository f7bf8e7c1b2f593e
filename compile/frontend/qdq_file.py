"""From a QDQ ONNX file to a checked, frozen graph; every later stage may rely on what is proven here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from calib.importer.onnx_file import load_model
from calib.importer.onnx_values import attributes_of, constant_tensor, stored_array
from calib.importer.qoperator import OF_ONNX_RUNTIME, to_qdq
from calib.importer.static_shapes import infer_shapes, make_static
from calib.qdq.digest import program_digest
from calib.qdq.writer import DIGEST, PREPROCESS
from compile.frontend.qdq_checks import check_broadcasts, check_quantization
from compile.frontend.split_to_slices import SPLIT, split_into_slices
from compile.frontend.uint8_to_int8 import tensors_of, to_signed
from compile.ir.qdq_graph import DEQUANTIZE, QUANTIZE, Node, QdqGraph
from repghost.channels import CHANNELS
from repghost.data.images.chosen_preprocess import resized
from repghost.data.images.preprocess import IMAGENET, Preprocess, read_preprocess
from repghost.errors import IntegrityError, UsageError, option
from repghost.sizes import MAX_SIDE, check_size, size_text
from repghost.untrusted import parse_json

MOST_OUTPUTS = 64
TENSOR_TYPES = {
    TensorProto.FLOAT: "float32", TensorProto.INT8: "int8", TensorProto.UINT8: "uint8", TensorProto.INT16: "int16"
}  # fmt: skip


def read_qdq(path: Path, preprocess: Preprocess | None = None) -> QdqGraph:
    """Read a QDQ ONNX file and check everything the passes rely on.

    Args:
        path: a file as `repghost quantize` writes it, or any other QDQ network with tensors of 8 bits or symmetric 16.
        preprocess: how images become the network's input, for a file that does not say so itself.

    Returns:
        The graph with every Q/DQ node still in place.

    Raises:
        UsageError: for a file that is missing, damaged, not quantized, or outside what the compiler understands.
        IntegrityError: when the graph does not match the program digest in its metadata.
    """
    path = Path(path)
    try:
        return _read(load_model(path, foreign=OF_ONNX_RUNTIME), preprocess)
    except (UsageError, IntegrityError) as error:
        raise type(error)(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error


def read_qdq_as_given(path: Path, preprocess_file: Path | Preprocess | None) -> QdqGraph:
    """Read a QDQ ONNX file with the preprocessing that a user may have given.

    Args:
        path: the file.
        preprocess_file: JSON, or the value, needed for a file that does not say how images are prepared.

    Raises:
        UsageError: as `read_qdq`, and when the file says something else than the JSON.
    """
    given = read_preprocess(preprocess_file) if preprocess_file else None
    graph = read_qdq(path, given)
    if given is not None and given != graph.preprocess:
        other = "what was given" if isinstance(preprocess_file, Preprocess) else str(preprocess_file)
        raise UsageError(
            f"{path} says how its pictures are prepared, {json.dumps(graph.preprocess.to_dict())}, and {other} says "
            f"otherwise. Its first layer was made for what it says; leave {option('preprocess')} out."
        )
    return graph


def _read(model: onnx.ModelProto, preprocess: Preprocess | None) -> QdqGraph:
    static = make_static(to_qdq(model))
    image = _only_input(static.graph)
    constants = _constants(static.graph)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if not any(node.op_type in (QUANTIZE, DEQUANTIZE) for node in model.graph.node):
        raise UsageError(
            "the network is not quantized: it has no QuantizeLinear and DequantizeLinear nodes. "
            "Write a quantized one with 'repghost quantize CKPT --data DIR -o FILE.qdq.onnx', or with the tools that "
            "exported the network."
        )
    _check_results(static.graph)
    inferred = infer_shapes(static)
    shapes = _shapes(inferred)
    output, *others = _outputs(inferred.graph)
    shapes.update({name: array.shape for name, array in constants.items()})
    nodes = _nodes(static.graph, constants, shapes)
    unsigned, wide = (tensors_of(inferred, kind) for kind in (TensorProto.UINT8, TensorProto.INT16))
    nodes, constants = to_signed(nodes, constants, unsigned, wide)
    check_quantization(nodes, constants, shapes)
    check_broadcasts(nodes, constants, shapes)
    preprocess = _preprocess(metadata, preprocess, shapes[image])
    digest = program_digest(model, preprocess.to_dict())
    if metadata.get(DIGEST, digest) != digest:
        raise IntegrityError(
            f"the graph's program digest is {digest}, its metadata says {metadata[DIGEST]}; the file was changed after "
            "it was written. Write it again with 'repghost quantize'."
        )
    return QdqGraph(nodes, image, output, shapes, constants, preprocess, digest, metadata, other_outputs=tuple(others))


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Return every stored tensor by name, the values of Constant nodes included."""
    constants = {tensor.name: stored_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = stored_array(constant_tensor(node))
    return constants


def _check_results(graph: onnx.GraphProto) -> None:
    """Refuse nodes with several results, except Split."""
    for node in graph.node:
        if node.op_type != SPLIT and len([name for name in node.output if name]) != 1:
            raise UsageError(
                f"node {node.name!r} ({node.op_type}) has {len(node.output)} outputs; operators with one are "
                "understood. Export the network in evaluation mode."
            )


def _nodes(
    graph: onnx.GraphProto, constants: dict[str, NDArray[Any]], shapes: dict[str, tuple[int, ...]]
) -> tuple[Node, ...]:
    """Return every node but the constants; a Split as several Slices."""
    nodes: list[Node] = []
    for node in graph.node:
        if node.op_type == "Constant":
            continue
        attributes = attributes_of(node)
        if node.op_type == SPLIT:
            size = shapes[node.input[0]][attributes.get("axis", 0)]
            nodes += split_into_slices(node, attributes, constants, size)
            continue
        nodes.append(Node(node.name or node.output[0], node.op_type, tuple(node.input), node.output[0], attributes))
    return tuple(nodes)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the static shape of every computed tensor; refuse other types and unknown sizes."""
    graph = model.graph
    shapes: dict[str, tuple[int, ...]] = {}
    stored = {tensor.name for tensor in graph.initializer}
    types = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    for value in graph.input:
        if value.name not in stored:
            shapes[value.name] = _static_shape(value)
    for node in graph.node:
        for name in node.output if node.op_type != "Constant" else ():
            if name and name not in types:
                raise UsageError(f"the shape of {name!r} ({node.op_type}) cannot be derived. Export it again.")
            if name:
                shapes[name] = _static_shape(types[name], f" of node {node.name!r} ({node.op_type})")
    return shapes


def _static_shape(value: onnx.ValueInfoProto, source: str = "") -> tuple[int, ...]:
    """Return the sizes of a tensor whose type is known; `source` says in an error what makes it."""
    tensor = value.type.tensor_type
    if tensor.elem_type not in (*TENSOR_TYPES, TensorProto.INT32, TensorProto.INT64):
        kinds = TensorProto.DataType
        kind = kinds.Name(tensor.elem_type) if tensor.elem_type in kinds.values() else tensor.elem_type
        raise UsageError(
            f"tensor {value.name!r} has type {kind}; {', '.join(TENSOR_TYPES.values())} are understood. "
            "Quantize activations to 8 bits, or to signed 16 (in ONNX Runtime: QuantType.QInt8)."
        )
    sizes = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    if not tensor.HasField("shape") or any(size is None or size < 1 for size in sizes):
        names = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
        raise UsageError(
            f"tensor {value.name!r}{source} has shape {names}; every size must be fixed but the batch, which is read "
            "as 1, and sizes that follow from constants. Export it for pictures of one size, without sizes that "
            "depend on what is in a picture."
        )
    return tuple(size for size in sizes if size is not None)


def _only_input(graph: onnx.GraphProto) -> str:
    """Return the image's tensor: float32 [1, channels, H, W], see repghost/data/images/bands.py."""
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    if len(inputs) != 1:
        raise UsageError(f"the network has {len(inputs)} inputs; exactly one picture is understood.")
    shape = _static_shape(inputs[0])
    if inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        raise UsageError(f"input {inputs[0].name!r} must be float32, the normalized picture; quantize it in the graph.")
    if len(shape) == 4 and shape[3] in CHANNELS and shape[1] not in CHANNELS:
        raise UsageError(
            f"input {inputs[0].name!r} has shape {list(shape)}, channels last; ONNX convolutions read "
            f"[1, {shape[3]}, H, W]. Export without the transposition."
        )
    if len(shape) != 4 or shape[0] != 1 or shape[1] not in CHANNELS or max(shape[2:]) > MAX_SIDE:
        raise UsageError(
            f"input {inputs[0].name!r} has shape {list(shape)}; one RGB picture [1, 3, H, W] or grey one [1, 1, H, W], "
            f"or either with one band more, of at most {MAX_SIDE} pixels a side is understood. Export with batch 1."
        )
    return inputs[0].name


def _outputs(graph: onnx.GraphProto) -> list[str]:
    """Return the results: float32 logits [1, classes] alone, or several maps [1, channels, height, width]."""
    if not 1 <= len(graph.output) <= MOST_OUTPUTS:
        raise UsageError(f"the network has {len(graph.output)} outputs; 1 to {MOST_OUTPUTS} are understood.")
    for output in graph.output:
        shape, several = _static_shape(output), len(graph.output) > 1
        ranks = (2, 4) if several else (2,)
        if output.type.tensor_type.elem_type != TensorProto.FLOAT or len(shape) not in ranks or shape[0] != 1:
            raise UsageError(
                f"output {output.name!r} has shape {list(shape)}; float32 logits [1, classes] are understood"
                + (", and maps [1, channels, height, width]." if several else ".")
            )
        if not any(output.name in node.output for node in graph.node):
            raise UsageError(f"nothing computes the output {output.name!r}.")
    names = [output.name for output in graph.output]
    if len(set(names)) != len(names):
        raise UsageError(f"an output is listed twice: {names}.")
    return names


def _preprocess(metadata: dict[str, str], given: Preprocess | None, shape: tuple[int, ...]) -> Preprocess:
    """Return the Preprocess of the file, or the given one, and compare it with the input's shape."""
    if PREPROCESS in metadata:
        given = Preprocess.from_dict(parse_json(metadata[PREPROCESS], f"metadata {PREPROCESS!r}"))
    if given is None:
        half = (0.5,) * shape[1]
        usual = IMAGENET if shape[1] == IMAGENET.channels else replace(IMAGENET, mean=half, std=half)
        example = json.dumps(resized(usual, check_size("input", shape[2:])).to_dict())
        raise UsageError(
            f"the file does not say how pictures are prepared (metadata {PREPROCESS!r} is absent); give "
            f"{option('preprocess', 'FILE')} with JSON like {example}."
        )
    if given.shape[:2] != shape[2:]:
        made = size_text(given.size)
        raise UsageError(f"the Preprocess makes pictures of {made} px, the network reads {list(shape[2:])}.")
    if given.channels != shape[1]:
        raise UsageError(
            f"the Preprocess makes pictures of {given.channels} channel(s), the network reads {shape[1]}; give its "
            "mean and std as many numbers."
        )
    return given
