"""A detector in a file: safetensors whose header says how to build it and what its classes are called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from repghost.checkpoints.checkpoint import DETECTOR_KEY
from repghost.checkpoints.weight_files import HEADER_LIMIT, parse_weights, read_file_bytes
from repghost.detection.detector import MAX_CLASSES, build_detector, fuse_detector
from repghost.detection.recipe import DetectionRecipe
from repghost.errors import UsageError
from repghost.files import write_bytes_atomically
from repghost.network.model import RepGhostNet
from repghost.untrusted import parse_json

VERSION = 1
FORMS = ("train", "fused")


@dataclass(frozen=True)
class Category:
    """One kind of object: its number in the data set's file, and its name."""

    number: int
    name: str


@dataclass(frozen=True, eq=False)
class Detector:
    """A detector with everything needed to use it.

    Attributes:
        model: torchvision's module.
        recipe: how it was built and trained.
        categories: label 1 is the first.
        form: "train", or "fused" without branches and batch norms in the backbone.
        metadata: further JSON values, e.g. epoch and average precision.
    """

    model: nn.Module
    recipe: DetectionRecipe
    categories: tuple[Category, ...]
    form: str
    metadata: dict[str, Any]


def write_detector(path: Path, detector: Detector) -> str:
    """Write a detector whole or not at all; return the file's sha256, hexadecimal."""
    header = {
        "version": VERSION,
        "recipe": detector.recipe.to_dict(),
        "categories": [[category.number, category.name] for category in detector.categories],
        "form": detector.form,
        "metadata": detector.metadata,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in detector.model.state_dict().items()}
    data = safetensors.torch.save(tensors, {DETECTOR_KEY: json.dumps(header, sort_keys=True, allow_nan=False)})
    write_bytes_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


def read_detector(path: Path) -> Detector:
    """Return a detector in evaluation mode; nothing in the file is executed.

    Raises:
        UsageError: when the file is absent, damaged, or no detector of this program.
    """
    content = parse_weights(read_file_bytes(path), path)
    try:
        header = _header(content.header)
        recipe = DetectionRecipe.from_dict(header["recipe"])
        categories = _categories(header["categories"])
        model = empty_detector(recipe, len(categories)).eval()
        if header["form"] == "fused":
            model = fuse_detector(model)
        _load(model, content.tensors)
    except UsageError as error:
        raise UsageError(f"detector {str(path)!r}: {error}") from error
    return Detector(model, recipe, categories, header["form"], header["metadata"])


def empty_detector(recipe: DetectionRecipe, classes: int) -> nn.Module:
    """Return the detector of a recipe with random weights."""
    model = RepGhostNet(width=recipe.width)
    return build_detector(recipe.kind, model, classes, recipe.min_size, recipe.max_size)


def _header(texts: Mapping[str, str]) -> dict[str, Any]:
    if DETECTOR_KEY not in texts:
        raise UsageError("not a detector; give the file that 'repghost detect-train' wrote.")
    header = parse_json(texts[DETECTOR_KEY], "its header", HEADER_LIMIT)
    if not isinstance(header, dict) or header.get("version") != VERSION:
        raise UsageError(f"its header is not of version {VERSION}, which this program reads.")
    for key, kind in (("recipe", dict), ("categories", list), ("form", str), ("metadata", dict)):
        if not isinstance(header.get(key), kind):
            raise UsageError(f"its header's {key!r} is a {type(header.get(key)).__name__}; the file is damaged.")
    if header["form"] not in FORMS:
        raise UsageError(f"its form is {header['form']!r}; allowed: {', '.join(FORMS)}.")
    return header


def _categories(values: list[Any]) -> tuple[Category, ...]:
    for value in values:
        if not isinstance(value, list) or [type(item) for item in value] != [int, str]:
            raise UsageError("its categories are not pairs of a number and a name; the file is damaged.")
    if not 1 <= len(values) <= MAX_CLASSES:
        raise UsageError(f"it has {len(values)} categories; 1 to {MAX_CLASSES} are allowed.")
    return tuple(Category(number, name) for number, name in values)


def _load(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    expected = model.state_dict()
    if expected.keys() != tensors.keys():
        name = sorted(expected.keys() ^ tensors.keys())[0]
        raise UsageError(f"its tensors are not those of the detector in its header, e.g. {name!r}.")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
            raise UsageError(f"{name} is {tensor.dtype} {list(tensor.shape)}, not {list(expected[name].shape)}.")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UsageError(f"{name} has values that are not finite; the training diverged or the file is damaged.")
    model.load_state_dict(dict(tensors))
