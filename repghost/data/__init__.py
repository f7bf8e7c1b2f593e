"""Sets of labelled images, however they are stored."""

from repghost.data.base import (
    ImageSet,
    MissingSplitError,
    Prepared,
    UnlabelledSplitError,
    left_out,
    notes_on,
    prepare,
    prepare_in_parts,
    refuse_empty,
)
from repghost.data.decode import ImageError, decode_image, read_image, to_rgb
from repghost.data.open_by_format import open_dataset

__all__ = [
    "ImageError",
    "ImageSet",
    "MissingSplitError",
    "Prepared",
    "UnlabelledSplitError",
    "decode_image",
    "left_out",
    "notes_on",
    "open_dataset",
    "prepare",
    "prepare_in_parts",
    "read_image",
    "refuse_empty",
    "to_rgb",
]
