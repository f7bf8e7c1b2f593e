"""Which layers and tensors are int8: TensorRT's rules for Q/DQ placement, applied to a network.

`RULES` says what each operator may do; nothing else gets a pair, because each further one can only break a fusion. The
guide is NVIDIA's Developer Guide for TensorRT, "Explicit Quantization": its layer-placement recommendations, and what
it says of layers that commute with Q/DQ. operators.md is onnx-tensorrt's list of types, in versions 8.5 and 9.2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from calib.settings.policy import quantized_tensors
from calib.settings.quantspec import QuantSpec
from repghost.errors import UsageError, unknown_value
from repghost.graph.operators import (
    UNBOUNDED,
    Add,
    AveragePool,
    ChannelSlopes,
    Classifier,
    Concat,
    Convolution,
    Function,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Multiply,
    Operator,
    Pad,
    Resize,
    ShuffleChannels,
    Slice,
    Subtract,
)

INT8, FLOAT = "int8", "float"
CHOICES = (INT8, FLOAT)


class Kind(Enum):
    """What an operator does with Q/DQ pairs."""

    WEIGHTED = "int8 by choice: its input and its weight have pairs, its result has none of its own"
    SUMS = "computed by the int8 convolution before it, where its other operand has a pair; otherwise as QUANTIZABLE"
    QUANTIZABLE = "int8 between int8 layers: a pair before it and one behind it, each with its own scale"
    COMMUTES = "int8 where its result is read so: a pair before it, of the scale of the one behind, changes no number"
    JOINS = "the same for several inputs, of which those of another scale are requantized"
    STAYS = "never int8"


@dataclass(frozen=True)
class Rule:
    """What TensorRT does with an operator, and who says so."""

    kind: Kind
    source: str


COMMUTING = "the guide: a layer with Q(Op(x)) = Op(Q(x)) changes places with Q and DQ; operators.md: takes INT8"
POINTWISE = "the guide: what follows a convolution in higher precision, such as SiLU, is fused with it as it is"
RULES: Mapping[type[Operator], Rule] = {
    Convolution: Rule(Kind.WEIGHTED, "the guide: quantize all inputs of weighted operations, and not their outputs"),
    Classifier: Rule(Kind.WEIGHTED, "written as a convolution of 1x1"),
    Add: Rule(Kind.SUMS, "the guide: quantize the residual input in skip connections; an Add is fused with DQ and Q"),
    AveragePool: Rule(
        Kind.QUANTIZABLE, "the guide: AveragePool does not commute, but is fused with DQ and Q around it"
    ),
    MaxPool: Rule(Kind.COMMUTES, COMMUTING),
    Slice: Rule(Kind.COMMUTES, COMMUTING),
    ShuffleChannels: Rule(Kind.COMMUTES, COMMUTING + ", written as Reshape, Transpose, Reshape"),
    Pad: Rule(Kind.COMMUTES, COMMUTING + "; zero is exact in symmetric int8"),
    Concat: Rule(Kind.JOINS, "ModelOpt: Q moves before a Concat, and a DQ of the same scale vanishes there"),
    Resize: Rule(Kind.STAYS, "operators.md: Resize takes FP32 and FP16 alone"),
    GlobalAveragePool: Rule(
        Kind.STAYS, "one number a channel: nothing in the guide says that it is fused with Q and DQ"
    ),
    Function: Rule(Kind.STAYS, POINTWISE),
    ChannelSlopes: Rule(Kind.STAYS, POINTWISE),
    Multiply: Rule(Kind.STAYS, POINTWISE),
    Subtract: Rule(Kind.STAYS, POINTWISE),
}


@dataclass(frozen=True)
class PlacementOptions:
    """Which layers the user leaves in float.

    Attributes:
        squeeze_excite: "float" leaves the small convolutions of every squeeze-and-excitation block, which see one pixel
            each and take under 1 % of the work, in the type around them; "int8" quantizes them.
        depthwise: "int8" or "float"; on some boards int8 depthwise kernels are no faster.
    """

    squeeze_excite: str = FLOAT
    depthwise: str = INT8

    def __post_init__(self) -> None:
        """Refuse a choice that does not exist."""
        for name in ("squeeze_excite", "depthwise"):
            if getattr(self, name) not in CHOICES:
                raise unknown_value(f"choice for {name}", getattr(self, name), CHOICES)


@dataclass(frozen=True)
class QdqPlacement:
    """Which layers are int8, and which reads go through a Q/DQ pair.

    Attributes:
        layers: convolutions, the classifier included, whose weight and input are int8.
        quantized_reads: (reader, tensor) pairs that go through the tensor's Q/DQ pair; others read the float tensor.
        layer_names: every convolution in execution order.
    """

    layers: frozenset[str]
    quantized_reads: frozenset[tuple[str, str]]
    layer_names: tuple[str, ...]

    @property
    def tensors(self) -> frozenset[str]:
        """The tensors that have a Q/DQ pair."""
        return frozenset(tensor for _, tensor in self.quantized_reads)

    def layer_types(self) -> dict[str, str]:
        """Return, for every convolution, "int8" or "float": the type TensorRT has to build it in."""
        return {name: INT8 if name in self.layers else FLOAT for name in self.layer_names}


def check_operators(graph: Graph) -> None:
    """Refuse a network with an operator that TensorRT does not have.

    Raises:
        UsageError: naming it.
    """
    for op in graph.operators:
        if isinstance(op, MaxPool) and op.dilations != (1, 1):
            raise UsageError(
                f"operator {op.name!r} is a max pool with dilations {op.dilations}, and TensorRT has only those of "
                "(1, 1). Compile the network for a CPU, or train it with another pool."
            )


def place(graph: Graph, options: PlacementOptions, spec: QuantSpec | None = None) -> QdqPlacement:
    """Return the placement of Q/DQ pairs in a network.

    Args:
        graph: the network.
        options: the user's choices.
        spec: what calibration left in float stays float, and so does a convolution whose result is added there; None
            leaves nothing.
    """
    inside_gates = _squeeze_excite_layers(graph)
    layers = frozenset(
        op.name
        for op in graph.layers()
        if (spec is None or op.name in spec.weight_scales)
        and not (options.squeeze_excite == FLOAT and op.name in inside_gates)
        and not (options.depthwise == FLOAT and isinstance(op, Convolution) and op.is_depthwise)
    )
    have_scales = _tensors_with_scales(graph, spec)
    layers -= {host for add, host in _sums_of_layers(graph, layers) if have_scales.isdisjoint(add.inputs)}
    reads = {(op.name, op.input) for op in graph.layers() if op.name in layers}
    reads |= set(_residual_reads(graph, layers, have_scales))
    reads |= _reads_between(graph, layers, reads, spec)
    return QdqPlacement(layers, frozenset(reads), _layer_names(graph))


def float_placement(graph: Graph) -> QdqPlacement:
    """Return the placement in which nothing is quantized."""
    return QdqPlacement(frozenset(), frozenset(), _layer_names(graph))


def _layer_names(graph: Graph) -> tuple[str, ...]:
    return tuple(op.name for op in graph.layers())


def _sums_of_layers(graph: Graph, layers: frozenset[str]) -> Iterator[tuple[Add, str]]:
    """Yield each sum that an int8 convolution, either operand, could compute in its epilogue, and the convolution."""
    hosts = {
        op.name
        for op in graph.operators
        if isinstance(op, Convolution) and op.name in layers and op.clamp == UNBOUNDED and graph.readers[op.name] == 1
    }
    for op in graph.operators:
        if isinstance(op, Add):
            yield from ((op, name) for name in op.inputs if name in hosts)


def _residual_reads(graph: Graph, layers: frozenset[str], have_scales: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield what sums read quantized: what is added to an int8 convolution that computes the sum in its epilogue.

    A convolution whose sum is its only reader has no scale of its own (`Graph.fused_adds`). Where that one is float and
    the other operand is such a convolution as well, the other one writes int8 and the sum stands alone.
    """
    found = set[str]()
    for add, host in _sums_of_layers(graph, layers):
        other = add.other if host == add.input else add.input
        if add.name not in found:
            found.add(add.name)
            yield add.name, other if other in have_scales else host


