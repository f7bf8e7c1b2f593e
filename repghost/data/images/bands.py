"""How many numbers a pixel has for a network, and from which images they come.

    1  grey: the luma of what is RGB
    2  grey and a second band, as an image of mode LA stores them
    3  RGB; what is transparent is laid over white
    4  RGB and a fourth band, as an image of mode RGBA or RGBX stores them

A second or fourth band is what the file holds, opacity or near infrared or depth alike: nothing is laid over white, and
colours are not multiplied by it. An image with other bands is no image for such a network: none is made up.
"""

from __future__ import annotations

from PIL import Image
from PIL.ImageFile import ImageFile

from repghost.channels import GREY_AND_ONE, RGB_AND_ONE, WORDS

# The modes of Pillow whose bands are resized and turned alike; of LA and RGBA it multiplies colours by opacity first.
MODES = {GREY_AND_ONE: "La", RGB_AND_ONE: "RGBX"}
STORED = {GREY_AND_ONE: ("LA", "La"), RGB_AND_ONE: ("RGBA", "RGBX")}  # modes of images that have these bands
# TIFF files whose last band Pillow leaves out, or by which it divides the others: (mode, packing) there and here.
_TIFF = {("RGB", "RGBX"): ("RGBX", "RGBX"), ("RGBA", "RGBa"): ("RGBA", "RGBA"), ("L", "LX"): ("LA", "LA")}


def open_bands(image: ImageFile) -> None:
    """Have the bands of an image that is open, but not read yet, read as they are stored."""
    arguments = [tile.args for tile in image.tile if isinstance(tile.args, tuple)]
    packing = {str(words[0]) for words in arguments}
    if image.format != "TIFF" or len(packing) != 1 or len(arguments) != len(image.tile):
        return
    mode, packed = _TIFF.get((image.mode, packing.pop()), (image.mode, ""))
    if packed:
        image._mode = mode
        image.tile = [
            tile._replace(args=(packed, *words[1:])) for tile, words in zip(image.tile, arguments, strict=True)
        ]


def is_deep_pair(image: ImageFile) -> bool:
    """Return whether an image that is open, but not read yet, is a PNG of grey and alpha, 16 bits each: mode RGBA."""
    return image.format == "PNG" and image.mode == "RGBA" and any(tile.args == "LA;16B" for tile in image.tile)


def pair(image: Image.Image) -> Image.Image:
    """Return the two bands of such an image."""
    return Image.merge("LA", (image.getchannel(0), image.getchannel(3)))


def stored_bands(image: Image.Image, channels: int) -> Image.Image | None:
    """Return the bands of an image in the mode of `MODES`, None for an image with other ones.

    Args:
        image: of any mode.
        channels: 2 or 4.
    """
    if image.mode == MODES[channels]:
        return image
    return Image.frombytes(MODES[channels], image.size, image.tobytes()) if image.mode in STORED[channels] else None


def other_bands(image: Image.Image, channels: int) -> str:
    """Return what to tell of an image with other bands than a network of 2 or 4 channels takes."""
    bands = image.getbands()
    return (
        f"the picture has {len(bands)} band(s) of mode {image.mode}, and the network takes {channels} "
        f"({WORDS[channels]}) as a file stores them; save it as PNG or TIFF with the bands of {STORED[channels][0]}, 8 "
        "bits each."
    )
