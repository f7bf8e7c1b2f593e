"""Slices of slices as one."""

from __future__ import annotations

from dataclasses import replace

from calib.importer.passes.drafts import Drafts
from repghost.graph.operators import Slice


def merge_slices(drafts: Drafts) -> None:
    """Make one slice of a slice of a slice that nothing else reads."""
    for op in drafts:
        inner = drafts.sole_maker(op)
        if isinstance(op, Slice) and isinstance(inner, Slice):
            drafts.put(_merged(inner, op))
            drafts.drop(inner)


def _merged(inner: Slice, outer: Slice) -> Slice:
    starts, ends, steps = [], [], []
    for axis in range(3):
        whole = range(inner.start[axis], inner.end[axis], inner.step[axis])
        part = whole[outer.start[axis] : outer.end[axis] : outer.step[axis]]
        starts.append(part.start)
        ends.append(part[-1] + 1 if part.step > 1 else part.stop)
        steps.append(part.step)
    return replace(
        outer, start=(starts[0], starts[1], starts[2]), end=(ends[0], ends[1], ends[2]),
        step=(steps[0], steps[1], steps[2]),
    )  # fmt: skip
