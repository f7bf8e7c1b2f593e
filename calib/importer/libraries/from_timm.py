"""timm's networks, their names with and without the tag of published weights."""

from __future__ import annotations

from pathlib import Path
from urllib.request import Request, urlopen

import timm
from torch import nn

from calib.importer.libraries.library import Library, Recipe
from repghost.data.images.preprocess import Preprocess

FILE_NAME = "model.safetensors"
TIMEOUT_S = 5.0  # for the hub's first answer


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
    return Recipe(settings.num_classes, imagenet, preprocess, repository, lambda: _fetched(repository))


def _fetched(repository: str) -> Path:
    """Return the file of a repository on the hub, which stays in the hub's cache folder."""
    from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, FILE_NAME)
    if isinstance(cached, str):
        return Path(cached)
    request = Request(hf_hub_url(repository, FILE_NAME), method="HEAD")
    with urlopen(request, timeout=TIMEOUT_S):  # the hub's own client tries for half a minute
        return Path(hf_hub_download(repository, FILE_NAME, etag_timeout=TIMEOUT_S))


LIBRARY = Library(names, create, recipe)
