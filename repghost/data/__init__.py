"""Sets of labelled pictures, however they are stored."""

from repghost.data.base import MissingSplitError, PictureSet, Prepared, prepare
from repghost.data.decode import PictureError, decode_picture, read_picture, to_rgb
from repghost.data.opening import open_dataset

__all__ = [
    "MissingSplitError",
    "PictureError",
    "PictureSet",
    "Prepared",
    "decode_picture",
    "open_dataset",
    "prepare",
    "read_picture",
    "to_rgb",
]