def _reads_between(
    graph: Graph, layers: frozenset[str], reads: set[tuple[str, str]], spec: QuantSpec | None
) -> set[tuple[str, str]]:
    """Return what operators without weights read quantized, because everything that reads their result does."""
    have_scales = _tensors_with_scales(graph, spec)
    from_int8 = _made_from_int8(graph, layers, {tensor for _, tensor in reads})
    readers: defaultdict[str, list[str]] = defaultdict(list)
    for op in graph.operators:
        for name in op.inputs:
            readers[name].append(op.name)
    found, computed_elsewhere = set(reads), {reader for reader, _ in reads}
    for op in reversed(graph.operators):
        wanted = (
            bool(readers[op.name])
            and op.name not in graph.results
            and all((reader, op.name) in found for reader in readers[op.name])
        )
        if op.name in computed_elsewhere or not wanted or not have_scales.issuperset(op.inputs):
            continue
        match RULES[type(op)].kind:
            case Kind.COMMUTES:
                fits = spec is None or spec.activations[op.inputs[0]] == spec.activations[op.name]
            case Kind.JOINS:
                fits = True
            case Kind.SUMS | Kind.QUANTIZABLE:
                fits = from_int8.issuperset(op.inputs)
            case _:
                fits = False
        if fits:
            found |= {(op.name, name) for name in op.inputs}
    return found


def _made_from_int8(graph: Graph, layers: frozenset[str], quantized: set[str]) -> set[str]:
    """Return the tensors that have a pair or an int8 layer writes, and what is moved, pooled or summed from those."""
    found = set(quantized)
    for op in graph.operators:
        between = RULES[type(op)].kind not in (Kind.WEIGHTED, Kind.STAYS)
        if op.name in layers or (between and found.issuperset(op.inputs)):
            found.add(op.name)
    return found


def _tensors_with_scales(graph: Graph, spec: QuantSpec | None) -> frozenset[str]:
    return frozenset(quantized_tensors(graph) if spec is None else spec.activations)


def _squeeze_excite_layers(graph: Graph) -> frozenset[str]:
    """Return the convolutions between the mean of a map and the gate that it becomes, whatever functions it takes."""
    made_by: Mapping[str, Operator] = {op.name: op for op in graph.operators}

    def way_back(tensor: str) -> tuple[Operator | None, set[str]]:
        """Return what a chain of convolutions and functions begins behind, and its convolutions."""
        layers = set[str]()
        while isinstance(maker := made_by.get(tensor), Convolution | Function | ChannelSlopes):
            layers |= {tensor} if isinstance(maker, Convolution) else set()
            tensor = maker.input
        return maker, layers

    found = set[str]()
    for op in graph.operators:
        if isinstance(op, Multiply):
            (first, before), (second, behind) = way_back(op.input), way_back(op.other)
            found |= before if isinstance(first, GlobalAveragePool) and first is not second else set()
            found |= behind if isinstance(second, GlobalAveragePool) and first is not second else set()
    return frozenset(found)
