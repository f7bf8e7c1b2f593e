"""Images and camera frames as numpy holds them, as `rg_prepare` takes them: no pixel is copied where none has to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from repghost_runtime.errors import UsageError
from repghost_runtime.library import Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

BANDS = {2: (5, ("LA",)), 4: (6, ("RGBA", "RGBX"))}  # enum rg_order and modes of PIL, of networks of 2 or 4 channels
ORDERS = {"rgb": 0, "bgr": 1, "nv12": 2, "nv12-full": 3, "nv12-bt709": 4}  # enum rg_order
ACCEPTED = (
    "an array of uint8: (height, width, 3) in the order 'rgb' or 'bgr', (height, width) of grey, or with 'nv12', "
    "'nv12-full' and 'nv12-bt709' (height * 3 / 2, width), or a pair of planes"
)
ORIENTATION = 274  # the tag of EXIF


def to_picture(image: Any, order: str, channels: int = 3) -> tuple[Picture, list[NDArray[np.uint8]]]:
    """Return the description of an image, and the arrays that hold its pixels and must outlive it.

    Args:
        image: see `ACCEPTED`; a PIL image in RGB or L, upright, counts as an array. Of a network of 2 or 4 channels an
            array (height, width, channels), or a PIL image in LA or RGBA.
        order: how its bytes lie in memory.
        channels: of the network.

    Raises:
        UsageError: for anything else.
    """
    if order not in ORDERS:
        raise UsageError(f"there is no order {order!r}; known are {', '.join(ORDERS)}.")
    if channels in BANDS:
        number, modes = BANDS[channels]
        pixels = _rows(_banded(_array(image, modes), channels, order))
        height, width = pixels.shape[:2]
        return Picture(pixels.ctypes.data, None, width, height, number, _stride(pixels), 0), [pixels]
    if order in ("rgb", "bgr"):
        pixels = _rows(_coloured(_array(image)))
        height, width = pixels.shape[:2]
        return Picture(pixels.ctypes.data, None, width, height, ORDERS[order], _stride(pixels), 0), [pixels]
    luma, chroma = (_rows(plane) for plane in _planes(image))
    height, width = luma.shape
    picture = Picture(
        luma.ctypes.data, chroma.ctypes.data, width, height, ORDERS[order], _stride(luma), _stride(chroma)
    )
    return picture, [luma, chroma]


def is_one_image(images: Any, order: str) -> bool:
    """Return whether what should be several images is one: an array of colours, or the two planes of a frame."""
    if isinstance(images, np.ndarray):
        return images.ndim == 3 and images.shape[2] in (1, 3)
    planes = order not in ("rgb", "bgr") and isinstance(images, tuple) and len(images) == 2
    if not planes or not all(isinstance(it, np.ndarray) and it.ndim >= 2 for it in images):
        return False
    return images[1].shape[0] == -(-images[0].shape[0] // 2)


def bytes_of_pixel(channels: int) -> int:
    """Return how many bytes a pixel of an image for a network of so many channels has."""
    return channels if channels in BANDS else 3


def _array(image: Any, modes: tuple[str, ...] = ("RGB", "L")) -> NDArray[np.uint8]:
    """Return an array of uint8, or refuse what has no bytes."""
    mode = getattr(image, "mode", None) if hasattr(image, "getexif") else None  # of PIL
    if mode is not None and mode not in modes:
        what = "give image.convert('RGB')" if "RGB" in modes else f"the network takes images of mode {modes[0]}"
        raise UsageError(f"the PIL image has the mode {mode!r}; {what}.")
    if mode is not None and image.getexif().get(ORIENTATION, 1) != 1:
        raise UsageError("the PIL image is not upright; give PIL.ImageOps.exif_transpose(image).")
    if not (hasattr(image, "__array_interface__") or hasattr(image, "__array__")):
        raise UsageError(
            f"an image is {ACCEPTED}; not {type(image).__name__}. Read files with PIL or OpenCV, or give them to "
            "'repghost-run --classify'."
        )
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise UsageError(f"an image is {ACCEPTED}; not {array.dtype} {array.shape}.")
    return array


def _coloured(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return rows of three colours; grey becomes three equal ones."""
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise UsageError(
            f"an image is {ACCEPTED}; not of shape {array.shape}. Transparent pixels have to be laid over a colour."
        )
    return array


def _banded(array: NDArray[np.uint8], channels: int, order: str) -> NDArray[np.uint8]:
    """Return rows of pixels with as many bands as the network has channels."""
    if order != "rgb" or array.ndim != 3 or array.shape[2] != channels or not array.size:
        raise UsageError(
            f"the network takes images of {channels} bands, uint8 (height, width, {channels}) in the order 'rgb'; not "
            f"{array.shape} in the order {order!r}."
        )
    return array


def _planes(image: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the luma [height, width] and Cb and Cr in turn [height / 2, width] of an NV12 frame."""
    if isinstance(image, (tuple, list)) and len(image) == 2:
        luma, chroma = (_array(plane) for plane in image)
        if chroma.ndim == 3 and chroma.shape[2] == 2:
            chroma = np.ascontiguousarray(chroma).reshape(chroma.shape[0], -1)
    else:
        whole = _array(image)
        height = whole.shape[0] * 2 // 3 if whole.ndim == 2 else 0
        luma, chroma = whole[:height], whole[height:]
    rows, columns = (-(-side // 2) for side in luma.shape) if luma.ndim == 2 else (0, 0)
    if not luma.size or chroma.ndim != 2 or chroma.shape[0] != rows or chroma.shape[1] < 2 * columns:
        raise UsageError(
            f"an NV12 frame of width w and height h has luma (h, w) and chroma (h / 2, w), in one array or a pair; not "
            f"{luma.shape} and {chroma.shape}."
        )
    return luma, chroma


def _rows(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an array whose rows are whole, at any distance from each other: a copy where they are not."""
    row = array[0]
    if row.flags.c_contiguous and abs(array.strides[0]) >= row.nbytes:
        return array
    return np.ascontiguousarray(array)


def _stride(array: NDArray[np.uint8]) -> int:
    """Return the bytes from one row to the next, below 0 for a frame that stands on its head."""
    return int(array.strides[0]) if array.shape[0] > 1 else int(array[0].nbytes)
