"""`rg_prepare` gives the bytes of `Preprocess.apply`: the golden pixel test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from compile.targets.table import Target
from repghost.data.images.chosen_preprocess import with_values
from repghost.data.images.preprocess import INTERPOLATIONS, Preprocess
from tests.support.nv12 import STANDARDS, from_nv12, nv12
from tests.support.prepared import BGR, GREY_AND_BAND, NV12, RGB, RGB_AND_BAND, CameraImage, Prepared, image_of

Library = Callable[..., Prepared]
# Width and height: tiny, odd, tall, wide, square, the size itself, up and down, by little and by much.
SIDES = [(1, 1), (2, 3), (1, 40), (40, 1), (7, 7), (8, 8), (9, 8), (8, 9), (10, 10), (31, 33), (33, 31), (64, 48)]
SIDES += [(15, 200), (200, 15), (255, 256), (97, 301), (301, 97), (500, 375), (1001, 667)]
CASES = [(8, 8), (8, 10), (33, 37), (64, 64), (64, 73)]


@pytest.fixture(scope="session")
def library(host: Target, tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder, made = tmp_path_factory.mktemp("prepare"), {}

    def get(preprocess: Preprocess) -> Prepared:
        if preprocess not in made:
            made[preprocess] = Prepared(host, preprocess, folder)
        return made[preprocess]

    return get


def noise(width: int, height: int) -> NDArray[np.uint8]:
    """Noise with black and white areas, so that bicubic overshoots on both ends."""
    random = np.random.default_rng(width * 1009 + height)
    pixels = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
    pixels[random.random((height, width)) < 0.3] = 0
    pixels[random.random((height, width)) < 0.3] = 255
    return pixels


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("size", "resize"), CASES)
def test_every_byte_is_that_of_pillow(library: Library, size: int, resize: int, interpolation: str) -> None:
    preprocess = Preprocess(size, resize, interpolation)
    prepared = library(preprocess)
    for width, height in SIDES:
        pixels = noise(width, height)
        expected = preprocess.apply(Image.fromarray(pixels))
        np.testing.assert_array_equal(prepared.rgb(pixels), expected, f"{width} x {height}")


def test_a_photograph_of_imagenet_size(library: Library) -> None:
    preprocess = Preprocess(224, 256, "bicubic")
    for width, height in ((500, 333), (1280, 720), (224, 4000)):
        pixels = noise(width, height)
        np.testing.assert_array_equal(library(preprocess).rgb(pixels), preprocess.apply(Image.fromarray(pixels)))


def test_rows_may_be_apart_and_stand_on_their_head(library: Library) -> None:
    preprocess = Preprocess(8, 10, "bicubic")
    wide = noise(60, 31)
    for view in (wide[:, 5:50], wide[::-1], wide[::2, 3:40], wide[::-3, :20]):
        expected = preprocess.apply(Image.fromarray(np.ascontiguousarray(view)))
        np.testing.assert_array_equal(library(preprocess).rgb(view), expected)


def test_blue_may_come_first(library: Library) -> None:
    preprocess = Preprocess(8, 10, "bilinear")
    pixels = noise(41, 30)
    flipped = np.ascontiguousarray(pixels[:, :, ::-1])
    np.testing.assert_array_equal(library(preprocess).rgb(flipped, BGR), preprocess.apply(Image.fromarray(pixels)))


@pytest.mark.parametrize("order", STANDARDS)
@pytest.mark.parametrize("sides", [(8, 8), (20, 14), (21, 15), (1, 1), (64, 48)])
def test_camera_images(library: Library, order: int, sides: tuple[int, int]) -> None:
    preprocess = Preprocess(8, 10, "bilinear")
    luma, chroma = nv12(*sides, apart=7)
    rgb = from_nv12(luma, chroma, order)
    image = CameraImage(luma.ctypes.data, chroma.ctypes.data, *sides, order, luma.strides[0], chroma.strides[0])
    np.testing.assert_array_equal(library(preprocess).image(image), preprocess.apply(Image.fromarray(rgb)))


@pytest.mark.parametrize("order", STANDARDS)
def test_every_camera_colour_is_that_of_the_standard(library: Library, order: int) -> None:
    """All 256 x 256 chroma values at several lumas, within the half step of rounding."""
    black, weights = STANDARDS[order]
    pairs = np.stack(np.meshgrid(np.arange(0, 256, 4), np.arange(0, 256, 4)), -1).astype(np.uint8).reshape(64, 128)
    for value in (0, 16, 77, 128, 235, 255):
        luma = np.full((128, 128), value, np.uint8)
        image = CameraImage(luma.ctypes.data, pairs.ctypes.data, 128, 128, order, 128, 128)
        got = library(Preprocess(128, 128, "bilinear")).image(image)[::2, ::2]
        colours = np.stack([np.full((64, 64), value), pairs[:, ::2], pairs[:, 1::2]], -1) - np.array([black, 128, 128])
        expected = np.clip(colours @ weights.T, 0, 255)
        assert np.abs(got - expected).max() < 0.51


# Not square and grey: each rule of resizing, crops with odd margins, enlarging and shrinking.
SHAPES = {
    "short side": Preprocess((24, 40), 43, "bicubic"),
    "cover": Preprocess((24, 41), (27, 46), "bilinear"),
    "cover, tall": Preprocess((37, 9), (37, 10), "bicubic"),
    "squash": Preprocess((17, 40), (20, 41), "bicubic", squash=True),
    "squash, square": Preprocess(33, 33, "bilinear", squash=True),
    "grey": Preprocess(28, 31, "bicubic", (0.5,), (0.5,)),
    "grey, cover": Preprocess((24, 40), (25, 42), "bilinear", (0.5,), (0.5,)),
    "grey, squash": Preprocess((9, 13), (9, 13), "bicubic", (0.5,), (0.5,), squash=True),
}


@pytest.mark.parametrize("preprocess", SHAPES.values(), ids=SHAPES.keys())
def test_every_byte_of_other_shapes_is_that_of_python(library: Library, preprocess: Preprocess) -> None:
    prepared = library(preprocess)
    for width, height in [*SIDES, (40, 24), (41, 24), (9, 37), (13, 9)]:
        pixels = noise(width, height)
        expected = preprocess.apply(Image.fromarray(pixels))
        np.testing.assert_array_equal(prepared.rgb(pixels), expected, f"{width} x {height}")


@pytest.mark.parametrize(("channels", "order"), [(2, GREY_AND_BAND), (4, RGB_AND_BAND)])
def test_stored_bands_are_resized_as_in_python(library: Library, channels: int, order: int) -> None:
    preprocess = with_values(SHAPES["cover"], {"in_chans": channels})
    for width, height in [*SIDES, (41, 24), (46, 27)]:
        pixels = np.random.default_rng(width).integers(0, 256, (height, width, channels)).astype(np.uint8)
        expected = preprocess.apply(Image.fromarray(pixels))
        got = library(preprocess).rgb(pixels[::-1][::-1], order)
        np.testing.assert_array_equal(got, expected, f"{width} x {height}")
    wide = noise(40, 24)
    for other in (RGB, BGR, NV12, GREY_AND_BAND + RGB_AND_BAND - order, 7):
        assert library(preprocess).status(image_of(wide, other)) == 8
    narrow = image_of(pixels, order, stride=channels * pixels.shape[1] - 1)
    assert library(preprocess).status(narrow) == 8
    assert library(SHAPES["cover"]).status(image_of(pixels, order)) == 8


@pytest.mark.slow
def test_the_sides_of_any_picture_are_those_of_python(library: Library) -> None:
    """Where a side falls on half a pixel, or next to it, another one shifts the crop and every byte."""
    preprocess = Preprocess((3, 5), (3, 5), "bilinear")
    for height in range(1, 40):
        for width in range(1, 40):
            pixels = noise(width, height)
            expected = preprocess.apply(Image.fromarray(pixels))
            np.testing.assert_array_equal(library(preprocess).rgb(pixels), expected, f"{width} x {height}")


def test_every_grey_is_that_of_pillow(library: Library) -> None:
    """A block of all bytes of two colours for each of some bytes of the third."""
    preprocess = Preprocess((256, 256), (256, 256), "bilinear", (0.5,), (0.5,))
    for red in (0, 1, 76, 128, 254, 255):
        green, blue = np.meshgrid(np.arange(256), np.arange(256))
        pixels = np.stack([np.full_like(green, red), green, blue], -1).astype(np.uint8)
        luma = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
        np.testing.assert_array_equal(library(preprocess).rgb(pixels)[..., 0], luma)
        np.testing.assert_array_equal(preprocess.apply(Image.fromarray(pixels))[..., 0], luma)


@pytest.mark.parametrize("order", [BGR, *STANDARDS])
def test_grey_of_other_orders(library: Library, order: int) -> None:
    preprocess = Preprocess((8, 12), (9, 12), "bilinear", (0.5,), (0.5,))
    if order == BGR:
        pixels = noise(41, 30)
        got = library(preprocess).rgb(np.ascontiguousarray(pixels[:, :, ::-1]), BGR)
    else:
        luma, chroma = nv12(21, 15, apart=7)
        pixels = from_nv12(luma, chroma, order)
        image = CameraImage(luma.ctypes.data, chroma.ctypes.data, 21, 15, order, luma.strides[0], chroma.strides[0])
        got = library(preprocess).image(image)
    np.testing.assert_array_equal(got, preprocess.apply(Image.fromarray(pixels)))


WRONG = {
    "no width": {"width": 0},
    "no height": {"height": 0},
    "negative": {"width": -5},
    "huge": {"width": 1 << 20, "height": 1 << 20, "stride": 1 << 22},
    "widest": {"width": 2**31 - 1, "height": 1, "stride": 2**40},
    "long and thin": {"width": 1 << 24, "height": 1, "stride": 1 << 26},
    "short stride": {"stride": 3 * 30 - 1},
    "short negative stride": {"stride": 1 - 3 * 30},
    "no such order": {"order": 5},
    "negative order": {"order": -1},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_wrong_images_are_refused(library: Library, changes: dict[str, int]) -> None:
    prepared, pixels = library(Preprocess(8, 10, "bilinear")), noise(30, 20)
    image = image_of(pixels, RGB, **changes)
    assert prepared.library.rg_prepare_bytes(image) == 0
    assert prepared.status(image) == 8


def test_a_thread_is_refused_where_the_picture_covers(library: Library) -> None:
    prepared = library(Preprocess((3, 5), (3, 5), "bilinear"))
    image = image_of(noise(30, 20), RGB, width=1 << 24, height=1, stride=1 << 26)
    assert prepared.library.rg_prepare_bytes(image) == 0
    assert prepared.status(image) == 8


def test_null_and_unaligned_pointers_are_refused(library: Library) -> None:
    prepared, (luma, chroma) = library(Preprocess(8, 10, "bilinear")), nv12(30, 20)
    assert prepared.status(image_of(noise(30, 20), pixels=None)) == 1
    assert prepared.status(CameraImage(luma.ctypes.data, None, 30, 20, NV12, 30, 30)) == 1
    assert prepared.status(CameraImage(luma.ctypes.data, chroma.ctypes.data, 30, 20, NV12, 29, 30)) == 8
    assert prepared.status(CameraImage(luma.ctypes.data, chroma.ctypes.data, 30, 20, NV12, 30, 29)) == 8
    good, memory = image_of(noise(30, 20)), np.zeros(4096, np.uint8).ctypes.data
    aligned = memory + -memory % 64
    call = prepared.library.rg_prepare
    assert call(None, memory, aligned) == 1
    assert call(good, None, aligned) == 1
    assert call(good, memory, None) == 1
    assert call(good, memory, aligned + 8) == 2
