"""Where in a training file the weights lie, and under which prefix a wrapper put their names.

Read besides plain state dicts are the files of timm, torchvision, Lightning, DeepSpeed, BasicSR and usual training
loops, and names as DataParallel, torch.compile and a wrapping module leave them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from repghost.errors import UsageError

# timm, torchvision, BasicSR, usual loops, PyTorch's AveragedModel
AVERAGED = ("state_dict_ema", "model_ema", "params_ema", "ema_state_dict", "ema", "swa_state_dict", "swa_model")
# timm and Lightning, torchvision, PyTorch's tutorial, DeepSpeed, BasicSR, usual loops
RAW = ("state_dict", "model", "model_state_dict", "module", "params", "net", "network")
DEEPEST = 3  # keys, one inside the other
ANCHOR = "conv_stem.weight"  # every RepGhostNet has it, and wrappers put their prefix before it
SHOWN = 3  # names printed in a message


def weights_path(content: Mapping[Any, Any], prefer_ema: bool) -> tuple[str, ...]:
    """Return the keys of a training file, one inside the other, under which its weights lie; () for a plain state dict.

    Args:
        content: what the file holds.
        prefer_ema: take the averaged weights of a file that has both kinds.
    """
    path: tuple[str, ...] = ()
    while len(path) < DEEPEST:
        order = AVERAGED + RAW if prefer_ema else RAW + AVERAGED
        keys = [key for key in order if isinstance(content.get(key), Mapping)]
        if not keys:
            break
        # settings have such names too, and hold no tensors: {"ema": {"decay": 0.999}}
        path += (next((key for key in keys if holds_weights(content[key])), keys[0]),)
        content = content[path[-1]]
    return path


def holds_weights(content: object, depth: int = DEEPEST) -> bool:
    """Return whether a part of a training file is a state dict, or has one under a key of `AVERAGED` or `RAW`."""
    return isinstance(content, Mapping) and (
        any(isinstance(value, Tensor) for value in content.values())
        or (depth > 0 and any(holds_weights(content.get(key), depth - 1) for key in AVERAGED + RAW))
    )


def averaged_note(metadata: Mapping[str, Any]) -> str:
    """Return what a user is told of a file with raw and averaged weights, of which the averaged ones were taken."""
    beside = metadata.get("weights_beside")
    return f"the averaged weights {metadata.get('weights')!r} were taken, not {beside!r} beside them" if beside else ""


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
