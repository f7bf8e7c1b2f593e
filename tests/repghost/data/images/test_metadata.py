"""Which way is up: the value of every odd tag, stated; what the runner reads is compared in tests/compile/runner."""

from __future__ import annotations

import numpy as np
import pytest

from repghost.data.images.decode import decode_image
from repghost.data.images.metadata import SplitImage, split_image
from tests.support.image_files import encoded, scene
from tests.support.odd_images import EXIF, ODD, XMP

TURNED = {
    "one short": 6,
    "big-endian": 6,
    "two shorts": 6,
    "three shorts": 6,
    "two longs": 8,
    "one long": 6,
    "twice": 6,
    "once damaged, once whole": 3,
    "others before": 5,
    "65535 entries": 7,
    "marked twice": 6,
}
PACKETS = {"attribute": 6, "element": 8, "at the end": 5, "first without a number": 3, "no UTF-8": 7}


@pytest.mark.parametrize("name", EXIF)
def test_the_tag_of_exif(name: str) -> None:
    assert SplitImage(b"", EXIF[name]).orientation == TURNED.get(name, 1)


@pytest.mark.parametrize("name", XMP)
def test_the_tag_of_xmp(name: str) -> None:
    assert SplitImage(b"", b"no TIFF", XMP[name]).orientation == PACKETS.get(name, 1)


def test_exif_counts_before_xmp_also_when_it_is_wrong() -> None:
    assert SplitImage(b"", EXIF["one short"], XMP["element"]).orientation == 6
    assert SplitImage(b"", EXIF["9"], XMP["element"]).orientation == 1
    assert SplitImage(b"", EXIF["a byte"], XMP["element"]).orientation == 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_pixels_stay_as_they_are(kind: str) -> None:
    split = split_image(encoded(scene(), kind))
    assert split == SplitImage(encoded(scene(), kind))
    assert split_image(encoded(scene(), "BMP")) is None


@pytest.mark.parametrize("name", ODD)
def test_no_metadata_is_left(name: str) -> None:
    split = split_image(ODD[name])
    assert split is not None
    for word in (b"Exif", b"tiff:", b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"Photoshop"):
        assert word not in split.pixels.split(b"IEND")[0]


def test_a_turned_image_is_turned() -> None:
    upright = np.asarray(decode_image(ODD["PNG, eXIf: 0"], "upright"))
    for name in ("PNG, eXIf: two shorts", "PNG, text of 3 MB", "PNG, eXIf with a wrong sum"):
        np.testing.assert_array_equal(np.asarray(decode_image(ODD[name], name)), np.rot90(upright, -1))
        np.testing.assert_array_equal(np.asarray(decode_image(ODD[name], name, upright=False)), upright)
