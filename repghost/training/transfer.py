"""Starting from other weights: a backbone under a new classifier, and which parameters stay frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from repghost.bundled import NAME
from repghost.channels import GREY, RGB
from repghost.checkpoints.timm_hub import SOURCE, open_checkpoint
from repghost.errors import RepGhostError, UsageError, option
from repghost.evaluation.classes import match_names
from repghost.network.model import RepGhostNet

STEM = "conv_stem.weight"
HEAD = ("classifier.weight", "classifier.bias")


@dataclass(frozen=True, eq=False)
class Start:
    """Weights of another run.

    Attributes:
        source: where they came from.
        tensors: in the names of RepGhostNet's train form.
        classes: of the classifier among them.
        labels: their names, None where the file does not say.
        notes: what the user is told of the file.
    """

    source: str
    tensors: Mapping[str, Tensor]
    classes: int
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def ordered(self, classes: tuple[str, ...]) -> Start:
        """Return the weights with the rows of the classifier in the order of `classes`, or without a classifier.

        Args:
            classes: names, as the network has them that these weights go into.
        """
        if self.labels is None or len(self.labels) != len(classes):
            return self
        try:
            rows = torch.from_numpy(match_names(classes, self.labels))
        except UsageError:
            return replace(self, classes=0, labels=None)
        turned = {name: self.tensors[name][rows] for name in HEAD}
        return replace(self, tensors={**self.tensors, **turned}, labels=classes)

    def load_into(self, model: RepGhostNet) -> tuple[str, ...]:
        """Copy the weights; a classifier for other classes stays fresh. Return the names left fresh."""
        fresh = HEAD if model.num_classes != self.classes else ()
        model.load_state_dict(dict(self.tensors) | {name: model.state_dict()[name] for name in fresh})
        return fresh


def read_start(source: str | Path, width: float, channels: int = 3) -> Start:
    """Return the weights of a checkpoint, or timm's published ones.

    Args:
        source: a path, or "timm".
        width: of the network they go into; another one is refused.
        channels: of its images; other ones than RGB get a stem made of the one for RGB, as in timm, and a note says it.

    Raises:
        UsageError: when the file is no checkpoint, of another width, or not in train form.
    """
    try:
        checkpoint = open_checkpoint(source, width)
    except RepGhostError as error:
        if str(source) != SOURCE or isinstance(error, UsageError):
            raise
        raise type(error)(
            f"{error} Or begin with the network that comes with the package, of 10 kinds of clothes at 64 px: "
            f"{option('pretrained', NAME)}."
        ) from error
    if checkpoint.spec.form != "train" or checkpoint.spec.branches != "bn" or not checkpoint.spec.enable_se:
        raise UsageError(
            f"{source}: a network in {checkpoint.spec.form} form with branches {checkpoint.spec.branches!r} cannot be "
            "trained further; give the checkpoint that the training wrote."
        )
    tensors, notes = dict(checkpoint.state_dict), checkpoint.notes
    if checkpoint.spec.in_chans != channels:
        tensors[STEM] = _stem_for(tensors[STEM], channels, source)
        made = "added up for 1 channel" if channels == GREY else f"repeated for {channels} channels, and rescaled"
        notes = (*notes, f"{source}: the weights of its first layer for red, green and blue are {made}")
    return Start(str(source), tensors, checkpoint.spec.num_classes, checkpoint.labels, notes)


def _stem_for(stem: Tensor, channels: int, source: str | Path) -> Tensor:
    """Return the weights of a stem for RGB [N, 3, H, W] as those for other channels, as timm makes them.

    Raises:
        UsageError: for weights that are not for RGB.
    """
    if stem.shape[1] != RGB:
        raise UsageError(
            f"{source}: takes {stem.shape[1]} colour channels, the network {channels}; give "
            f"{option('in_chans', stem.shape[1])}. Only weights for {RGB} are made into others."
        )
    from timm.models import adapt_input_conv  # heavy, and few runs need it

    adapted: Tensor = adapt_input_conv(channels, stem.clone())
    return adapted


def freeze(model: RepGhostNet, what: str) -> None:
    """Mark what must not learn.

    Args:
        model: changed in place.
        what: "none"; "bn": the parameters of every batch norm; "backbone": everything but the classifier.
    """
    if what == "bn":
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
    if what == "backbone":
        model.requires_grad_(False)
        model.classifier.requires_grad_(True)


def train_mode(model: nn.Module, frozen: str) -> None:
    """Put the network into training mode, except for the batch norms that keep their statistics."""
    model.train()
    if frozen != "none":
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()
