"""Which layers and tensors are int8: TensorRT's rules for Q/DQ placement, applied to the fused network.

Both inputs of an int8 convolution are quantized and its output is not; the next reader's Q does that. The tensor that a
residual add takes besides an int8 convolution is quantized too, so that TensorRT can fuse the add into the convolution
with int8 in and out. Nothing else gets a Q/DQ pair: every further pair can only break a fusion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from calib.settings.quantspec import QuantSpec
from repghost.errors import unknown_value
from repghost.graph.operators import (
    UNBOUNDED,
    Add,
    Classifier,
    Convolution,
    Function,
    GlobalAveragePool,
    Graph,
    Multiply,
    Operator,
)

INT8, FLOAT = "int8", "float"
CHOICES = (INT8, FLOAT)


@dataclass(frozen=True)
class PlacementOptions:
    """Which layers the user leaves in float.

    Attributes:
        squeeze_excite: "float" leaves the two small convolutions of every squeeze-and-excitation block, which see one
            pixel each and take under 1 % of the work, in the type around them; "int8" quantizes them.
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


def place(graph: Graph, options: PlacementOptions, spec: QuantSpec | None = None) -> QdqPlacement:
    """Return the placement of Q/DQ pairs in a network.

    Args:
        graph: from `repghost.graph.trace.graph_of`.
        options: the user's choices.
        spec: what calibration left in float stays float; None leaves nothing.
    """
    convolutions = [op for op in graph.operators if isinstance(op, Convolution | Classifier)]
    inside_gates = _squeeze_excite_layers(graph)
    layers = frozenset(
        op.name
        for op in convolutions
        if (spec is None or op.name in spec.weight_scales)
        and not (options.squeeze_excite == FLOAT and op.name in inside_gates)
        and not (options.depthwise == FLOAT and isinstance(op, Convolution) and op.is_depthwise)
    )
    reads = {(op.name, op.input) for op in convolutions if op.name in layers}
    reads |= {read for read in _residual_reads(graph, layers) if spec is None or read[1] in spec.activations}
    return QdqPlacement(layers, frozenset(reads), tuple(op.name for op in convolutions))


def _residual_reads(graph: Graph, layers: frozenset[str]) -> set[tuple[str, str]]:
    """Return what residual adds read quantized: their second operand, where a convolution beside it is int8.

    The first operand is an int8 convolution the add can be fused into, and has no scale of its own. Where it is float
    and the second one is such a convolution, that one writes int8 and the add stands alone.
    """
    readers = Counter(name for op in graph.operators for name in op.inputs)
    fusible = {
        op.name
        for op in graph.operators
        if isinstance(op, Convolution) and op.name in layers and op.clamp == UNBOUNDED and readers[op.name] == 1
    }
    return {(add.name, add.other) for add in residual_adds(graph) if {add.input, add.other} & fusible}


def float_placement(graph: Graph) -> QdqPlacement:
    """Return the placement in which nothing is quantized."""
    names = tuple(op.name for op in graph.operators if isinstance(op, Convolution | Classifier))
    return QdqPlacement(frozenset(), frozenset(), names)


def _squeeze_excite_layers(graph: Graph) -> frozenset[str]:
    """Return the convolutions between a pool and the gate that it becomes."""
    made_by: Mapping[str, Operator] = {op.name: op for op in graph.operators}
    found: set[str] = set()
    for op in graph.operators:
        if not isinstance(op, Multiply):
            continue
        inside, tensor = set[str](), op.other
        while isinstance(maker := made_by.get(tensor), Convolution | Function):
            inside |= {tensor} if isinstance(maker, Convolution) else set()
            tensor = maker.input
        found |= inside if isinstance(maker, GlobalAveragePool) else set()
    return frozenset(found)


def residual_adds(graph: Graph) -> tuple[Add, ...]:
    """Return the residual adds in execution order."""
    return tuple(op for op in graph.operators if isinstance(op, Add))
