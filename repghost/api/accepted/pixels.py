"""Arrays and tensors as bytes: which layout and which range they have, or a sentence that asks for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from repghost.channels import GREY, RGB
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError, unknown_value

if TYPE_CHECKING:
    import torch

Pixels: TypeAlias = Literal["0..1", "0..255", "normalized"]

UNIT, BYTES, NORMALIZED = "0..1", "0..255", "normalized"
PIXELS = (UNIT, BYTES, NORMALIZED)
SLACK = 2 / 255  # of a pixel in 0..1: what a resize of floats may overshoot


def is_array(value: object) -> bool:
    """Return whether a value is a numpy array or a torch tensor."""
    return isinstance(value, np.ndarray) or is_tensor(value)


def is_tensor(value: object) -> TypeGuard[torch.Tensor]:
    """Return whether a value is a torch tensor, without importing torch: who has none cannot give one."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def check_pixels(pixels: object) -> Pixels | None:
    """Return what a user says of float images.

    Raises:
        UsageError: for anything but the three words and None.
    """
    if pixels is not None and pixels not in PIXELS:
        raise unknown_value("pixels", pixels, PIXELS)
    return pixels  # type: ignore[return-value]


def to_bytes(images: NDArray[Any] | torch.Tensor, preprocess: Preprocess, pixels: Pixels | None) -> NDArray[np.uint8]:
    """Return images as uint8 [N, H, W, channels], channels 1, 3 or those of the network.

    Args:
        images: an array [N, H, W, C], [H, W, C], [H, W], or [N, H, W] of grey ones; or a tensor [N, C, H, W] or
            [C, H, W]; of uint8 or floats.
        preprocess: whose mean and std normalized images have.
        pixels: the range of float images; None: said by their values where these fit one range alone.

    Raises:
        UsageError: for another layout, type or range, with the line that mends it.
    """
    counts = tuple(sorted({GREY, RGB, preprocess.channels}))
    array = _from_tensor(images, counts) if is_tensor(images) else _from_array(np.asarray(images), counts)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise UsageError(
            f"images are of uint8 or of floats, not of {array.dtype}. Where they hold 0 to 255: images.astype('uint8')."
        )
    return _rounded(array, preprocess, pixels)


def as_prepared(images: NDArray[np.uint8], preprocess: Preprocess) -> NDArray[np.uint8] | None:
    """Return images of the network's own size with its channels; None for those that have to be resized or converted.

    Args:
        images: uint8 [N, H, W, channels].
        preprocess: of the network.
    """
    if images.shape[1:3] != (preprocess.height, preprocess.width):
        return None
    if images.shape[3] == preprocess.channels:
        return images
    if {images.shape[3], preprocess.channels} != {GREY, RGB}:
        return None
    if images.shape[3] == GREY:
        return images.repeat(RGB, axis=3)
    red, green, blue = (images[..., colour].astype(np.uint32) for colour in range(3))  # as Pillow's mode L
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)[..., None]


def _from_tensor(images: torch.Tensor, counts: tuple[int, ...]) -> NDArray[Any]:
    """Return a tensor as an array [N, H, W, C], C one of `counts`."""
    shape = list(images.shape)
    if images.ndim not in (3, 4) or images.shape[-3] not in counts:
        line = "images.permute(0, 3, 1, 2)" if images.ndim == 4 else "images.permute(2, 0, 1)"
        mend = f" Give {line}." if images.ndim in (3, 4) and images.shape[-1] in counts else ""
        raise UsageError(
            f"a tensor of images is [N, C, H, W] or [C, H, W] with C {_either(counts)}, not {shape}.{mend}"
        )
    if images.is_meta:
        raise UsageError("the images are on the device 'meta', so they have no values; give tensors that hold some.")
    images = images.detach().cpu()
    array = (images.float() if images.is_floating_point() else images).numpy()
    return np.moveaxis(array if array.ndim == 4 else array[None], 1, 3)


