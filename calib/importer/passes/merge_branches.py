"""Branches that were trained side by side and add up, as one convolution (RepVGG, MobileOne exported as trained).

X. Ding et al., RepVGG: Making VGG-style ConvNets Great Again, CVPR 2021, section 3.3.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calib.importer.passes.drafts import Drafts
from repghost.graph.operators import UNBOUNDED, Add, Convolution, Pads


def merge_branches(drafts: Drafts) -> None:
    """Make one convolution of two that read one tensor and are only added."""
    for op in drafts:
        if not isinstance(op, Add) or op.input == op.other:
            continue
        wide, narrow = (drafts.operators.get(name) for name in op.inputs)
        if not isinstance(wide, Convolution) or not isinstance(narrow, Convolution):
            continue
        if wide.weight.shape[2:] < narrow.weight.shape[2:] or wide.groups > narrow.groups:
            wide, narrow = narrow, wide
        alone = all(drafts.is_alone(conv.name) for conv in (wide, narrow))
        merged = _merged(wide, narrow) if alone else None
        if merged is not None:
            drafts.put(replace(merged, clamp=op.clamp))
            drafts.put(replace(op, input=wide.name, other=wide.name))
            drafts.drop(drafts.operators[op.name])


def _merged(wide: Convolution, narrow: Convolution) -> Convolution | None:
    """Return the sum of two convolutions, None where it is none of the wider one's size."""
    same = (wide.input, wide.strides, len(wide.weight)) == (narrow.input, narrow.strides, len(narrow.weight))
    plain = wide.clamp == narrow.clamp == UNBOUNDED and wide.dilations == narrow.dilations == (1, 1)
    around = _around(wide, narrow)
    if not same or not plain or around is None or narrow.groups % wide.groups:
        return None
    top, left, bottom, right = around
    weight = np.pad(_in_groups(narrow, wide.groups), ((0, 0), (0, 0), (top, bottom), (left, right)))
    return replace(wide, weight=(wide.weight + weight).astype(np.float32), bias=wide.bias + narrow.bias)


def _around(wide: Convolution, narrow: Convolution) -> Pads | None:
    """Return how many taps of the wider kernel lie around the other one; None where that one lies outside."""
    size = zip(wide.weight.shape[2:], narrow.weight.shape[2:], strict=True)
    before = [wide.pads[axis] - narrow.pads[axis] for axis in (0, 1)]
    after = [large - small - first for (large, small), first in zip(size, before, strict=True)]
    # The padding behind the map differs as much, so both have as many places.
    fits = all(wide.pads[axis + 2] - narrow.pads[axis + 2] == after[axis] for axis in (0, 1))
    return (before[0], before[1], after[0], after[1]) if fits and min(*before, *after) >= 0 else None


def _in_groups(conv: Convolution, groups: int) -> NDArray[np.float32]:
    """Return the weights of a convolution in fewer groups: zero for what its own do not read."""
    outputs, inputs, *kernel = conv.weight.shape
    apart = conv.groups // groups
    weight = np.zeros((outputs, apart, inputs, *kernel), np.float32)
    own = np.arange(outputs) // (outputs // conv.groups) % apart
    weight[np.arange(outputs), own] = conv.weight
    return weight.reshape(outputs, apart * inputs, *kernel)
