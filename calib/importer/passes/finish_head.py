"""The end of the network: scores as a classifier makes them, without what makes probabilities of them."""

from __future__ import annotations

from dataclasses import replace

from calib.importer.draft import Probabilities
from calib.importer.passes.drafts import Drafts
from repghost.errors import UsageError
from repghost.graph.operators import (
    NO_PADS,
    UNBOUNDED,
    Classifier,
    Convolution,
    Function,
    GlobalAveragePool,
    Step,
)

SIGMOID = (Step("Sigmoid", (0,)),)


def drop_probabilities(drafts: Drafts) -> tuple[str, ...]:
    """Leave out a last Softmax, LogSoftmax or Sigmoid, and return a note for each.

    Raises:
        UsageError: for a Softmax elsewhere.
    """
    notes: list[str] = []
    while True:
        last = drafts.operators[drafts.output]
        if isinstance(last, Probabilities):
            notes.append(f"the {last.kind} at the end is left to the runner: the scores are those before it")
        elif isinstance(last, Function) and last.steps == SIGMOID:
            notes.append("the Sigmoid at the end is left out: the scores are those before it, in the same order")
        else:
            break
        if last.input not in drafts.operators or drafts.readers(last.name):
            break
        drafts.drop(last)
    for op in drafts:
        if isinstance(op, Probabilities):
            raise UsageError(
                f"node {op.name!r} ({op.kind}) is not at the end: attention has no integer form here; use a "
                "convolutional network."
            )
    return tuple(notes)


def finish_head(drafts: Drafts) -> None:
    """Make a classifier of a last layer over everything that it reads.

    A convolution of one pixel before the last pool computes the same behind it, for one pixel.
    """
    _pool_first(drafts)
    last = drafts.operators[drafts.output]
    if not isinstance(last, Convolution) or last.clamp != UNBOUNDED or last.groups != 1 or any(last.pads):
        return
    if last.weight.shape[2:] == drafts.maps[last.input][1:] and last.dilations == (1, 1):
        drafts.put(Classifier(last.name, last.input, last.weight.reshape(len(last.weight), -1), last.bias))


def _pool_first(drafts: Drafts) -> None:
    last = drafts.operators[drafts.output]
    conv = drafts.sole_maker(last)
    if (
        isinstance(last, GlobalAveragePool)
        and isinstance(conv, Convolution)
        and conv.weight.shape[2:] == (1, 1)
        and (conv.clamp, conv.groups, conv.strides, conv.pads) == (UNBOUNDED, 1, (1, 1), NO_PADS)
    ):
        drafts.maps[last.name] = (drafts.maps[conv.input][0], 1, 1)
        drafts.output = conv.name
        source = conv.input
        drafts.put(replace(conv, input=last.name))
        drafts.put(replace(last, input=source))
