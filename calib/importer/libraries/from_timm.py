"""timm's networks, their names with and without the tag of published weights."""

from __future__ import annotations

import timm
from torch import nn

from calib.importer.libraries.library import Library, Recipe
from repghost.data.images.preprocess import Preprocess
from repghost.hub.download import published_file

FILE_NAME = "model.safetensors"


def names() -> list[str]:
    """Return the names of networks, and of networks with the tag of their published weights."""
    return [*timm.list_models(), *timm.list_pretrained()]


def create(name: str, classes: int | None) -> nn.Module:
    """Return a network with random weights."""
    given = {} if classes is None else {"num_classes": classes}
    model: nn.Module = timm.create_model(name, pretrained=False, **given)
    return model


def recipe(name: str) -> Recipe:
    """Return what timm says of a network."""
    settings = timm.models.get_pretrained_cfg(name)
    preprocess, repository = Preprocess.from_timm(settings), settings.hf_hub_id or ""
    imagenet = settings.num_classes == 1000 and not settings.label_names
    return Recipe(settings.num_classes, imagenet, preprocess, repository, lambda: published_file(repository, FILE_NAME))


LIBRARY = Library(names, create, recipe)
