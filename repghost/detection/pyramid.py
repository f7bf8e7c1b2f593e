"""Feature maps for detectors: the last block of each resolution, at strides 4, 8, 16 and 32, and a pyramid over them.

timm takes the first block of each resolution, which leaves most of the network's weights unused. Here every block
before the classifier's tail takes part.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from repghost.errors import UsageError, unknown_value
from repghost.network.blocks import RepGhostModule, refuse_training
from repghost.network.fuse import fold_batch_norms
from repghost.network.model import RepGhostNet
from repghost.network.spec import network_shape

TAPS = {4: 2, 8: 4, 16: 6, 32: 8}  # stride -> the stage of `RepGhostNet.blocks` that ends its resolution
FREEZABLE = ("stem", *(f"stride {stride}" for stride in TAPS))
PYRAMID_CHANNELS = 256  # of torchvision's detectors and of the FPN paper


def tap_channels(width: float) -> tuple[int, ...]:
    """Return the channels at strides 4, 8, 16 and 32; at 1.0x these are 24, 40, 112 and 160."""
    stages = network_shape(width).stages
    return tuple(stages[stage][-1].out_channels for stage in TAPS.values())


class RepGhostFeatures(nn.Module):
    """Maps images [N, 3, H, W] to {"4": [N, C4, H / 4, W / 4], "8": ..., "16": ..., "32": ...}.

    Parameter names are those of RepGhostNet, so that its weights load by name.

    Args:
        model: gives its stem and stages, which are shared, not copied; its tail and classifier are left out.
        strides: which maps are returned; 4, 8, 16, 32.

    Raises:
        UsageError: for a stride that is not there, or none.
    """

    def __init__(self, model: RepGhostNet, strides: Sequence[int] = tuple(TAPS)) -> None:
        super().__init__()
        for stride in strides or (None,):
            if stride not in TAPS:
                raise unknown_value("stride", stride, TAPS)
        self.width = model.spec.width
        self.strides = tuple(sorted(set(strides)))
        self.conv_stem, self.bn1, self.act1 = model.conv_stem, model.bn1, model.act1
        self.blocks = model.blocks[: TAPS[self.strides[-1]] + 1]
        channels = dict(zip(TAPS, tap_channels(self.width), strict=True))
        self.channels = tuple(channels[stride] for stride in self.strides)
        self._names = {TAPS[stride]: str(stride) for stride in self.strides}

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Return the maps by stride, the finest first."""
        x = self.act1(self.bn1(self.conv_stem(x)))
        maps: OrderedDict[str, Tensor] = OrderedDict()
        for stage, block in enumerate(self.blocks):
            x = block(x)
            if stage in self._names:
                maps[self._names[stage]] = x
        return maps

    def freeze(self, until: str) -> None:
        """Stop the learning of everything up to a resolution.

        Args:
            until: "stem", or "stride 4", "stride 8", "stride 16", "stride 32".

        Raises:
            UsageError: for another name.
        """
        if until not in FREEZABLE:
            raise unknown_value("part to freeze", until, FREEZABLE)
        last = -1 if until == "stem" else TAPS[int(until.removeprefix("stride "))]
        for module in (self.conv_stem, self.bn1, *self.blocks[: last + 1]):
            module.requires_grad_(False)


class PyramidBackbone(nn.Module):
    """A torchvision detection backbone: RepGhostNet's maps through a feature pyramid network.

    Args:
        features: of the network.
        channels: of each map of the pyramid.
        extra: adds coarser maps, e.g. torchvision's LastLevelMaxPool.
    """

    def __init__(self, features: RepGhostFeatures, channels: int = PYRAMID_CHANNELS, extra: Any = None) -> None:
        super().__init__()
        self.body = features
        self.fpn = FeaturePyramidNetwork(list(features.channels), channels, extra)
        self.out_channels = channels

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Return the pyramid, each [N, out_channels, H / stride, W / stride]."""
        maps: OrderedDict[str, Tensor] = self.fpn(self.body(x))
        return maps


def fuse_features(features: RepGhostFeatures) -> RepGhostFeatures:
    """Return a deep copy without branches and batch norms that computes the same.

    Raises:
        UsageError: when the network is in training mode.
    """
    refuse_training(features)
    fused = copy.deepcopy(features)
    for module in fused.modules():
        if isinstance(module, RepGhostModule):
            module.switch_to_deploy()
    fold_batch_norms(fused)
    return fused


def features_of(model: RepGhostNet, strides: Sequence[int] = tuple(TAPS)) -> RepGhostFeatures:
    """Return the feature maps of a network that reads RGB.

    Raises:
        UsageError: when it reads something else, or a stride is not there.
    """
    if model.spec.in_chans != 3:
        raise UsageError(f"detectors read RGB; this network takes {model.spec.in_chans} colour channels.")
    return RepGhostFeatures(model, strides)
