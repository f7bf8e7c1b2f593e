"""The programs of a run: the integer one, and float ones to compare it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compile.ir.float_from_graph import float_program
from compile.ir.float_from_integer import float_form
from compile.ir.float_program import FloatProgram
from compile.subject.subject import FloatSubject, Subject
from compile.targets.precisions import FP32, INT8, Precision
from repghost.errors import UsageError, option

if TYPE_CHECKING:
    from calib.integer.program import Program
    from compile.ir.memory_plan import AnyProgram


@dataclass(frozen=True, eq=False)
class Programs:
    """The integer program of a network, and its float programs by the name of their precision."""

    integer: Program
    floats: Mapping[str, FloatProgram]

    def all(self) -> dict[str, AnyProgram]:
        """Return every program by the name of its precision."""
        return {INT8.name: self.integer, **self.floats}


def make_programs(subject: Subject, integer: Program, precisions: Sequence[Precision]) -> Programs:
    """Return the programs of a run.

    Args:
        subject: a network in float is compared with in float32 in any case; a quantized file only where asked for.
        integer: from `compile.passes.lower`.
        precisions: what was asked for.

    Raises:
        UsageError: when a quantized file has no float form.
    """
    if isinstance(subject, FloatSubject):
        wanted = (FP32, *(precision for precision in precisions if not precision.exact))
        return Programs(
            integer, {it.name: float_program(subject.graph, subject.preprocess, it.element) for it in wanted}
        )
    if integer.outputs and FP32 in precisions:
        raise UsageError(
            f"{subject.name} has {len(integer.outputs)} results, which are compiled in int8 only; give "
            f"{option('precision', INT8.name)}."
        )
    return Programs(integer, {FP32.name: float_form(integer, subject.preprocess)} if FP32 in precisions else {})
