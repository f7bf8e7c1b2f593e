"""Which RepGhostNet a state dict belongs to, by its names and shapes, and whether it is complete and sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from repghost.checkpoints.misfits import no_network, refuse_misfit
from repghost.errors import UsageError
from repghost.network.fuse import empty_model
from repghost.network.spec import WIDTH_LIMIT, WIDTHS, Branches, Form, ModelSpec, network_shape

WIDENED = (torch.float16, torch.bfloat16)  # exactly representable in float32
FINEST_DECIMALS = 4  # of a custom width


def identify(tensors: Mapping[str, Tensor], branches: Branches | None = None) -> ModelSpec:
    """Return the spec of a state dict that carries none.

    Args:
        tensors: by name, as upstream and timm name them.
        branches: needed for a train form whose branches have no parameters; names do not tell identity from none.

    Raises:
        UsageError: when it is no RepGhostNet, or `branches` is needed and missing.
    """
    stem = _dimensions(tensors, "conv_stem.weight", 4)
    classifier = _dimensions(tensors, "classifier.weight", 2)
    form = _form(tensors)
    if form == "train" and branches is None:
        if not any(".fusion_bn." in name for name in tensors):
            raise UsageError(
                "this checkpoint is in train form without batch norms beside its depthwise convolutions; its names do "
                "not tell whether there were plain identity branches. Say so: branches='identity' or branches='none'."
            )
        branches = "bn"
    enable_se = any(".se." in name for name in tensors)
    width = _width(tensors)
    return ModelSpec(
        width, classifier[0], stem[1], enable_se=enable_se, branches="bn" if branches is None else branches, form=form
    )


def validated(tensors: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """Return the tensors in the network's order, half precision widened to float32.

    Raises:
        UsageError: for a missing or extra name, a wrong shape or type, a value that is not finite, a negative variance.
    """
    expected = empty_model(spec).state_dict()
    # PyTorch's counter of batches: some tools leave it out, and no answer depends on it
    counters = [name for name in expected if name.endswith(".num_batches_tracked") and name not in tensors]
    tensors = {**tensors, **{name: torch.zeros((), dtype=torch.int64) for name in counters}}
    refuse_misfit(tensors, expected, f"a {spec.name} in {spec.form} form with {spec.num_classes} classes")
    result = {}
    for name, wanted in expected.items():
        tensor = tensors[name]
        if tensor.dtype in WIDENED and wanted.dtype == torch.float32:
            tensor = tensor.float()
        if tensor.dtype != wanted.dtype:
            raise UsageError(
                f"{name} has the type {tensor.dtype}; allowed is {wanted.dtype}. Save it as float32 again."
            )
        _refuse_values(name, tensor)
        result[name] = tensor
    return result


def _refuse_values(name: str, tensor: Tensor) -> None:
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        count = int((~torch.isfinite(tensor)).sum())
        raise UsageError(
            f"{name} holds {count} values that are NaN or infinite: the training diverged or the file is damaged. "
            "Take an earlier checkpoint."
        )
    if name.endswith("running_var") and bool((tensor < 0).any()):
        raise UsageError(f"{name} holds a negative variance ({tensor.min().item():g}): the file is damaged.")


def _dimensions(tensors: Mapping[str, Tensor], name: str, rank: int) -> tuple[int, ...]:
    """Return the shape of a tensor that every RepGhostNet has."""
    tensor = tensors.get(name)
    if tensor is None or tensor.dim() != rank:
        raise no_network(tensors, name)
    return tuple(tensor.shape)


def _form(tensors: Mapping[str, Tensor]) -> Form:
    if any(name.endswith(".cheap_operation.0.weight") for name in tensors):
        return "train"
    if any(name.endswith(".running_mean") for name in tensors):
        return "deploy"
    return "fused"


def _width(tensors: Mapping[str, Tensor]) -> float:
    """Return the width whose channels are those found; when there is none, the published one that fits best."""
    found = {name: tensors[name].shape[0] for name, _ in _channels(1.0) if name in tensors and tensors[name].dim()}
    for width in (*(row.multiplier for row in WIDTHS), *_custom_widths(found.get("blocks.9.0.conv.weight", 0))):
        if _matches(width, found) == len(found):
            return width
    return max((row.multiplier for row in WIDTHS), key=lambda width: _matches(width, found))


def _matches(width: float, found: Mapping[str, int]) -> int:
    return sum(found.get(name) == count for name, count in _channels(width))


def _channels(width: float) -> Iterator[tuple[str, int]]:
    """Yield (name of a weight, its output channels) for every weight whose channels depend on the width alone."""
    shape = network_shape(width)
    yield "conv_stem.weight", shape.stem_channels
    for stage, blocks in enumerate(shape.stages):
        for index, block in enumerate(blocks):
            yield f"blocks.{stage}.{index}.ghost1.primary_conv.0.weight", block.mid_channels
            yield f"blocks.{stage}.{index}.ghost2.primary_conv.0.weight", block.out_channels
    yield "blocks.9.0.conv.weight", shape.tail_channels


def _custom_widths(tail_channels: int) -> Iterator[float]:
    """Yield the widths with about so many tail channels, shortest decimals first: many widths share one network."""
    low, high = (tail_channels - 4) / 960, (tail_channels + 4) / 960
    for decimals in range(1, FINEST_DECIMALS + 1):
        unit = 10**decimals
        for numerator in range(max(1, int(low * unit)), int(high * unit) + 2):
            if numerator / unit <= WIDTH_LIMIT:
                yield numerator / unit
