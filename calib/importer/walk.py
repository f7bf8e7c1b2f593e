"""The state of an import: which map of the graph each tensor of the file is, and the operators made so far."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calib.importer.draft import DraftOperator, drafted_shape
from calib.importer.formulas import known_formula
from calib.importer.onnx_network import Network, Node
from calib.importer.views import CHANNELS, View, channels_first, cover, dimensions, positions, whole
from repghost.errors import UsageError
from repghost.exporters.onnx_writer import LOGITS
from repghost.graph.operators import INPUT, Function, Operator, ShuffleChannels, Step
from repghost.graph.shapes import Shape, shape_of

UNSAFE = re.compile(r"[^A-Za-z0-9_.\-]+")
WEIGHT = ".weight"
LONGEST_NAME = 120  # letters


@dataclass(frozen=True)
class Value:
    """What a tensor of the file is.

    Attributes:
        source: the map that it is made of.
        view: how the tensor lies over the map.
        steps: a formula that is applied to each number; () for none.
        node: the name of the last node of the formula.
    """

    source: str
    view: View
    steps: tuple[Step, ...] = ()
    node: str = ""


class Walk:
    """Walks over the nodes of a network in their order."""

    def __init__(self, network: Network, image: View, shape: Shape) -> None:
        self.network = network
        self.values = {network.input: Value(INPUT, image)}
        self.maps: dict[str, Shape] = {INPUT: shape}
        self.operators: dict[str, DraftOperator] = {}
        self.read_by: dict[str, set[str]] = {}  # which operators of the file read a tensor
        for node in network.nodes:
            for name in node.inputs:
                self.read_by.setdefault(name, set()).add(node.operator)
        self.notes: list[str] = []
        self.scales: list[tuple[Value, float]] = []  # of what a file quantizes, symmetric, in its order
        # Every file that is written has tensors of these names.
        self._names = {INPUT, LOGITS, *(map(plain_name, network.outputs) if len(network.outputs) > 1 else ())}
        self._beside = {""}
        self._functions: dict[tuple[str, tuple[Step, ...]], str] = {}
        self._shuffles: dict[tuple[str, int], str] = {}

    def is_constant(self, node: Node, place: int) -> bool:
        """Return whether an input of a node is known."""
        return node.inputs[place] in self.network.constants

    def constant(self, node: Node, place: int, what: str) -> NDArray[Any]:
        """Return an input of a node that has to be known.

        Raises:
            UsageError: saying what it is, when the graph computes it from the image.
        """
        name = node.inputs[place] if place < len(node.inputs) else ""
        if name not in self.network.constants:
            raise node.error(
                f"its {what} {name!r} is computed from the image; only what the file stores, or follows from it, is "
                "understood."
            )
        return self.network.constants[name]

    def optional(self, node: Node, place: int, what: str) -> NDArray[Any] | None:
        """Return an input of a node that may be left out."""
        return self.constant(node, place, what) if place < len(node.inputs) and node.inputs[place] else None

    def setting(self, node: Node, key: str, place: int) -> Any:
        """Return what older opsets keep as an attribute and newer ones as a constant input, as numbers; else None."""
        given = self.optional(node, place, key)
        if given is not None:
            return tuple(given.reshape(-1).tolist())
        return node.attributes.get(key)

    def number(self, node: Node, key: str, place: int, default: float) -> float:
        """Return one number that older opsets keep as an attribute and newer ones as a constant input."""
        given = self.optional(node, place, key)
        if given is not None and given.size != 1:
            raise node.error(f"its {key} has shape {list(given.shape)}; one number is understood.")
        return float(node.attributes.get(key, default) if given is None else given.reshape(-1)[0])

    def value(self, node: Node, place: int = 0) -> Value:
        """Return what an input of a node is, computed from the image.

        Raises:
            UsageError: when it is a constant.
        """
        name = node.inputs[place]
        if name not in self.values:
            raise node.error(f"it reads the constant {name!r} where an image's tensor is expected. Export it folded.")
        return self.values[name]

    def result_shape(self, node: Node) -> tuple[int, ...]:
        """Return the shape of a node's result."""
        return self.network.shapes[node.outputs[0]]

    def shape(self, value: Value) -> Shape:
        """Return the shape of the map that a value is made of."""
        return self.maps[value.source]

    def plain(self, value: Value) -> Value:
        """Return a value without a formula: what is left of it becomes an operator of the graph."""
        if not value.steps:
            return value
        key = value.source, value.steps
        if key not in self._functions:
            made = self.emit(Function(value.node, value.source, known_formula(value.steps)))
            self._functions[key] = made.source
        return Value(self._functions[key], value.view)

    def map(self, node: Node, place: int = 0) -> str:
        """Return the map that a tensor [1, C, H, W] is.

        Raises:
            UsageError: when the tensor is something else.
        """
        value = self.straight(node, self.plain(self.value(node, place)))
        if value.view == channels_first(self.shape(value)):
            return value.source
        raise node.error(
            f"its input {node.inputs[place]!r} is not [1, C, H, W] with the channels, rows and columns of one map. "
            "A Reshape or Transpose that moves pixels into channels, as in attention and pixel shuffle, has no "
            "integer form here; use the convolutional variant of the network."
        )

    def straight(self, node: Node, value: Value) -> Value:
        """Return a value whose channels are in the order of its map: those that changed places are shuffled in one.

        Args:
            node: what reads it.
            value: without a formula.
        """
        shape = self.shape(value)
        for place, digits in enumerate(value.view):
            if len(digits) < 2 or dimensions(digits) != {CHANNELS} or not cover((digits,), CHANNELS, shape[CHANNELS]):
                continue
            if len(digits) != 2 or digits[0].step != 1:
                raise node.error("it reads channels in an order that is no shuffle of groups. Export it without.")
            view = (*value.view[:place], whole(CHANNELS, shape[CHANNELS]), *value.view[place + 1 :])
            return Value(self._shuffled(node, value.source, digits[1].size), view)
        return value

    def _shuffled(self, node: Node, source: str, groups: int) -> str:
        if (source, groups) not in self._shuffles:
            self._shuffles[source, groups] = self.emit(ShuffleChannels(f"{node.name}.shuffle", source, groups)).source
        return self._shuffles[source, groups]

    def per_channel(self, value: Value, constant: NDArray[Any]) -> NDArray[np.float64] | None:
        """Return what a constant that is broadcast to a value is for each channel; None where pixels differ.

        Args:
            value: of any view.
            constant: of a shape that is broadcast to the value's.
        """
        rank = max(constant.ndim, len(value.view))
        axes = ((),) * (rank - len(value.view)) + value.view
        across = (1,) * (rank - constant.ndim) + constant.shape
        channels = self.shape(value)[CHANNELS]
        if constant.size == 1:
            return np.full(channels, float(constant.reshape(-1)[0]))
        own = tuple(axis for axis, size in zip(axes, across, strict=True) if dimensions(axis) == {CHANNELS})
        if any(size > 1 and dimensions(axis) != {CHANNELS} for axis, size in zip(axes, across, strict=True)):
            return None
        if not cover(own, CHANNELS, channels):
            return None
        full = np.broadcast_to(
            constant.reshape(across),
            [math.prod(d.size for d in axis) if axis in own else 1 for axis in axes],
        )
        result = np.empty(channels)
        result[positions(own, self.shape(value))] = full.reshape(-1)
        return result

    def emit(self, op: DraftOperator, view: View | None = None) -> Value:
        """Add an operator and return its result.

        Args:
            op: called as the node or the layer in the file is; it gets a name that no other has.
            view: how the tensor of the file lies over the result; as [1, C, H, W] by default.

        Raises:
            UsageError: when nothing is left of the map.
        """
        op = replace(op, name=self._unique(op.name))
        shape = shape_of(op, self.maps) if isinstance(op, Operator) else drafted_shape(op, self.maps)
        if min(shape) < 1:
            raise UsageError(f"node {op.name!r} would make a map of {list(shape)}; the images are too small for it.")
        self.operators[op.name] = op
        self.maps[op.name] = shape
        return Value(op.name, channels_first(shape) if view is None else view)

    def seen(self, source: str) -> Value:
        """Return a map, seen as [1, C, H, W]."""
        return Value(source, channels_first(self.maps[source]))

    def layer_name(self, node: Node, place: int) -> str:
        """Return the module that a layer's weight belongs to where its name says so, else the node's name."""
        name = node.inputs[place]
        for stored in (name, self.network.origins.get(name, "")):
            if stored.endswith(WEIGHT) and len(stored) > len(WEIGHT):
                return stored.removesuffix(WEIGHT)
        return node.name

    def _unique(self, name: str) -> str:
        """Return a name that no tensor has yet, of letters that every later stage takes.

        Files that are written have tensors like "conv.weight" and "conv.scale" beside "conv", so of "conv" and
        "conv.scale" the second one to come gets a number.
        """
        plain = plain_name(module_path(name)) or "operator"
        count, unique = 1, plain
        while unique in self._names or unique in self._beside or (_part_of(unique) in self._names):
            count += 1
            unique = f"{plain}.{count}"
        self._names.add(unique)
        self._beside.add(_part_of(unique))
        return unique


def plain_name(name: str) -> str:
    """Return a name of letters that every later stage takes."""
    return UNSAFE.sub("_", name).strip("._")[:LONGEST_NAME]


def _part_of(name: str) -> str:
    """Return the name beside which a name could be that of a weight or a scale; "" for one that could not."""
    before, _, last = name.rpartition(".")
    return before if last.islower() else ""


def module_path(name: str) -> str:
    """Return a node's name with dots: "/layer1/layer1.0/conv1/Conv", as torch writes it, is "layer1.0.conv1.Conv"."""
    path = ""
    for part in name.split("/"):
        if part:
            path = part if not path or part.startswith(f"{path}.") else f"{path}.{part}"
    return path


def with_step(value: Value, node: Node, step: Step) -> Value:
    """Return a value with one more step in its formula."""
    return replace(value, steps=(*value.steps, step), node=node.name)


Handler: TypeAlias = Callable[[Walk, Node], "Value | tuple[Value, ...]"]
