"""Operators that no graph here has, and the nearest thing that would work."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx

from repghost.errors import UsageError

ATTENTION = "attention has no integer form here; use a convolutional network"
NORM = "statistics of each image are not understood; use the network's variant with batch norms"
RECURRENT = "recurrent networks are not understood; use a convolutional one"
CONTROL = "control flow is not understood; export the network traced, for one size"
SCORES = "the network has to end with one score for each class; export it up to there"
SIZES = "sizes that depend on what is in an image are not understood; export it for images of one size"
REASONS = {
    **dict.fromkeys(("Einsum", "Attention", "MultiHeadAttention"), ATTENTION),
    **dict.fromkeys(
        ("LayerNormalization", "GroupNormalization", "InstanceNormalization", "RMSNormalization",
         "MeanVarianceNormalization", "LpNormalization", "LRN"), NORM,
    ),
    "ConvTranspose": "transposed convolutions are not understood; use Resize and a convolution",
    **dict.fromkeys(("LSTM", "GRU", "RNN"), RECURRENT),
    **dict.fromkeys(("Loop", "If", "Scan", "SequenceAt", "SequenceConstruct", "SplitToSequence"), CONTROL),
    **dict.fromkeys(("ArgMax", "ArgMin", "TopK", "NonMaxSuppression", "Hardmax"), SCORES),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), "use a convolution with strides, or Resize"),
    **dict.fromkeys(("Shape", "Size", "NonZero"), SIZES),
    "GatherND": "values are taken apart in a way that is not understood; use Slice",
    "Where": "a choice by what is in an image is not understood; export it without",
    "LpPool": "use an average or a max pool",
    "GridSample": "use Resize",
    "DeformConv": "use a convolution",
}  # fmt: skip
SHOWN = 4


def refuse_unknown(nodes: Iterable[onnx.NodeProto], known: Collection[str]) -> None:
    """Refuse a network with operators that are not understood, before anything is computed.

    Raises:
        UsageError: naming the operators, a node of each, and what would work.
    """
    found: dict[str, str] = {}
    for node in nodes:
        if node.op_type not in known:
            found.setdefault(node.op_type, node.name or node.output[0])
    if not found:
        return
    parts = [
        f"{operator} (node {name!r}): {REASONS.get(operator, 'export the network without it')}"
        for operator, name in list(found.items())[:SHOWN]
    ]
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    raise UsageError(f"the network has operators that are not understood: {'; '.join(parts)}{more}.")
