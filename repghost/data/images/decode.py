"""From the bytes of an image file to RGB, or to an error that names the file.

What each kind of image becomes (bands.py says what a network of other channels gets):
- grey: the three colours are equal; 16-bit grey is scaled to 8 bits (65535 becomes 255)
- transparent: laid over white, which is what a viewer shows
- CMYK, YCbCr, LAB, palette: converted by Pillow
- rotated by a tag of EXIF or XMP: turned upright
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from repghost.channels import RGB, keeps_bands
from repghost.data.images.bands import is_deep_pair, open_bands, other_bands, pair, stored_bands
from repghost.data.images.metadata import split_image
from repghost.errors import UsageError, is_out_of_memory
from repghost.untrusted import read_bounded

MAX_PIXELS = 89_478_485  # Pillow's own limit: a larger image is a decompression bomb until proven otherwise
MAX_FILE_BYTES = 256 << 20
_COMMON = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
# Formats of Pillow that are not read, because their decoder ...
_UNREAD = {
    "starts another program": ("EPS",),
    "is not part of Pillow": ("BUFR", "GRIB", "HDF5", "MPEG", "WMF"),
    "unpacks without a limit": ("FITS",),
    "has no mark to know a file by": ("IM", "IMT", "IPTC", "MCIDAS", "PCD", "SPIDER", "XVTHUMB"),
}


def _formats() -> tuple[str, ...]:
    """Return the formats of this Pillow that are read, the common ones first; not every build has AVIF."""
    Image.init()
    unread = {name for names in _UNREAD.values() for name in names}
    found = [name for name in Image.ID if name in Image.OPEN and name not in unread]
    found.sort(key=lambda name: (name not in _COMMON, name == "TGA"))  # TGA has hardly a mark, so it is tried last
    return tuple(found)


FORMATS = _formats()
EXTENSIONS = frozenset(
    suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS or name == "MPO"
)  # MPO begins as JPEG does, whose decoder reads it

_SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})
_TRANSPARENT = frozenset({"RGBA", "LA", "PA", "RGBa"})
_TURNS = {  # by the EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_CONVERTED = frozenset({"1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"})


class ImageError(UsageError):
    """An image that cannot be turned into RGB; a caller may count it and go on."""


def read_image(path: Path, upright: bool = True, channels: int = RGB) -> Image.Image:
    """Return the image of a file as RGB, upright unless told otherwise; with other channels as `to_channels` says.

    Raises:
        ImageError: when the file cannot be read or decoded; the message names it.
    """
    return decode_image(read_bounded(path, MAX_FILE_BYTES, error=ImageError), str(path), upright, channels)


def decode_image(data: bytes, name: str, upright: bool = True, channels: int = RGB) -> Image.Image:
    """Return the image in `data` as RGB, upright; with other channels as `to_channels` says.

    Args:
        data: the content of an image file.
        name: what error messages call it.
        upright: follow the EXIF tag that says how the image is rotated.
        channels: of the network that it is for.

    Raises:
        ImageError: when the bytes are no image, are truncated, describe more than MAX_PIXELS pixels, or have other
            bands than a network of 2 or 4 channels takes.
    """
    split = split_image(data)
    try:
        with warnings.catch_warnings():
            warnings.resetwarnings()  # each of the next two lines would compare every filter there is, for 0.05 ms
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(split.pixels if split else data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
                if keeps_bands(channels):
                    open_bands(image)
                deep = is_deep_pair(image)
                image.load()
                if split is None:
                    return to_channels(ImageOps.exif_transpose(image) if upright else image.copy(), channels)
                turn = _TURNS.get(split.orientation) if upright else None
                stored = pair(image) if deep and keeps_bands(channels) else image
                return to_channels(stored if turn is None else stored.transpose(turn), channels)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name}: larger than the {MAX_PIXELS} pixels allowed ({error}).") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a picture of a known format ({', '.join(FORMATS)}).") from error
    except Exception as error:  # a decoder fed with hostile bytes may raise anything; the file is what is wrong
        if is_out_of_memory(error):
            raise ImageError(f"{name}: needs more memory than there is.") from error
        raise ImageError(f"{name}: broken ({type(error).__name__}: {error}).") from error


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Return the image as a network of so many channels takes it, as the table of bands.py says.

    Raises:
        ImageError: as `to_rgb`, or for other bands than a network of 2 or 4 channels takes.
    """
    if not keeps_bands(channels):
        rgb = to_rgb(image)
        return rgb if channels == RGB else rgb.convert("L")
    _refuse_no_pixels(image)
    found = stored_bands(image, channels)
    if found is None:
        raise ImageError(other_bands(image, channels))
    return found


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the image in mode RGB, as the table at the top of this file says.

    Raises:
        ImageError: for a mode without a defined range (float), for 32-bit values that do not fit 16 bits, or for a
            image without pixels.
    """
    _refuse_no_pixels(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _SIXTEEN_BIT:
        return _from_sixteen_bit(image)
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode in _CONVERTED:
        return image.convert("RGB")
    raise ImageError(f"pixels of mode {image.mode!r} have no defined range; save the picture with 8 or 16 bits.")


def _refuse_no_pixels(image: Image.Image) -> None:
    if image.width < 1 or image.height < 1:
        raise ImageError(f"a picture of {image.width} x {image.height} has no pixels.")


def _from_sixteen_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits, rounding to nearest."""
    given = np.asarray(image)
    if given.min() < 0 or given.max() > 65535:
        raise ImageError(f"grey values from {given.min()} to {given.max()} do not fit 16 bits.")
    values = given.astype(np.uint32)
    values *= 255
    values += 32767
    values //= 65535
    grey = values.astype(np.uint8)
    return Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2))
