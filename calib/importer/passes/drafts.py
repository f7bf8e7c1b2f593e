"""The operators of a network while passes change them: who makes and who reads each tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from calib.importer.draft import DraftOperator
from repghost.graph.operators import Add, Concat, Multiply, Subtract
from repghost.graph.shapes import Shape


class Drafts:
    """Operators by name, of which each has one result.

    Args:
        operators: in an order in which they can run.
        outputs: the names of those that make the results, mostly one.
        maps: the shape of each result and of the input.
    """

    def __init__(
        self, operators: tuple[DraftOperator, ...], outputs: tuple[str, ...], maps: Mapping[str, Shape]
    ) -> None:
        self.operators = {op.name: op for op in operators}
        self.maps = dict(maps)
        self.outputs = outputs
        self.changes = 0
        self.dropped: dict[str, str] = {}  # what stands for each operator that was left out
        self._readers: dict[str, list[str]] = {}
        for op in operators:
            self._register(op)

    def __iter__(self) -> Iterator[DraftOperator]:
        """Yield the operators there are, each as it is when its turn comes."""
        for name in list(self.operators):
            if name in self.operators:
                yield self.operators[name]

    @property
    def output(self) -> str:
        """The name of the operator that makes the last result."""
        return self.outputs[-1]

    @output.setter
    def output(self, name: str) -> None:
        self.outputs = (*self.outputs[:-1], name)

    def name_now(self, name: str) -> str:
        """Return the operator whose result is that of one that may have been left out."""
        while name in self.dropped:
            name = self.dropped[name]
        return name

    def is_alone(self, name: str) -> bool:
        """Return whether a tensor has one reader and is no result."""
        return len(self._readers.get(name, ())) == 1 and name not in self.outputs

    def readers(self, name: str) -> list[DraftOperator]:
        """Return the operators that read a tensor, one that reads it twice two times."""
        return [self.operators[reader] for reader in self._readers.get(name, ())]

    def sole_maker(self, op: DraftOperator) -> DraftOperator | None:
        """Return what makes the first tensor that an operator reads, if nothing else reads it."""
        name = op.inputs[0]
        return self.operators.get(name) if self.is_alone(name) else None

    def put(self, op: DraftOperator) -> None:
        """Let an operator stand in the place of the one with its name, or be a new one."""
        before = self.operators.get(op.name)
        for name in before.inputs if before is not None else ():
            self._readers[name].remove(op.name)
        self.operators[op.name] = op
        self._register(op)
        self.changes += 1

    def drop(self, op: DraftOperator) -> None:
        """Leave an operator out: what reads it reads what it read."""
        source = op.inputs[0]
        for reader in {reader.name: reader for reader in self.readers(op.name)}.values():
            self.put(with_input(reader, op.name, source))
        for name in op.inputs:
            self._readers[name].remove(op.name)
        del self.operators[op.name]
        self.outputs = tuple(source if name == op.name else name for name in self.outputs)
        self.dropped[op.name] = source
        self.changes += 1

    def _register(self, op: DraftOperator) -> None:
        for name in op.inputs:
            self._readers.setdefault(name, []).append(op.name)


Pass: TypeAlias = Callable[[Drafts], None]


def with_input(op: DraftOperator, old: str, new: str) -> DraftOperator:
    """Return an operator that reads another tensor in the place of one."""
    if isinstance(op, Concat):
        return replace(op, inputs=tuple(new if name == old else name for name in op.inputs))
    if isinstance(op, Add | Subtract | Multiply):
        return replace(op, input=new if op.input == old else op.input, other=new if op.other == old else op.other)
    return replace(op, input=new)
