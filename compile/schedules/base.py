"""What a schedule is: a rule that turns one operator into a kernel, or answers None."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from calib.program import Tensor
from compile.intrin import InstructionSet
from compile.layout import MemoryPlan, Placement


@dataclass(frozen=True)
class Context:
    """What a rule may look at besides the operator."""

    isa: InstructionSet
    plan: MemoryPlan

    def place(self, tensor: Tensor) -> Placement:
        """Return where a tensor lives."""
        return self.plan.placements[tensor.name]


@dataclass(frozen=True)
class Argument:
    """A pointer a kernel gets: a buffer of the step function and a byte offset into it."""

    buffer: str  # "workspace", "weights", "rgb" or "logits"
    offset: int = 0


@dataclass(frozen=True)
class Scheduled:
    """One operator ready to run.

    The function takes `arguments` as pointers, then int32 begin and end: the units of this call, usually rows.
    """

    function: Any  # tvm.tirx.PrimFunc
    name: str  # see docs: rg_<types>_<operator>_<shape>__<instruction set>
    arguments: tuple[Argument, ...]
    units: int
    constants: bytes = field(default=b"", repr=False)  # weights and parameters; Argument("weights", k) is relative to it


Answer: TypeAlias = Scheduled | None
