"""A tiny set in COCO's format, drawn by the test: red and blue squares on dark noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 64, 96
NUMBERS = (7, 9)  # of the categories; COCO's have holes too


def draw(folder: Path, split: str, count: int, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    (folder / split).mkdir(parents=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        pixels = random.integers(0, 60, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        kind, side = int(random.integers(0, 2)), int(random.integers(20, 40))
        x, y = int(random.integers(0, WIDTH - side)), int(random.integers(0, HEIGHT - side))
        pixels[y : y + side, x : x + side] = ((250, 40, 40), (40, 40, 250))[kind]
        Image.fromarray(pixels).save(folder / split / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": NUMBERS[kind],
                "bbox": [x, y, side, side],
                "area": side * side,
                "iscrowd": 0,
                "segmentation": [[x, y, x + side, y, x + side, y + side, x, y + side]],
            }
        )
    categories = [{"id": number, "name": name} for number, name in zip(NUMBERS, ("red", "blue"), strict=True)]
    write(folder, split, {"images": images, "annotations": annotations, "categories": categories})
    return folder


def annotations_path(folder: Path, split: str) -> Path:
    return folder / "annotations" / f"instances_{split}.json"


def read(folder: Path, split: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(annotations_path(folder, split).read_text())
    return values


def write(folder: Path, split: str, values: Any) -> None:
    annotations_path(folder, split).write_text(json.dumps(values))
