"""RepGhostNet: a mobile image classifier whose training branches fold into plain convolutions.

Same layers, same parameter names and same answers as https://github.com/ChengpengChen/RepGhost and as timm.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from repghost.errors import UsageError
from repghost.network.blocks import (
    ConvBnAct,
    RepGhostBottleneck,
    RepGhostModule,
    VectorConv2d,
    dropout,
    refuse_training,
)
from repghost.network.features import FeatureMaps, feature_info_of
from repghost.network.spec import HEAD_CHANNELS, Branches, ModelSpec, network_shape, parse_width


class RepGhostNet(nn.Module):
    """Maps float32 images [N, in_chans, H, W] to logits [N, num_classes].

    Args:
        width: multiplies every channel count except the head; any number above 0, eight are published (spec.WIDTHS).
        num_classes: logits.
        in_chans: channels of the image.
        dropout: probability before the classifier, in training.
        shortcut: False removes the identity shortcuts; the projections stay.
        enable_se: False removes the squeeze-excite blocks.
        deploy: build the converted form, one depthwise convolution per module.
        branches: beside each depthwise convolution in training: "bn", "identity", "both" or "none".

    Raises:
        UsageError: for a value outside its range.
    """

    __jit_unused_properties__ = ["feature_info"]  # TorchScript compiles every other property

    def __init__(
        self,
        width: float = 1.0,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.2,
        shortcut: bool = True,
        enable_se: bool = True,
        deploy: bool = False,
        branches: Branches = "bn",
    ) -> None:
        super().__init__()
        form = "deploy" if deploy else "train"
        self.spec = ModelSpec(width, num_classes, in_chans, dropout, shortcut, enable_se, branches, form)  # type: ignore[arg-type]
        self.num_classes = num_classes
        self.dropout = dropout
        shape = network_shape(width, enable_se)

        self.conv_stem = nn.Conv2d(in_chans, shape.stem_channels, 3, 2, 1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(shape.stem_channels)
        self.act1 = nn.ReLU(inplace=True)
        stages = [
            nn.Sequential(*(RepGhostBottleneck(block, shortcut, branches, deploy) for block in stage))
            for stage in shape.stages
        ]
        last_channels = shape.stages[-1][-1].out_channels
        stages.append(nn.Sequential(ConvBnAct(last_channels, shape.tail_channels)))
        self.blocks = nn.Sequential(*stages)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.conv_head = VectorConv2d(shape.tail_channels, HEAD_CHANNELS)
        self.act2 = nn.ReLU(inplace=True)
        self.classifier = nn.Linear(HEAD_CHANNELS, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map [N, tail_channels, H / 32, W / 32]."""
        return self.blocks(self.act1(self.bn1(self.conv_stem(x))))

    @property
    def num_features(self) -> int:
        """Channels of the last feature map, as timm calls them."""
        return self.conv_head.in_channels

    @property
    def head_hidden_size(self) -> int:
        """Length of the vector that the classifier reads, as timm calls it."""
        return self.classifier.in_features

    def get_classifier(self) -> nn.Linear:
        """Return the last layer."""
        return self.classifier

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Channels, stride and module of the maps that `forward_intermediates` gives, as timm's networks have it."""
        return feature_info_of(network_shape(self.spec.width, self.spec.enable_se))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the last feature map and those of the resolutions, or these alone; the arguments are timm's.

        Args:
            x: images [N, in_chans, H, W].
            indices: places among the strides 2, 4, 8, 16, 32; so many last ones; None: all.
            norm: of no effect: every map is normalized.
            stop_early: compute nothing behind the last map; with `intermediates_only`.
            output_fmt: "NCHW".
            intermediates_only: leave out the last feature map.

        Raises:
            UsageError: for places that are not there, or arguments that do not fit together.
        """
        if output_fmt != "NCHW" or (stop_early and not intermediates_only):
            raise UsageError("output_fmt is 'NCHW', and stop_early=True goes with intermediates_only=True.")
        maps = FeatureMaps(self, indices)(x)
        return maps if intermediates_only else (self.forward_features(x), maps)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits [N, num_classes] of a feature map, or the vectors [N, head_hidden_size] before them."""
        x = self.act2(self.conv_head(self.global_pool(x))).flatten(1)
        return x if pre_logits else self.classifier(dropout(x, self.dropout, self.training))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, num_classes] of images [N, in_chans, H, W]."""
        return self.forward_head(self.forward_features(x))

    def convert_to_deploy(self) -> None:
        """Fold every module's branches in place; upstream's deploy form, 48 batch norms stay (see `fuse.py`).

        Raises:
            UsageError: when the model is in training mode.
        """
        refuse_training(self)
        for module in self.modules():
            if isinstance(module, RepGhostModule):
                module.switch_to_deploy()
        if self.spec.form == "train":
            self.spec = replace(self.spec, form="deploy")

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return which parameters are of one layer, as timm's models do: for rates that fall from block to block.

        Args:
            coarse: a stage is one layer, not each block.
        """
        block = r"^blocks\.(\d+)" if coarse else r"^blocks\.(\d+)\.(\d+)"
        return {"stem": r"^conv_stem|bn1", "blocks": [(block, None), (r"conv_head", (99999,))]}

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a fresh one, e.g. to fine-tune on other classes; every other weight stays."""
        self.spec = replace(self.spec, num_classes=num_classes)
        self.num_classes = num_classes
        old = self.classifier.weight
        self.classifier = nn.Linear(HEAD_CHANNELS, num_classes, device=old.device, dtype=old.dtype)
        self.classifier.train(self.training)


def repghost_model_convert(model: RepGhostNet) -> RepGhostNet:
    """Return a converted deep copy of `model`, which stays as it was; upstream's name for it."""
    converted = copy.deepcopy(model)
    converted.convert_to_deploy()
    return converted


def create_model(name: str | float, **options: Any) -> RepGhostNet:
    """Return a RepGhostNet with random weights by name: repghostnet_0_5x, repghostnet_050, 0.5 or any other width.

    Args:
        name: as `repghost.network.spec.parse_width` understands it.
        options: further arguments of RepGhostNet.

    Raises:
        UsageError: for an unknown name or option value.
    """
    if "width" in options:
        raise UsageError("the width is part of the name; leave the option 'width' out.")
    return RepGhostNet(width=parse_width(name, custom=True), **options)
