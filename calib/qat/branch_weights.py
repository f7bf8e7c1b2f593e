"""Re-parameterization-aware weights: the branches learn, and the kernel they fuse to is what gets quantized.

For a layer with the branches u_k = W_k * x (W_k the depthwise or pointwise kernel, or the unit kernel of the identity)
and a batch norm on each, the fused kernel is computed in every step, in float64 as `repghost.network.fuse` does:
    K = sum_k a_k W_k,   b = sum_k (beta_k - a_k mu_k),   a_k = gamma_k / sqrt(var_k + eps)
Gradients of the quantized kernel reach every W_k, gamma_k and beta_k. The statistics mu_k and var_k stay those of the
checkpoint, or follow: with a momentum, each step moves them towards those that the branches' own float outputs have on
a part of the batch, whose inputs come from the quantized layers before. Either way the kernel that is quantized in
training is the kernel that is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from repghost.errors import UsageError, option
from repghost.network.blocks import RepGhostBottleneck, RepGhostModule
from repghost.network.model import RepGhostNet

OBSERVED_SHARE = 4  # the first quarter of a batch gives its statistics; the running ones average hundreds of batches


@dataclass(frozen=True, eq=False)
class Branches:
    """The branches that one fused layer is computed from.

    Attributes:
        conv: the convolution, or the classifier.
        norm: the batch norm behind it.
        beside: batch norms of the input itself.
        identities: how many identity branches (the input itself, unscaled) are added.
    """

    conv: nn.Conv2d | nn.Linear
    norm: nn.BatchNorm2d | None = None
    beside: tuple[nn.BatchNorm2d, ...] = ()
    identities: int = 0


class BranchWeights(nn.Module):
    """The weights of a network in train or deploy form, whose branches learn and are fused in each step.

    Args:
        model: in train or deploy form; it learns in place.
        momentum: share of a batch in the running statistics; with 0 they stay.

    Raises:
        UsageError: when the network is fused, so that it has no branches.
    """

    frozen: torch.Tensor  # bool scalar: whether statistics are final

    def __init__(self, model: RepGhostNet, momentum: float) -> None:
        super().__init__()
        if model.spec.form == "fused":
            raise UsageError(
                "this checkpoint is fused, so its branches are gone; mode 'reparam' needs the checkpoint that the "
                f"training wrote. Give that one, or use {option('mode', 'fused')}."
            )
        self.model = model
        self._momentum = momentum
        self.register_buffer("frozen", torch.tensor(momentum == 0))
        self._layers = branches_of(model)

    @property
    def observes(self) -> bool:
        """Whether batches still move the running statistics."""
        return self._momentum > 0 and not bool(self.frozen)

    def layer(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's fused weight and bias, float32."""
        parts = self._layers[name]
        assert parts.conv.bias is not None or parts.norm is not None
        if parts.norm is None:
            assert parts.conv.bias is not None and not (parts.beside or parts.identities)
            return parts.conv.weight, parts.conv.bias
        scale, bias = _scale_and_shift(parts.norm)
        weight = parts.conv.weight.double() * scale.reshape(-1, 1, 1, 1)
        if parts.beside or parts.identities:
            centre = torch.full_like(scale, float(parts.identities))
            for norm in parts.beside:
                branch_scale, shift = _scale_and_shift(norm)
                centre, bias = centre + branch_scale, bias + shift
            weight = weight + F.pad(centre.reshape(-1, 1, 1, 1), [size // 2 for size in weight.shape[2:] * 2])
        return weight.float(), bias.float()

    @torch.no_grad()
    def observe(self, name: str, x: torch.Tensor) -> None:
        """Move the running statistics of a layer's branches towards those of the batch."""
        parts = self._layers[name]
        if parts.norm is None:
            return
        x = x[: max(2, len(x) // OBSERVED_SHARE)]
        conv = parts.conv
        assert isinstance(conv, nn.Conv2d)
        self._move(parts.norm, F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, groups=conv.groups))
        for norm in parts.beside:
            self._move(norm, x)

    def freeze_statistics(self) -> None:
        """Make every statistic final."""
        self.frozen.fill_(True)

    def groups(self) -> Iterator[tuple[str, list[torch.Tensor]]]:
        """Yield each parameter that learns with its kind: "weight", "gamma" of a batch norm, or "bias" of either."""
        for parts in self._layers.values():
            yield "weight", [parts.conv.weight]
            if parts.conv.bias is not None:
                yield "bias", [parts.conv.bias]
            for norm in (*((parts.norm,) if parts.norm is not None else ()), *parts.beside):
                yield "gamma", [norm.weight]
                yield "bias", [norm.bias]

    def _move(self, norm: nn.BatchNorm2d, value: torch.Tensor) -> None:
        variance, mean = torch.var_mean(value, (0, 2, 3))
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.lerp_(mean, self._momentum)
        norm.running_var.lerp_(variance, self._momentum)


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (a, beta - a mu), float64 [C]; `repghost.network.blocks.batch_norm_scale` with gradients."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def branches_of(model: RepGhostNet) -> dict[str, Branches]:
    """Return the parts of every layer of `repghost.graph.trace.graph_of(fuse(model))`, by its name there."""
    layers = {"conv_stem": Branches(model.conv_stem, model.bn1)}  # type: ignore[arg-type]
    for s, stage in enumerate(model.blocks):
        assert isinstance(stage, nn.Sequential)
        for b, block in enumerate(stage):
            name = f"blocks.{s}.{b}"
            if isinstance(block, RepGhostBottleneck):
                layers |= {f"{name}.{part}": branches for part, branches in _bottleneck(block)}
            else:
                layers[name] = Branches(block.conv, block.bn1)  # type: ignore[arg-type]
    return layers | {"conv_head": Branches(model.conv_head), "classifier": Branches(model.classifier)}


def _bottleneck(block: RepGhostBottleneck) -> Iterator[tuple[str, Branches]]:
    for name, module in (("ghost1", block.ghost1), ("ghost2", block.ghost2)):
        yield f"{name}.primary", Branches(module.primary_conv[0], module.primary_conv[1])  # type: ignore[arg-type]
        yield f"{name}.cheap", _cheap(module)
    if block.conv_dw is not None:
        yield "conv_dw", Branches(block.conv_dw, block.bn_dw)  # type: ignore[arg-type]
    if block.se is not None:
        yield "se.reduce", Branches(block.se.conv_reduce)
        yield "se.expand", Branches(block.se.conv_expand)
    if isinstance(block.shortcut, nn.Sequential):
        yield "shortcut.depthwise", Branches(block.shortcut[0], block.shortcut[1])  # type: ignore[arg-type]
        yield "shortcut.project", Branches(block.shortcut[2], block.shortcut[3])  # type: ignore[arg-type]


def _cheap(module: RepGhostModule) -> Branches:
    """Return the depthwise convolution and what stands beside it; one convolution alone once converted."""
    if isinstance(module.cheap_operation, nn.Conv2d):
        return Branches(module.cheap_operation)
    assert isinstance(module.cheap_operation, nn.Sequential)
    norms = tuple(branch for branch in module.fusion_bn if isinstance(branch, nn.BatchNorm2d))
    identities = len(module.fusion_bn) - len(norms)
    return Branches(module.cheap_operation[0], module.cheap_operation[1], norms, identities)  # type: ignore[arg-type]
