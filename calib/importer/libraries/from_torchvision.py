"""torchvision's networks for classification."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.request import urlopen

import torch
import torchvision
from torch import nn

from calib.importer.libraries.library import Library, Recipe
from repghost.checkpoints.weight_files import SIZE_LIMIT
from repghost.data.images.preprocess import Preprocess
from repghost.files import write_bytes_atomically

TIMEOUT_S = 5.0
SLOW = ("googlenet", "inception_v3")  # draw their random weights for minutes


def names() -> list[str]:
    """Return the names of networks."""
    return torchvision.models.list_models(module=torchvision.models)


def create(name: str, classes: int | None) -> nn.Module:
    """Return a network with random weights."""
    given = {} if classes is None else {"num_classes": classes}
    quick = {"init_weights": False} if name in SLOW else {}
    return torchvision.models.get_model(name, weights=None, **given, **quick)


def recipe(name: str) -> Recipe:
    """Return what torchvision says of a network's default weights."""
    weights = torchvision.models.get_model_weights(name).DEFAULT
    preprocess = Preprocess.from_torchvision(weights.transforms())
    classes = len(weights.meta["categories"])
    return Recipe(classes, classes == 1000, preprocess, weights.url, lambda: _fetched(weights.url))


def _fetched(url: str) -> Path:
    """Return the file of an address, which stays in the folder where torch keeps such files."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(url).name
    if not path.exists():
        with urlopen(url, timeout=TIMEOUT_S) as answer:
            data = answer.read(SIZE_LIMIT + 1)
        if len(data) > SIZE_LIMIT:
            raise OSError(f"the file has more than {SIZE_LIMIT} bytes")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, data)
    return path


LIBRARY = Library(names, create, recipe)
