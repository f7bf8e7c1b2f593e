"""Sets of labelled pictures, however they are stored."""

from repghost.data.base import (
    MissingSplitError,
    PictureSet,
    Prepared,
    left_out,
    prepare,
    prepare_in_parts,
    refuse_empty,
)
from repghost.data.decode import PictureError, decode_picture, read_picture, to_rgb
from repghost.data.open_by_format import open_dataset

__all__ = [
    "MissingSplitError",
    "PictureError",
    "PictureSet",
    "Prepared",
    "decode_picture",
    "left_out",
    "open_dataset",
    "prepare",
    "prepare_in_parts",
    "read_picture",
    "refuse_empty",
    "to_rgb",
]
