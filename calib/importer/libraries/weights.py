"""Weights of a file for a network of a library: their names without a wrapper's prefix, their shapes compared."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from repghost.checkpoints.misfits import shape
from repghost.errors import UsageError

SHOWN = 3  # names printed in a message
COUNTER = "num_batches_tracked"  # of a batch norm: not needed, and absent in old files
# torchvision's DenseNets of 2017 call norm1 "norm.1".
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def fitted(tensors: Mapping[str, Tensor], module: nn.Module, name: str) -> dict[str, Tensor]:
    """Return the tensors of a file as the state of a network.

    Args:
        tensors: of the file, by name.
        module: the network.
        name: what messages call it.

    Raises:
        UsageError: naming what is absent, too much, or of another shape, and what holds NaN or infinity.
    """
    wanted = module.state_dict()
    given = without_prefix(tensors, wanted)
    missing = [key for key in wanted if key not in given and not key.endswith(COUNTER)]
    extra = [key for key in given if key not in wanted]
    if missing or extra:
        parts = [f"{kind} {_some(keys)}" for kind, keys in (("it lacks", missing), ("it has besides", extra)) if keys]
        raise UsageError(f"the weights do not fit {name}: {'; '.join(parts)}. Give those of this network.")
    other = [key for key, tensor in given.items() if tensor.shape != wanted[key].shape]
    if other:
        shapes = [f"{key} is {shape(given[key])} and should be {shape(wanted[key])}" for key in other[:SHOWN]]
        raise UsageError(
            f"the weights do not fit {name}: {len(other)} tensors have another shape: {'; '.join(shapes)}. Give those "
            "of this network."
        )
    broken = [key for key, tensor in given.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise UsageError(f"{_some(broken)} hold NaN or infinity. The training diverged; take an earlier checkpoint.")
    return {key: tensor.to(wanted[key].dtype) for key, tensor in given.items()}


def without_prefix(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the names of a network: without what DataParallel, torch.compile or a wrapper put before."""
    renamed = {OLD_DENSENET.sub(r"\1\2", key): tensor for key, tensor in tensors.items()}
    first = next(iter(wanted))
    ends = [key for key in renamed if key.endswith(f".{first}")]
    if first in renamed or len(ends) != 1:
        return renamed
    prefix = ends[0].removesuffix(first)
    return {key.removeprefix(prefix): tensor for key, tensor in renamed.items() if key.startswith(prefix)}


def classes_of(tensors: Mapping[str, Tensor], module: nn.Module) -> int | None:
    """Return how many classes the weights of a file tell apart; None where its last layer is not found.

    Args:
        tensors: of the file.
        module: the network with the library's own number of classes.
    """
    wanted = module.state_dict()
    given = without_prefix(tensors, wanted)
    layers = [name for name, part in module.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    if not layers:
        return None
    head = f"{layers[-1]}.weight"
    same = head in given and head in wanted and given[head].shape[1:] == wanted[head].shape[1:]
    return len(given[head]) if same and given[head].dim() else None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name[:80] for name in names[:SHOWN]) + more
