"""How many numbers a pixel has for a network; `repghost/data/images/bands.py` says from which images they come."""

from __future__ import annotations

CHANNELS = (1, 2, 3, 4)
GREY, GREY_AND_ONE, RGB, RGB_AND_ONE = CHANNELS
WORDS = {GREY: "grey", GREY_AND_ONE: "grey and one band", RGB: "RGB", RGB_AND_ONE: "RGB and one band"}
SUFFIXES = {GREY: "_grey", GREY_AND_ONE: "_two", RGB: "", RGB_AND_ONE: "_four"}  # of names of kernels


def keeps_bands(channels: int) -> bool:
    """Return whether a network of so many channels takes the bands of an image as they are stored."""
    return channels in (GREY_AND_ONE, RGB_AND_ONE)
