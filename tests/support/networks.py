"""Networks whose batch norms are worth folding: statistics of real activations, not the 0 and 1 of a fresh one."""

from __future__ import annotations

import copy
import functools

import torch
from torch import nn

from repghost.network.model import RepGhostNet


@torch.no_grad()
def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every batch norm random parameters, some negative, and the statistics of the images that then reach it."""
    generator = torch.Generator().manual_seed(seed)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.copy_(torch.rand(norm.weight.shape, generator=generator) * 1.5 - 0.2)
        norm.bias.copy_(torch.rand(norm.bias.shape, generator=generator) - 0.5)
        norm.momentum = 1.0  # the statistics of the next images are the running ones
    for layer in (model.conv_head, model.classifier):
        layer.weight.mul_(6.0)  # no norm scales the head: fresh weights would give every image the same logits
    channels = next(model.parameters()).shape[1]
    model.train()(images(8, channels, 48, seed))
    for norm in norms:
        norm.momentum = 0.1
        norm.running_var.clamp_(min=0.1)  # a channel dead on a few images would make others explode
    return model.eval()


def network(width: float = 0.5, num_classes: int = 7, seed: int = 0, **options: object) -> RepGhostNet:
    return copy.deepcopy(_network(width, num_classes, seed, **options))


@functools.lru_cache(8)
def _network(width: float, num_classes: int, seed: int, **options: object) -> RepGhostNet:
    torch.manual_seed(seed)
    model = RepGhostNet(width, num_classes, **options)  # type: ignore[arg-type]
    randomize(model, seed)
    return model


def images(count: int = 2, channels: int = 3, size: int = 64, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))
