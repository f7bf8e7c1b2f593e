"""Sets of labelled images, however they are stored.

`images/` has what concerns one image, `names/` classes and splits, `formats/` one file for each way to store a set.
What trains or measures on a set does not belong here.
"""

from repghost.data.base import (
    ImageSet,
    MissingSplitError,
    Prepared,
    UnlabelledSplitError,
    image_of,
    left_out,
    notes_on,
    prepare,
    prepare_in_parts,
    refuse_empty,
)
from repghost.data.images.decode import ImageError, decode_image, read_image, to_channels, to_rgb
from repghost.data.open_by_format import open_dataset

__all__ = [
    "ImageError",
    "ImageSet",
    "MissingSplitError",
    "Prepared",
    "UnlabelledSplitError",
    "decode_image",
    "image_of",
    "left_out",
    "notes_on",
    "open_dataset",
    "prepare",
    "prepare_in_parts",
    "read_image",
    "refuse_empty",
    "to_channels",
    "to_rgb",
]
