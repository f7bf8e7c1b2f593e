"""Teachers of knowledge distillation: any network that gives logits of the same classes for the same images."""

from __future__ import annotations

import copy
import os
from typing import TypeAlias

import torch
from torch import nn

from calib.importer.libraries.named import load_named
from calib.importer.names import PRETRAINED, is_named
from calib.importer.open_network import FloatNetwork
from calib.qat.settings import FLOAT
from repghost.api.networks.opened import known_labels, name_of, open_float, preprocess_of, refuse_without_values
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.graph.module import GraphModule
from repghost.sizes import sides

TeacherLike: TypeAlias = nn.Module | FloatNetwork | str | os.PathLike[str]


class _Renormalized(nn.Module):
    """A teacher whose images are normalized by other means and deviations than the student's.

    Args:
        teacher: takes images as `its` says.
        given: how the student's images are prepared.
        its: how the teacher's are; the crop is the student's.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, teacher: nn.Module, given: Preprocess, its: Preprocess) -> None:
        super().__init__()
        self.teacher = teacher
        mean, std, new_mean, new_std = (
            torch.tensor(values, dtype=torch.float64)[:, None, None]
            for values in (given.mean, given.std, its.mean, its.std)
        )
        self.register_buffer("scale", (std / new_std).float())
        self.register_buffer("shift", ((mean - new_mean) / new_std).float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of images normalized for the student, float32 [N, C, H, W]."""
        logits: torch.Tensor = self.teacher(images * self.scale + self.shift)
        return logits


def open_teacher(
    teacher: TeacherLike,
    preprocess: Preprocess,
    classes: int,
    labels: tuple[str, ...] | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> tuple[nn.Module | None, str]:
    """Return a teacher that takes the student's images, and what it is called; None for the float network itself.

    Args:
        teacher: "float", a module (left as it is), "timm:NAME" or "torchvision:NAME", or the path of a checkpoint or an
            ONNX file.
        preprocess: how the student's images are prepared; the teacher sees the same crop, normalized as it expects.
        classes: of the student.
        labels: names of the student's classes; None where nobody knows them.
        weights: of a name: a weight file; None takes the published ones.

    Raises:
        UsageError: when it cannot be read, or tells other classes apart.
    """
    if isinstance(teacher, str) and teacher == FLOAT:
        return None, FLOAT
    if isinstance(teacher, nn.Module):
        refuse_without_values(teacher)
        module, name = copy.deepcopy(teacher).cpu().float().eval(), name_of(teacher)
        its, names = _preprocess_if_known(module, preprocess), known_labels(module, classes)
    elif isinstance(teacher, str) and is_named(teacher):
        named = load_named(teacher, PRETRAINED if weights is None else str(weights))
        module, name, its, names = named.module.eval(), teacher, named.preprocess, named.labels
    else:
        found = open_float(teacher, weights=weights, size=preprocess.size)
        module, name, its, names = GraphModule(found.graph).eval(), found.name, found.preprocess, found.labels
    if its.channels != preprocess.channels:
        raise UsageError(
            f"teacher {name} takes {its.channels} channels, the network {preprocess.channels}; give one of as many."
        )
    _check_classes(name, module, preprocess, classes, labels, names)
    if (its.mean, its.std) != (preprocess.mean, preprocess.std):
        module = _Renormalized(module, preprocess, its)
    return module, name


def _preprocess_if_known(module: nn.Module, default: Preprocess) -> Preprocess:
    """Return how a module's images are prepared: as the student's where nothing says it."""
    try:
        return preprocess_of(module)
    except UsageError:
        return default


def _check_classes(
    name: str,
    module: nn.Module,
    preprocess: Preprocess,
    classes: int,
    labels: tuple[str, ...] | None,
    names: tuple[str, ...] | None,
) -> None:
    """Refuse a teacher of other classes, or of the same ones in another order."""
    try:
        with torch.no_grad():
            shape = tuple(module(torch.zeros(1, preprocess.channels, *sides(preprocess.size))).shape)
    except RuntimeError as error:
        line = str(error).strip().splitlines()[0][:200]
        raise UsageError(f"teacher {name} cannot take the network's images ({line}); give one that can.") from error
    if shape != (1, classes):
        told = f"{shape[1]} classes" if len(shape) == 2 else f"something of shape {list(shape)}"
        raise UsageError(
            f"teacher {name} gives {told}, the network tells {classes} apart; give one of the same classes."
        )
    if None not in (labels, names) and labels != names:
        raise UsageError(
            f"teacher {name} names its classes otherwise than the network, or in another order; give one of the same "
            "classes in the same order."
        )
