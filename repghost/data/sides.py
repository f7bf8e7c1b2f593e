"""How large the images of a set are, read from the heads of their files where it is one of files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repghost.data.base import ImageSet
from repghost.data.images.decode import FORMATS, ImageError
from repghost.untrusted import open_regular

HEADS, DECODED = 1000, 16  # images that are looked at, evenly spaced


def short_sides(images: ImageSet) -> NDArray[np.int64]:
    """Return the short sides of some images of a set in pixels, int64 [N]; those that cannot be read are left out."""
    paths = getattr(getattr(images, "dataset", images), "paths", None)
    count = min(len(images), DECODED if paths is None else HEADS)
    places = np.unique(np.linspace(0, len(images) - 1, count).astype(int)).tolist()
    found = [_in_file(paths[place]) if paths is not None else _decoded(images, place) for place in places]
    return np.asarray([min(size) for size in found if size is not None], np.int64)


def _in_file(path: Path) -> tuple[int, int] | None:
    """Return width and height as the head of a file says them; None for what is no image."""
    try:
        with warnings.catch_warnings(), open_regular(path) as file:
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as image:
                return image.size
    except Exception:  # a head of hostile bytes may raise anything; what trains on the file says what is wrong with it
        return None


def _decoded(images: Any, place: int) -> tuple[int, int] | None:
    try:
        size: tuple[int, int] = images[place][0].size
    except ImageError:
        return None
    return size
