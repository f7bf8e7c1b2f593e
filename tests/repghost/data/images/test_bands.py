"""Images with one band more than grey or RGB: what a file stores is what the network is given, or an error."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from repghost.data import ImageError, decode_image, image_of, prepare
from repghost.data.formats.arrays import ArraySet
from repghost.data.images.chosen_preprocess import with_values
from repghost.data.images.preprocess import IMAGENET, Preprocess
from repghost.errors import UsageError
from tests.repghost.data.images.test_decode import encoded
from tests.support.image_files import noise, png

FOUR = with_values(Preprocess(16, 18), {"in_chans": 4})
EXTRA_SAMPLES = 338


def tiff(pixels: NDArray[np.uint8], kind: int, compression: str = "raw") -> bytes:
    """A TIFF whose last band is unspecified (0), opacity by which the others are multiplied (1), or opacity (2)."""
    data = bytearray(encoded(Image.fromarray(pixels), "TIFF", compression=compression))
    at = data.index(struct.pack("<HHI", EXTRA_SAMPLES, 3, 1))
    data[at + 8 : at + 10] = struct.pack("<H", kind)
    return bytes(data)


PIXELS = noise(29, 37, 4)
PIXELS[:9, :, 3], PIXELS[9:18, :, 3] = 0, 255
STORED = {
    "PNG": encoded(Image.fromarray(PIXELS), "PNG"),
    **{f"TIFF {kind} {how}": tiff(PIXELS, kind, how) for kind in (0, 1, 2) for how in ("raw", "tiff_lzw")},
    "TGA": encoded(Image.fromarray(PIXELS), "TGA"),
}


@pytest.mark.parametrize("name", STORED)
def test_four_bands_are_those_that_the_file_stores(name: str) -> None:
    found = decode_image(STORED[name], name, channels=4)
    assert np.array_equal(np.asarray(found), PIXELS)
    assert decode_image(STORED[name], name).mode == "RGB"  # laid over white, or without the band, as ever


def test_two_bands_deep_ones_and_turned_ones() -> None:
    two = PIXELS[..., :2].copy()
    assert np.array_equal(np.asarray(decode_image(encoded(Image.fromarray(two), "PNG"), "x", channels=2)), two)
    deep = noise(37 * 4, seed=3)  # the fourth row of `png`
    found = np.asarray(decode_image(png(16, 4), "x", channels=2))
    assert found.shape == (29, 37, 2) and np.array_equal(found[3].ravel(), deep[::2])
    deep = noise(37 * 8, seed=3)
    found = np.asarray(decode_image(png(16, 6), "x", channels=4))
    assert found.shape == (29, 37, 4) and np.array_equal(found[3].ravel(), deep[::2])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode_image(encoded(Image.fromarray(PIXELS), "PNG", exif=exif), "x", channels=4)
    assert np.array_equal(np.asarray(turned), np.rot90(PIXELS, -1))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [2, 4])
def test_each_band_is_resized_alone(channels: int, interpolation: str) -> None:
    preprocess = replace(with_values(Preprocess(16, 18), {"in_chans": channels}), interpolation=interpolation)
    image = Image.fromarray(PIXELS[..., :channels].copy())
    alone = replace(preprocess, mean=(0.5,), std=(0.5,))
    bands = [alone.apply(Image.fromarray(PIXELS[..., band].copy())) for band in range(channels)]
    assert np.array_equal(preprocess.apply(image), np.concatenate(bands, -1))
    assert preprocess.normalize(preprocess.apply(image)[None]).shape == (1, channels, 16, 16)


OTHERS = {
    "RGB": encoded(Image.new("RGB", (4, 4)), "PNG"),
    "transparent RGB": encoded(Image.new("RGB", (4, 4)), "PNG", transparency=(0, 0, 0)),
    "transparent palette": encoded(Image.new("P", (4, 4)), "PNG", transparency=0),
    "JPEG": encoded(Image.new("RGB", (16, 16)), "JPEG"),
    "CMYK": encoded(Image.new("CMYK", (16, 16)), "JPEG"),
    "grey": encoded(Image.new("L", (4, 4)), "PNG"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("channels", [2, 4])
def test_other_bands_are_refused(name: str, channels: int) -> None:
    with pytest.raises(ImageError, match=rf"{name}: the picture has \d band.* of mode .* takes {channels}"):
        decode_image(OTHERS[name], name, channels=channels)


def test_a_set_leaves_out_pictures_of_other_bands(tmp_path: Path) -> None:
    images = ArraySet("made", ("a", "b"), noise(4, 20, 24, 4), np.array([0, 1, 0, 1]))
    assert images[0][0].mode == "RGB"
    assert np.array_equal(prepare(images, FOUR).images[1], FOUR.apply(Image.fromarray(images.images[1])))
    rgb = ArraySet("made", ("a", "b"), noise(4, 20, 24, 3), np.array([0, 1, 0, 1]))
    with pytest.raises(UsageError, match=r"no usable picture among 4.*made#0: the picture has 3 band"):
        prepare(rgb, FOUR)

    class Own:
        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            return rgb[index]

    with pytest.raises(UsageError, match="a set of type Own has RGB pictures, and the network takes 4"):
        image_of(Own(), 0, 4)  # type: ignore[arg-type]


def test_another_band_gets_the_usual_mean() -> None:
    assert FOUR.mean == (*IMAGENET.mean, 0.458971) and FOUR.std == (*IMAGENET.std, 0.226)
    assert with_values(FOUR, {"in_chans": 3}).mean == IMAGENET.mean
    grey = with_values(FOUR, {"in_chans": 1})
    assert grey.mean == (0.458971,) and with_values(grey, {"in_chans": 2}).mean == (0.458971, 0.458971)
    assert Preprocess.from_dict(FOUR.to_dict()) == FOUR
    with pytest.raises(UsageError, match="one more where pictures have another band"):
        Preprocess(mean=(0.5,) * 5, std=(0.5,) * 5)
