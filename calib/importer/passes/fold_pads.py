"""Padding into the convolutions and pools behind it."""

from __future__ import annotations

import math
from dataclasses import replace

from calib.importer.draft import DraftOperator, FilledPad
from calib.importer.passes.drafts import Drafts
from calib.importer.passes.fuse_clamps import never_negative
from repghost.errors import UsageError
from repghost.graph.operators import AveragePool, Convolution, MaxPool, Pad, Pads


def fold_pads(drafts: Drafts) -> None:
    """Leave padding to what reads it where that can pad by itself; what is left are pads of zeros.

    Raises:
        UsageError: for another value than zero that is left.
    """
    for op in drafts:
        if not isinstance(op, FilledPad):
            continue
        taken = [_with_pads(reader, op, drafts) for reader in drafts.readers(op.name)]
        if taken and all(taken) and op.name not in drafts.outputs:
            for reader in taken:
                drafts.put(reader)  # type: ignore[arg-type]
            drafts.drop(op)
        elif op.value == 0.0:
            drafts.put(Pad(op.name, op.input, op.pads))
        else:
            raise UsageError(
                f"node {op.name!r} (Pad) puts {op.value} around a map, where no max pool takes it; zeros are "
                "understood. Use zero padding."
            )


def _with_pads(reader: DraftOperator, op: FilledPad, drafts: Drafts) -> DraftOperator | None:
    """Return a reader that pads by itself, None where it would compute something else."""
    if isinstance(reader, Convolution) and op.value == 0.0:
        return replace(reader, pads=_sum(reader.pads, op.pads))
    if isinstance(reader, AveragePool) and op.value == 0.0 and (reader.padding_counts or not any(reader.pads)):
        return replace(reader, pads=_sum(reader.pads, op.pads), padding_counts=True)
    if isinstance(reader, MaxPool) and _never_wins(op, drafts) and _touches_the_map(reader, op.pads):
        return replace(reader, pads=_sum(reader.pads, op.pads))
    return None


def _never_wins(op: FilledPad, drafts: Drafts) -> bool:
    return op.value == -math.inf or op.value <= -3e38 or (op.value == 0.0 and never_negative(op.input, drafts))


def _touches_the_map(pool: MaxPool, pads: Pads) -> bool:
    """Return whether no window lies in the padding alone."""
    both = _sum(pool.pads, pads)
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(pool.size, pool.dilations, strict=True)]
    return all(both[axis] < reach[axis] and both[axis + 2] < reach[axis] for axis in (0, 1))


def _sum(a: Pads, b: Pads) -> Pads:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]
