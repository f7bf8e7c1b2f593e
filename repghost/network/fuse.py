"""Full fusion: every batch norm disappears into the convolution before it, and the equivalence is measured."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from repghost.errors import IntegrityError
from repghost.network.blocks import (
    ConvBnAct,
    RepGhostBottleneck,
    RepGhostModule,
    batch_norm_scale,
    folded_convolution,
    with_bias,
)
from repghost.network.model import RepGhostNet
from repghost.network.spec import ModelSpec

TOLERANCE = 1e-5  # of the largest logit (at least 1); float32 rounding leaves about 4e-7


def fuse(model: RepGhostNet) -> RepGhostNet:
    """Return a deep copy without a single batch norm, each convolution with a bias; `model` stays as it was.

    The arithmetic is float64 and is cast to the weights' type at the end. A converted model is fine too, and a fused
    one comes back as a plain copy.

    Raises:
        UsageError: when the model is in training mode.
    """
    fused = copy.deepcopy(model)
    fused.convert_to_deploy()
    fold_batch_norms(fused)
    fused.spec = replace(fused.spec, form="fused")
    return fused


def fold_batch_norms(model: nn.Module) -> None:
    """Fold every batch norm that conversion leaves into the convolution before it, in place.

    Args:
        model: a converted RepGhostNet in evaluation mode, or a part of one that begins with its stem.
    """
    for parent, conv_name, norm_name in list(_pairs(model)):
        conv, norm = getattr(parent, conv_name), getattr(parent, norm_name)
        if isinstance(norm, nn.BatchNorm2d):
            scale, shift = batch_norm_scale(norm)
            weight = conv.weight.detach().double() * scale.reshape(-1, 1, 1, 1)
            setattr(parent, conv_name, folded_convolution(conv, weight, shift))
            setattr(parent, norm_name, nn.Identity().eval())


def drop_batch_norms(model: RepGhostNet) -> None:
    """Give a converted model the layers of a fused one, in place and with fresh values, to load weights into."""
    for parent, conv_name, norm_name in list(_pairs(model)):
        setattr(parent, conv_name, with_bias(getattr(parent, conv_name)))
        setattr(parent, norm_name, nn.Identity().train(model.training))
    model.spec = replace(model.spec, form="fused")


def _pairs(model: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Yield (parent, name of a convolution, name of the norm right behind it) for all that conversion leaves."""
    yield model, "conv_stem", "bn1"
    for module in model.modules():
        if isinstance(module, RepGhostModule):
            yield module.primary_conv, "0", "1"
        elif isinstance(module, ConvBnAct):
            yield module, "conv", "bn1"
        elif isinstance(module, RepGhostBottleneck):
            if module.conv_dw is not None:
                yield module, "conv_dw", "bn_dw"
            if isinstance(module.shortcut, nn.Sequential):
                yield module.shortcut, "0", "1"
                yield module.shortcut, "2", "3"


@dataclass(frozen=True)
class Equivalence:
    """How far two forms of one network are apart on the same random images.

    Attributes:
        largest: the largest absolute difference of a logit.
        scale: the largest absolute logit, at least 1.
        images: how many were compared.
        same_predictions: for how many the best class is the same.
    """

    largest: float
    scale: float
    images: int
    same_predictions: int

    @property
    def relative(self) -> float:
        """The largest difference in units of the largest logit."""
        return self.largest / self.scale


@torch.no_grad()
def compare(before: RepGhostNet, after: RepGhostNet, images: int = 4, size: int = 96, seed: int = 0) -> Equivalence:
    """Run both networks on the same normal-distributed images [images, in_chans, size, size] and compare logits."""
    generator = torch.Generator().manual_seed(seed)
    weight = before.conv_stem.weight
    x = torch.randn(images, before.spec.in_chans, size, size, generator=generator)
    x = x.to(device=weight.device, dtype=weight.dtype)
    expected, actual = before(x).double(), after(x).double()
    difference = (expected - actual).abs().max().item()
    scale = max(1.0, expected.abs().max().item())
    same = int((expected.argmax(1) == actual.argmax(1)).sum())
    return Equivalence(difference, scale, images, same)


def check_equivalence(before: RepGhostNet, after: RepGhostNet) -> Equivalence:
    """Return `compare`'s result.

    Raises:
        IntegrityError: when the networks differ by more than `TOLERANCE` of the largest logit, or are not finite.
    """
    result = compare(before, after)
    if not result.relative <= TOLERANCE:  # also catches NaN
        raise IntegrityError(
            f"the converted network does not compute the same: logits differ by up to {result.largest:.3g} where the "
            f"largest is {result.scale:.3g}; allowed is {TOLERANCE:g} of it. The weights were changed in between or "
            "their range is extreme; convert again from the training checkpoint."
        )
    return result


def fused(model: RepGhostNet) -> RepGhostNet:
    """Return the network without a batch norm, after checking that it computes the same as `model`.

    Raises:
        IntegrityError: when it does not.
    """
    if model.spec.form == "fused":
        return model
    result = fuse(model)
    check_equivalence(model, result)
    return result


def empty_model(spec: ModelSpec) -> RepGhostNet:
    """Return a network of the spec's form whose tensors have shapes but no memory (torch's meta device)."""
    with torch.device("meta"):
        model = RepGhostNet(
            spec.width,
            spec.num_classes,
            spec.in_chans,
            spec.dropout,
            spec.shortcut,
            spec.enable_se,
            deploy=spec.form != "train",
            branches=spec.branches,
        ).eval()
        if spec.form == "fused":
            drop_batch_norms(model)
        return model
