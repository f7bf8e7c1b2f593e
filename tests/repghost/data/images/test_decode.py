from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repghost.data import ImageError, decode_image, read_image, to_rgb

RED = (200, 30, 40)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("image", "kind", "expected", "tolerance"),
    [
        (Image.new("RGB", (4, 4), RED), "PNG", RED, 0),
        (Image.new("RGB", (4, 4), RED), "BMP", RED, 0),
        (Image.new("RGB", (4, 4), RED), "PPM", RED, 0),
        (Image.new("RGB", (16, 16), RED), "JPEG", RED, 3),
        (Image.new("L", (4, 4), 77), "PNG", (77, 77, 77), 0),
        (Image.new("1", (4, 4), 1), "PNG", (255, 255, 255), 0),
        (Image.new("RGBA", (4, 4), (*RED, 255)), "PNG", RED, 0),
        (Image.new("RGBA", (4, 4), (*RED, 0)), "PNG", (255, 255, 255), 0),
        (Image.new("RGBA", (4, 4), (0, 0, 0, 128)), "PNG", (127, 127, 127), 1),
        (Image.new("LA", (4, 4), (10, 0)), "PNG", (255, 255, 255), 0),
        (Image.new("RGB", (4, 4), RED).convert("P", palette=Image.Palette.ADAPTIVE), "GIF", RED, 0),
        (Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", (255, 0, 0), 3),
        (Image.new("CMYK", (4, 4), (255, 255, 255, 255)), "TIFF", (0, 0, 0), 0),
    ],
)
def test_every_kind_becomes_rgb(image: Image.Image, kind: str, expected: tuple[int, ...], tolerance: int) -> None:
    result = decode_image(encoded(image, kind), "x")
    assert result.mode == "RGB"
    assert result.size == image.size
    assert np.abs(np.asarray(result).astype(int) - np.asarray(expected)).max() <= tolerance


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (65535, 255), (257, 1), (128, 0), (129, 1), (32768, 128)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_cut(value: int, expected: int, kind: str) -> None:
    image = Image.fromarray(np.full((3, 5), value, np.uint16))
    assert set(np.asarray(decode_image(encoded(image, kind), "x")).ravel().tolist()) == {expected}


def test_transparent_colour_of_a_palette_is_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    result = decode_image(encoded(image, "PNG", transparency=0), "x")
    assert result.getpixel((0, 0)) == (255, 255, 255)


def test_transparent_colour_of_an_rgb_image_is_white() -> None:
    image = Image.new("RGB", (4, 4), (10, 20, 30))
    image.putpixel((1, 1), (10, 20, 31))
    result = decode_image(encoded(image, "PNG", transparency=(10, 20, 30)), "x")
    assert result.getpixel((0, 0)) == (255, 255, 255)
    assert result.getpixel((1, 1)) == (10, 20, 31)


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (2, (5, 0)), (3, (5, 3)), (6, (3, 0)), (8, (0, 5))])
def test_exif_rotation_is_applied(orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (6, 4))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = decode_image(encoded(image, "PNG", exif=exif), "x")
    assert result.size == ((6, 4) if orientation < 5 else (4, 6))
    assert result.getpixel(corner) == (255, 255, 255)


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", 70_000), ("I", -1)])
def test_pixels_without_a_range_are_refused(mode: str, value: float) -> None:
    with pytest.raises(ImageError, match=r"no defined range|do not fit 16 bits"):
        to_rgb(Image.new(mode, (2, 2), value))


def test_no_pixels_are_refused() -> None:
    with pytest.raises(ImageError, match="no pixels"):
        to_rgb(Image.new("RGB", (0, 3)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP"])
def test_a_truncated_file_is_named_at_every_length(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8))
    data = encoded(noise, kind)
    for length in (0, 1, 10, len(data) // 4, len(data) // 2, len(data) * 3 // 4):
        with pytest.raises(ImageError, match="holiday"):
            decode_image(data[:length], "holiday")


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (30_000, 30_000), (2**31 - 1, 1)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    with pytest.raises(ImageError, match=r"bomb\.png: larger than"):
        decode_image(bomb(width, height), "bomb.png")


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"just text",
        bytes(1000),
        b"\x80\x04\x95cos\nsystem\n",
    ],
)
def test_other_files_are_no_images(data: bytes) -> None:
    with pytest.raises(ImageError, match="not a picture"):
        decode_image(data, "x")


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7), kind=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF"]))
def test_a_flipped_bit_gives_a_image_or_a_named_error(place: int, bit: int, kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (12, 12, 3), np.uint8))
    data = bytearray(encoded(noise, kind))
    data[place % len(data)] ^= 1 << bit
    try:
        assert decode_image(bytes(data), "flipped").mode == "RGB"
    except ImageError as error:
        assert str(error).startswith("flipped: ")


def test_read_image_names_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a picture.png"
    path.write_bytes(encoded(Image.new("RGB", (2, 3), RED)))
    assert read_image(path).size == (2, 3)
    with pytest.raises(ImageError, match=r"absent\.png: cannot be read"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="not a regular file"):
        read_image(tmp_path)


def test_read_image_refuses_a_huge_file_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate((256 << 20) + 1)  # sparse
    with pytest.raises(ImageError, match="at most"):
        read_image(path)
