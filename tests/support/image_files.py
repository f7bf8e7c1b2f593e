"""Image files of known content."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 37, 29
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def scene(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """An image with edges, gradients and noise."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([127 + 100 * np.sin(x / 7 + y / 11), 127 + 100 * np.cos(x / 5 - y / 9), (x * 3 + y * 5) % 256], -1)
    return Image.fromarray(np.clip(waves + noise(height, width, 3) / 8.0, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(depth: int, colour: int, before: bytes = b"", width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A PNG of noise of any legal depth and colour type, which Pillow does not write all."""
    lines = b"".join(b"\0" + noise(row_bytes(depth, colour, width), seed=y).tobytes() for y in range(height))
    return png_of(lines, depth, colour, before, width, height)


def black_png(depth: int, colour: int, width: int, height: int) -> bytes:
    """A small file of many pixels."""
    return png_of(bytes(1 + row_bytes(depth, colour, width)) * height, depth, colour, b"", width, height)


def row_bytes(depth: int, colour: int, width: int) -> int:
    return (width * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth + 7) // 8


def png_of(lines: bytes, depth: int, colour: int, before: bytes, width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return SIGNATURE + header + before + chunk(b"IDAT", zlib.compress(lines, 1)) + chunk(b"IEND", b"")
