"""Pictures of circles, squares and triangles in COCO's format, drawn from a seed.

    python -m benchmarks.detection.shapes FOLDER

Pictures have different proportions, noisy backgrounds and one to four objects; some objects lie partly behind others.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

KINDS = ("circle", "square", "triangle")
SPLITS = {"train": 800, "val": 200}  # pictures
WIDTHS, HEIGHTS = (120, 240), (100, 180)  # pixels
OBJECTS, SIDES = (1, 4), (24, 80)  # of a picture; pixels
HIDDEN = 0.3  # overlap of two boxes, as a share of the smaller one, above which an object is not drawn


def draw_set(folder: Path, splits: dict[str, int] | None = None, seed: int = 0) -> Path:
    """Draw every split into a folder: `SPLIT/NUMBER.png` and `annotations/instances_SPLIT.json`."""
    for number, (split, count) in enumerate((splits or SPLITS).items()):
        random = np.random.default_rng((seed, number))
        (folder / split).mkdir(parents=True, exist_ok=True)
        (folder / "annotations").mkdir(exist_ok=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for place in range(1, count + 1):
            image, found = draw_picture(random)
            name = f"{place:04}.png"
            image.save(folder / split / name)
            images.append({"id": place, "file_name": name, "width": image.width, "height": image.height})
            for kind, (left, top, right, bottom) in found:
                box = [left, top, right - left, bottom - top]
                row = {"id": len(annotations) + 1, "image_id": place, "category_id": kind + 1, "bbox": box}
                annotations.append({**row, "area": box[2] * box[3], "iscrowd": 0})
        categories = [{"id": number, "name": name} for number, name in enumerate(KINDS, 1)]
        values = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(values))
    return folder


def draw_picture(random: np.random.Generator) -> tuple[Image.Image, list[tuple[int, tuple[int, int, int, int]]]]:
    """Return a picture, and kind and left, top, right and bottom of each object on it."""
    width, height = int(random.integers(*WIDTHS)), int(random.integers(*HEIGHTS))
    base = random.integers(30, 200, 3)
    pixels = base + random.normal(0, 18, (height, width, 3)) + np.linspace(-25, 25, width)[None, :, None]
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    pen, found = ImageDraw.Draw(image), list[tuple[int, tuple[int, int, int, int]]]()
    for _ in range(int(random.integers(OBJECTS[0], OBJECTS[1] + 1))):
        side = int(random.integers(*SIDES))
        stretched = max(16, int(side * random.uniform(0.7, 1.3)))
        w, h = min(side, width - 2), min(stretched, height - 2)
        left, top = int(random.integers(0, width - w)), int(random.integers(0, height - h))
        box = (left, top, left + w, top + h)
        if any(_hides(box, other) for _, other in found):
            continue
        kind = int(random.integers(len(KINDS)))
        colour = tuple(int(value) for value in (base + random.integers(70, 185, 3)) % 256)
        _draw(pen, kind, box, colour)
        found.append((kind, box))
    return image, found


def _draw(pen: ImageDraw.ImageDraw, kind: int, box: tuple[int, int, int, int], colour: tuple[int, ...]) -> None:
    left, top, right, bottom = box
    if KINDS[kind] == "circle":
        pen.ellipse((left, top, right - 1, bottom - 1), fill=colour)
    elif KINDS[kind] == "square":
        pen.rectangle((left, top, right - 1, bottom - 1), fill=colour)
    else:
        pen.polygon([((left + right) // 2, top), (left, bottom - 1), (right - 1, bottom - 1)], fill=colour)


def _hides(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    areas = [(it[2] - it[0]) * (it[3] - it[1]) for it in (box, other)]
    return width > 0 and height > 0 and width * height > HIDDEN * min(areas)


if __name__ == "__main__":
    draw_set(Path(sys.argv[1]))
