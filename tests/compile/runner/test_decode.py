"""The runner decodes what Python decodes, to the byte, and survives what nobody should decode."""

from __future__ import annotations

import hashlib
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from compile.link.toolchain import RUNNER_SOURCES
from compile.targets.table import Target
from repghost.data.images.decode import MAX_PIXELS, ImageError, decode_image
from tests.support.decoding import Decoder, build_decoder
from tests.support.image_files import HEIGHT, SIGNATURE, WIDTH, chunk, encoded, noise, png, scene
from tests.support.odd_images import ODD


@pytest.fixture(scope="module")
def decoder(host: Target, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    return build_decoder(tmp_path_factory.mktemp("decoder"), host)


def palette(depth: int, transparent: bytes = b"") -> bytes:
    colours = chunk(b"PLTE", noise(3 << depth, seed=depth).tobytes())
    return colours + (chunk(b"tRNS", transparent) if transparent else b"")


def oriented(value: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded(scene(), kind, exif=exif)


def images() -> dict[str, bytes]:
    image, rgba = scene(), noise(HEIGHT, WIDTH, 4)
    rgba[:9, :, 3], rgba[9:18, :, 3] = 0, 255
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    found = {
        "RGB": encoded(image, "PNG"),
        "RGBA": encoded(Image.fromarray(rgba), "PNG"),
        "palette": encoded(image.quantize(50), "PNG"),
        "transparent colour": encoded(
            Image.fromarray(noise(HEIGHT, WIDTH, 3) // 64 * 64), "PNG", transparency=(64, 64, 128)
        ),
        "transparent grey": encoded(image.convert("L"), "PNG", transparency=100),
        "16-bit grey": encoded(
            Image.fromarray(np.arange(HEIGHT * WIDTH * 61, dtype=np.uint16)[::61].reshape(HEIGHT, WIDTH)), "PNG"
        ),
        "gamma": png(8, 2, chunk(b"gAMA", struct.pack(">I", 100000))),
        "CMYK": encoded(image.convert("CMYK"), "JPEG", quality=80),
        "grey JPEG": encoded(image.convert("L"), "JPEG"),
        "JPEG of RGB": encoded(image, "JPEG", keep_rgb=True),
        "restarts": encoded(image, "JPEG", restart_marker_blocks=2),
        "bytes after the end": encoded(image, "JPEG") + b"more",
        "XMP attribute": encoded(image, "JPEG", xmp=b'<x tiff:Orientation="6"/>'),
        "XMP element": encoded(image, "JPEG", xmp=b"<x><tiff:Orientation>8</tiff:Orientation></x>"),
        "XMP in PNG": encoded(image, "PNG", pnginfo=text),
    }
    for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            found[f"type {colour}, {depth} bits"] = png(depth, colour, palette(depth) if colour == 3 else b"")
            if colour == 3:
                found[f"transparent palette, {depth} bits"] = png(depth, colour, palette(depth, bytes([0, 100])))
    for subsampling in ("4:4:4", "4:2:2", "4:2:0", "4:1:1"):
        for quality, progressive in ((95, False), (95, True), (40, False), (40, True)):
            options = {"subsampling": subsampling, "quality": quality, "progressive": progressive}
            found[f"JPEG {subsampling} {quality} {progressive}"] = encoded(scene(67, 45), "JPEG", **options)
    for kind in ("JPEG", "PNG"):
        found |= {f"orientation {value} {kind}": oriented(value, kind) for value in range(10)}
    for sides in ((1, 1), (8, 8), (300, 5), (5, 300)):
        found[f"JPEG {sides}"] = encoded(scene(*sides), "JPEG", quality=90)
    return found


IMAGES = images()


@pytest.fixture(scope="module")
def decoded(decoder: Decoder) -> dict[str, NDArray[np.uint8] | str]:
    return dict(zip(IMAGES, decoder.decode(list(IMAGES.values())), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_those_of_python(decoded: dict[str, Any], name: str) -> None:
    expected = np.asarray(decode_image(IMAGES[name], name))
    assert not isinstance(decoded[name], str), decoded[name]
    np.testing.assert_array_equal(decoded[name], expected)


@pytest.mark.slow
@pytest.mark.parametrize("bands", [2, 4])
def test_stored_bands_are_those_of_python(decoder: Decoder, bands: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 7
    turned = {"turned": encoded(Image.fromarray(noise(HEIGHT, WIDTH, bands)), "PNG", exif=exif)}
    files, refused = {**IMAGES, **turned}, 0
    for name, found in zip(files, decoder.decode(list(files.values()), bands), strict=True):
        try:
            expected = np.asarray(decode_image(files[name], name, channels=bands))
        except ImageError:
            assert isinstance(found, str) and "bands" in found, name
            refused += 1
        else:
            np.testing.assert_array_equal(found, expected, name)
    assert refused == len(files) - (3 if bands == 2 else 4)  # two depths and what is turned, and one file of Pillow


@pytest.mark.slow
def test_odd_images_are_read_alike(decoder: Decoder) -> None:
    """What Python refuses the runner refuses, and what one turns the other turns."""
    refused, ways = [], set()
    for name, found in zip(ODD, decoder.decode(list(ODD.values())), strict=True):
        try:
            expected = np.asarray(decode_image(ODD[name], name))
        except ImageError:
            refused.append(name)
            assert isinstance(found, str), f"{name}: only Python refuses it"
            continue
        assert not isinstance(found, str), f"{name}: only the runner refuses it: {found}"
        np.testing.assert_array_equal(found, expected, name)
        ways.add(expected.shape)
    assert refused == ["PNG, nothing but a signature and text"]
    assert len(ways) == 2  # some are turned, some are not


def jpeg_sides(width: int, height: int) -> bytes:
    """A JPEG whose header says other sides."""
    data = bytearray(encoded(scene(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


HOSTILE = {
    "PNG bomb": (png(8, 2, width=100_000, height=1)[:40] + bytes(40)),
    "PNG without pixels": SIGNATURE
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0))
    + chunk(b"IEND", b""),
    "PNG too large": SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)) + bytes(60),
    "PNG as large as can be": SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 16, 6, 0, 0, 0)),
    "PNG of one chunk": SIGNATURE + struct.pack(">I", 2**32 - 1) + b"IHDR",
    "PNG with a wrong sum": png(8, 2)[:60] + b"\xff" + png(8, 2)[61:],
    "PNG signature": SIGNATURE,
    "JPEG too large": jpeg_sides(65535, 65535),
    "JPEG without pixels": jpeg_sides(0, 0),
    "JPEG beginning": b"\xff\xd8\xff",
    "JPEG of fill bytes": b"\xff\xd8" + b"\xff" * 500,
    "JPEG of empty segments": b"\xff\xd8" + b"\xff\xe1\0\2" * 500,
    "arithmetic JPEG": encoded(scene(), "JPEG").replace(b"\xff\xc0", b"\xff\xc9"),
    "12-bit JPEG": encoded(scene(), "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
    "GIF": b"GIF89a" + bytes(30),
    "empty": b"",
    "text": b"no picture at all",
}
for _name in ("JPEG 4:2:0 95 False", "JPEG 4:2:0 95 True", "RGB", "palette"):
    _size = len(IMAGES[_name])
    for _part in (3, 10, 50, 90):
        HOSTILE[f"{_name}, {_part} %"] = IMAGES[_name][: _size * _part // 100]


@pytest.mark.slow
def test_hostile_images_are_refused_with_a_reason(decoder: Decoder) -> None:
    assert MAX_PIXELS < 30000 * 30000
    for name, answer in zip(HOSTILE, decoder.decode(list(HOSTILE.values())), strict=True):
        assert isinstance(answer, str), f"{name} was decoded to {answer.shape}"
        assert len(answer) > 5


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    """Damage an image: bytes, a stretch, a length field, or the end; sometimes two images are joined."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 2, 8))):
        at, kind = chance.randrange(len(data)), chance.randrange(5)
        if kind == 0:
            data[at] = chance.randrange(256)
        elif kind == 1:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            data[at : at + 4] = struct.pack(">I", chance.choice((0, 1, 255, 65535, 2**31 - 1, 2**32 - 1)))
        elif kind == 3:
            other = chance.choice(seeds)
            data[at:] = other[chance.randrange(len(other)) :]
        else:
            del data[at : at + chance.randrange(1, 9)]
        if not data:
            data = bytearray(b"\0")
    return bytes(data)


def resealed(data: bytes) -> bytes:
    """Give every chunk of a damaged PNG a fitting check sum, so that the damage gets past it."""
    result, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        size = struct.unpack_from(">I", data, at)[0]
        if at + 12 + size > len(data):
            break
        result += chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + size])
        at += 12 + size
    return bytes(result + data[at:])


@pytest.mark.slow
def test_three_thousand_damaged_images(decoder: Decoder) -> None:
    # Small sides, and limits that a damaged header cannot raise far: what counts is the number of images.
    names = ["RGBA", "palette", "transparent palette, 4 bits", "type 2, 16 bits", "16-bit grey", "CMYK", "restarts"]
    names += ["orientation 6 JPEG", "orientation 7 PNG", "XMP in PNG", "JPEG 4:2:0 95 True", "JPEG 4:1:1 40 False"]
    chance, seeds = random.Random(20), [IMAGES[name] for name in names]
    damaged = [mutated(chance, seeds) for _ in range(3000)]
    damaged = [resealed(data) if data[:8] == SIGNATURE and index % 2 else data for index, data in enumerate(damaged)]
    damaged = [data for data in damaged if claimed_pixels(data) < 1 << 22]
    decoded = decoder.decode(damaged)
    assert len(damaged) > 2500
    refused = sum(isinstance(item, str) for item in decoded)
    assert len(decoded) * 0.2 < refused < len(decoded)  # the damage is felt, and does not stop all at the door


def claimed_pixels(data: bytes) -> int:
    """How many pixels the header says; an image of 80 million is legal, but takes a second each."""
    if data[:8] == SIGNATURE and len(data) > 24:
        width, height = struct.unpack_from(">II", data, 16)
        return int(width * height) if width * height <= MAX_PIXELS else 0
    for marker in (b"\xff\xc0", b"\xff\xc2"):
        at = data.find(marker)
        if 0 <= at < len(data) - 9:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return int(width * height) if width * height <= MAX_PIXELS else 0
    return 0


def test_what_is_carried_is_what_its_page_says() -> None:
    page = (RUNNER_SOURCES / "third_party/README.md").read_text()
    source = RUNNER_SOURCES / "third_party/wuffs/wuffs-unsupported-snapshot.c"
    assert hashlib.sha256(source.read_bytes()).hexdigest() in page
    assert "Apache License" in (source.parent / "LICENSE-APACHE").read_text()


def test_the_limit_is_that_of_python(host: Target) -> None:
    for name in ("images/decode.h", "library/prepare.c"):
        assert f"MOST_PIXELS = {MAX_PIXELS}" in Path(RUNNER_SOURCES / name).read_text()
    assert f"up to {MAX_PIXELS}" in Path(RUNNER_SOURCES / "repghost_run.c").read_text()
