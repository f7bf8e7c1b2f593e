"""Small WebDataset shards, written by the package itself."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import webdataset
from PIL import Image

from tests.support.training_sets import made_set

SIZE = 32


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_shards(folder: Path, counts: list[int], name: str = "{number:06}.tar") -> Path:
    """Write a shard for each count; return their name with braces."""
    folder.mkdir(parents=True, exist_ok=True)
    made, first = made_set(sum(counts)), 0
    for number, count in enumerate(counts):
        with webdataset.TarWriter(str(folder / name.format(number=number))) as writer:
            for index in range(first, first + count):
                sample = {"__key__": f"{index:08}", "png": png(made.images[index]), "cls": int(made.labels[index])}
                writer.write(sample)
        first += count
    return folder / name.replace("{number:06}", f"{{000000..{len(counts) - 1:06}}}")


def write_numbered(folder: Path, counts: list[int]) -> Path:
    """Write shards whose images say their own number by their first two colours."""
    folder.mkdir(parents=True, exist_ok=True)
    first = 0
    for number, count in enumerate(counts):
        with webdataset.TarWriter(str(folder / f"{number:06}.tar")) as writer:
            for index in range(first, first + count):
                pixels = np.full((SIZE, SIZE, 3), (index % 200, index // 200, 0), np.uint8)
                writer.write({"__key__": f"{index:08}", "png": png(pixels), "cls": index % 3})
        first += count
    return folder / f"{{000000..{len(counts) - 1:06}}}.tar"
