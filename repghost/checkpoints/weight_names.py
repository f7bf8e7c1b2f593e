"""Where in a training file the weights lie, and under which prefix a wrapper put their names.

Read besides plain state dicts are the files of timm, torchvision, Lightning and usual training loops, and names as
DataParallel, torch.compile and a wrapping module leave them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from repghost.errors import UsageError

AVERAGED = ("state_dict_ema", "model_ema")  # timm, torchvision
RAW = ("state_dict", "model", "model_state_dict")  # timm and Lightning, torchvision, PyTorch's tutorial
ANCHOR = "conv_stem.weight"  # every RepGhostNet has it, and wrappers put their prefix before it
SHOWN = 3  # names printed in a message


def weights_key(content: Mapping[Any, Any], prefer_ema: bool) -> str | None:
    """Return the key of a training file under which its weights lie, None for a plain state dict.

    Args:
        content: what the file holds.
        prefer_ema: take the averaged weights of a file that has both kinds.
    """
    order = AVERAGED + RAW if prefer_ema else RAW + AVERAGED
    return next((key for key in order if isinstance(content.get(key), Mapping)), None)


def without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the network under their own names; counters and metrics of a wrapper are left out.

    Raises:
        UsageError: when there are two networks, or weights beside the network whose part in the answer is unknown.
    """
    prefixes = [name.removesuffix(ANCHOR) for name in tensors if name == ANCHOR or name.endswith(f".{ANCHOR}")]
    if not prefixes or "" in prefixes:
        return dict(tensors)
    if len(prefixes) > 1:
        found = ", ".join(repr(prefix[:80]) for prefix in prefixes[:SHOWN])
        raise UsageError(f"it holds {len(prefixes)} networks, under {found}. Save the state dict of one of them alone.")
    prefix = prefixes[0]
    beside = [
        name[:80]
        for name, tensor in tensors.items()
        if not name.startswith(prefix) and tensor.is_floating_point() and tensor.dim() > 1
    ]
    if beside:
        raise UsageError(
            f"the network lies under {prefix[:80]!r}, and beside it are other weights: {', '.join(beside[:SHOWN])}. "
            "What they do to its answers is not known here; save the state dict of the RepGhostNet alone."
        )
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
