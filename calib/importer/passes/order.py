"""The order in which operators run, without those that nobody needs."""

from __future__ import annotations

from calib.importer.draft import DraftOperator
from calib.importer.passes.drafts import Drafts
from repghost.graph.operators import Add


def in_order(drafts: Drafts) -> tuple[DraftOperator, ...]:
    """Return the operators that the results need, each behind what it reads.

    The second operand of an add comes first: the shortcut is there when the layer whose epilogue the add is needs it.
    """
    done: dict[str, DraftOperator] = {}
    waiting = [*reversed(drafts.outputs)]
    while waiting:
        op = drafts.operators[waiting[-1]]
        inputs = (op.other, op.input) if isinstance(op, Add) else op.inputs
        missing = [name for name in inputs if name in drafts.operators and name not in done]
        if op.name in done or not missing:
            done[waiting.pop()] = op
        else:
            waiting.extend(reversed(missing))
    return tuple(done.values())