def _from_array(images: NDArray[Any], counts: tuple[int, ...]) -> NDArray[Any]:
    """Return an array as [N, H, W, C], C one of `counts`."""
    shape = list(images.shape)
    if images.ndim == 2:
        return images[None, :, :, None]
    if images.ndim in (3, 4) and images.shape[-1] in counts:
        return images if images.ndim == 4 else images[None]
    if images.ndim in (3, 4) and images.shape[-3] in counts:
        axes = "(0, 2, 3, 1)" if images.ndim == 4 else "(1, 2, 0)"
        raise UsageError(
            f"an array of images is [N, H, W, C] or [H, W, C], not {shape}. Give images.transpose{axes}, or a tensor, "
            f"whose channels come first: torch.from_numpy(images)."
        )
    if images.ndim == 3:
        return images[..., None]
    raise UsageError(f"an array of images is [N, H, W, C] or [H, W, C] with C {_either(counts)}, not {shape}.")


def _either(counts: tuple[int, ...]) -> str:
    return " or ".join(map(str, counts))


def _rounded(array: NDArray[np.floating[Any]], preprocess: Preprocess, pixels: Pixels | None) -> NDArray[np.uint8]:
    """Return float images [N, H, W, C] as bytes."""
    if not array.size:
        return array.astype(np.uint8)
    if not np.isfinite(array).all():
        raise UsageError("the images hold values that are not finite; find out where they come from.")
    low, high = float(array.min()), float(array.max())
    said = _said(low, high, preprocess, pixels)
    unit = array.astype(np.float64)
    if said == NORMALIZED:
        _refuse_other_shape(array, preprocess)
        unit = unit * np.asarray(preprocess.std) + np.asarray(preprocess.mean)
    elif said == BYTES:
        unit = unit / 255
    if said == BYTES and high <= 1 and not np.array_equal(array, np.rint(array)):
        raise UsageError(
            f"the images hold fractions from {low:.4g} to {high:.4g}, which as pixels={BYTES!r} are all black. Give "
            f"pixels={UNIT!r}."
        )
    if unit.min() < -SLACK or unit.max() > 1 + SLACK:
        allowed = _allowed(said, preprocess)
        raise UsageError(
            f"the images hold values from {low:.4g} to {high:.4g}, and pixels={said!r} allows {allowed}. Give pixels= "
            f"another of {', '.join(PIXELS)}, or the preprocess= that they were made with."
        )
    return np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)


def _said(low: float, high: float, preprocess: Preprocess, pixels: Pixels | None) -> Pixels:
    """Return which range the values are in.

    Raises:
        UsageError: when nobody said and more than one fits.
    """
    if pixels is not None:
        return pixels
    if low < 0:
        _refuse_halves(low, high, preprocess)
        return "normalized"  # nothing else is below 0
    if high > max(1 + SLACK, float(preprocess.table().max()) + SLACK / min(preprocess.std)):
        return "0..255"
    raise UsageError(
        f"float images with values from {low:.4g} to {high:.4g} can mean several things. Say which with "
        "pixels='0..1', pixels='0..255', or pixels='normalized' (mean and std of the network's preprocess)."
    )


def _refuse_halves(low: float, high: float, preprocess: Preprocess) -> None:
    """Refuse values that fill -1 to 1, as mean and std of 0.5 make them, where the network has others."""
    fills = max(abs(low + 1), abs(high - 1)) < SLACK / 8
    if fills and not np.allclose([*preprocess.mean, *preprocess.std], 0.5):
        raise UsageError(
            "float images with values from -1 to 1 look normalized by mean and std 0.5, and the network's preprocess "
            f"has mean {preprocess.mean} and std {preprocess.std}. Normalize them by these, give the preprocess= that "
            "they were made with, or pixels='normalized' where they are right."
        )


def _refuse_other_shape(array: NDArray[Any], preprocess: Preprocess) -> None:
    """Refuse normalized images of other channels or another size: who normalized them had cropped them, too."""
    if array.shape[3] != preprocess.channels:
        raise UsageError(
            f"normalized images have the {preprocess.channels} channel(s) of the network, not {array.shape[3]}."
        )
    if array.shape[1:3] != (preprocess.height, preprocess.width):
        raise UsageError(
            f"normalized images are prepared already; these have {array.shape[1]} x {array.shape[2]} pixels, and the "
            f"network's preprocess gives {preprocess.height} x {preprocess.width}. Give images of that size, or the "
            "preprocess= that they were made with."
        )


def _allowed(pixels: str, preprocess: Preprocess) -> str:
    if pixels == NORMALIZED:
        table = preprocess.table()
        return f"{table.min():.4g} to {table.max():.4g} with this network's mean and std"
    return "0 to 1" if pixels == UNIT else "0 to 255"
