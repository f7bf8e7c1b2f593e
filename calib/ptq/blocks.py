"""The parts of a network that are reconstructed together: from one add to the next, or layer by layer."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from repghost.graph.operators import INPUT, Classifier, Convolution, Graph, Layer, Operator
from repghost.graph.shapes import Shape

MOST_LAYERS = 12  # of a block; where one tensor alone is read only after more of them, its parts are blocks


@dataclass(frozen=True, eq=False)
class Block:
    """Operators that are reconstructed together; of what they make, only the last one's output is read outside."""

    name: str
    operators: tuple[Operator, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors it reads from outside, in the order in which they are read."""
        inside = {op.name for op in self.operators}
        return tuple(dict.fromkeys(name for op in self.operators for name in op.inputs if name not in inside))

    @property
    def input(self) -> str:
        """The first of them."""
        return self.inputs[0]

    @property
    def output(self) -> str:
        """The tensor that is reconstructed."""
        return self.operators[-1].name

    def layers(self) -> list[Layer]:
        """Return the operators that have weights."""
        return [op for op in self.operators if isinstance(op, Convolution | Classifier)]


def find_blocks(graph: Graph) -> tuple[Block, ...]:
    """Return the parts of a network between which one tensor alone is read: residual blocks, and single operators.

    A longer part, as a dense block is, is divided where of all that it made before one tensor alone is read behind.
    """
    blocks, part = list[Block](), list[Operator]()
    left, live = Counter(graph.readers), {INPUT}
    for op in graph.operators:
        part.append(op)
        left.subtract(op.inputs)
        live = {name for name in live if left[name] > 0} | {op.name}
        if live == {op.name}:
            found = Block(_common_name(part), tuple(part))
            blocks.extend([found] if len(found.layers()) <= MOST_LAYERS else _divided(graph, part))
            part = []
    return tuple(blocks)


def _divided(graph: Graph, operators: Sequence[Operator]) -> Iterator[Block]:
    part, left = list[Operator](), Counter(graph.readers)
    for op in operators:
        part.append(op)
        left.subtract(op.inputs)
        if not any(left[made.name] for made in part[:-1]):
            yield Block(_common_name(part), tuple(part))
            part = []


def _common_name(part: Sequence[Operator]) -> str:
    """Return what the names of operators begin with, in whole words between dots; a single one's name."""
    words = [op.name.split(".") for op in part]
    shared = itertools.takewhile(lambda same: len({*same}) == 1, zip(*words, strict=False))
    return ".".join(same[0] for same in shared) or part[-1].name


def numbers_of(operators: Sequence[Operator], shapes: Mapping[str, Shape]) -> int:
    """Return how many numbers the products and results of operators have for one image."""
    return sum(_numbers(op, shapes[op.name]) for op in operators)


def _numbers(op: Operator, shape: Shape) -> int:
    channels, height, width = shape
    if isinstance(op, Convolution) and not op.is_depthwise:
        return height * width * op.weight[0].size * op.groups  # what a kernel reads lies beside each other
    return height * width * channels
