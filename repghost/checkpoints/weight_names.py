"""Where in a training file the weights lie, and under which prefix a wrapper put their names.

Read besides plain state dicts are the files of timm, torchvision, Lightning, DeepSpeed, BasicSR and usual training
loops, and names as DataParallel, torch.compile and a wrapping module leave them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from repghost.errors import UsageError

OWN_AVERAGE = "average"  # in the state.pt of a training of ours
# timm, torchvision, BasicSR, usual loops, PyTorch's AveragedModel
AVERAGED = (
    "state_dict_ema", "model_ema", "params_ema", "ema_state_dict", "ema", "swa_state_dict", "swa_model", OWN_AVERAGE,
)  # fmt: skip
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
        own = (key for holds in (_holds_network, _holds_tensors) for key in keys if holds(content[key]))
        path += (next(own, keys[0]),)
        content = content[path[-1]]
    return path


def raw_beside(content: Mapping[Any, Any], path: tuple[str, ...]) -> str | None:
    """Return the key of raw weights beside the averaged ones that a path leads to, None where there are none."""
    for key in path:
        if key in AVERAGED:
            return next((other for other in RAW if _holds_tensors(content.get(other))), None)
        content = content[key]
    return None


def elsewhere(content: object) -> tuple[Any, ...] | None:
    """Return the keys that lead to a RepGhostNet in a file whose keys are not those known here, None for none."""
    return next((keys for keys, part in _parts(content) if any(map(_ends_in_anchor, part))), None)


def _holds_network(content: object) -> bool:
    """Return whether a part of a training file holds a RepGhostNet, under keys of `AVERAGED` or `RAW`."""
    return any(any(map(_ends_in_anchor, part)) for _, part in _parts(content, AVERAGED + RAW))


def _holds_tensors(content: object) -> bool:
    """Return whether a part of a training file is a state dict, or has one under a key of `AVERAGED` or `RAW`."""
    return any(
        isinstance(value, Tensor) and value.dim() > 0
        for _, part in _parts(content, AVERAGED + RAW)
        for value in part.values()
    )


def _parts(content: object, keys: tuple[str, ...] | None = None) -> Iterator[tuple[tuple[Any, ...], Mapping[Any, Any]]]:
    """Yield the mappings in a part of a training file, itself first, and the keys that lead to them.

    Each is there once, so that one that holds itself, or many times another one, takes no longer than its size.

    Args:
        content: the part.
        keys: those that are followed; None for all.
    """
    seen, level = set[int](), [((), content)] if isinstance(content, Mapping) else []
    for _ in range(DEEPEST + 1):
        below: list[tuple[tuple[Any, ...], Mapping[Any, Any]]] = []
        for path, part in level:
            if id(part) in seen:
                continue
            seen.add(id(part))
            yield path, part
            for key in part if keys is None else keys:
                inner = part.get(key)
                if isinstance(inner, Mapping) and id(inner) not in seen:
                    below.append(((*path, key), inner))
        level = below


def _ends_in_anchor(name: object) -> bool:
    """Return whether a name is that of the stem's weight, with or without a prefix."""
    return isinstance(name, str) and (name == ANCHOR or name.endswith(f".{ANCHOR}"))


def averaged_note(metadata: Mapping[str, Any]) -> str:
    """Return what a user is told of a file with raw and averaged weights, of which the averaged ones were taken."""
    beside, taken = metadata.get("weights_beside"), metadata.get("weights")
    if not beside:
        return ""
    better = "; best.safetensors of that run has the better ones of its best epoch" if taken == OWN_AVERAGE else ""
    return f"the averaged weights {taken!r} were taken, not {beside!r} beside them{better}"


def without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the network under their own names; counters and metrics of a wrapper are left out.

    Raises:
        UsageError: when there are two networks, or weights beside the network whose part in the answer is unknown.
    """
    prefixes = [name.removesuffix(ANCHOR) for name in tensors if _ends_in_anchor(name)]
    if not prefixes or "" in prefixes:
        return dict(tensors)
    if len(prefixes) > 1:
        found = ", ".join(repr(prefix[:80]) for prefix in prefixes[:SHOWN])
        raise UsageError(
            f"it holds {len(prefixes)} networks, under {found}. Save the state dict of one of them alone, where d is "
            f"that of the file: p = {prefixes[-1][:80]!r}; d = {{n.removeprefix(p): t for n, t in d.items() if "
            "n.startswith(p)}"
        )
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
