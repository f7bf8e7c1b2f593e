"""A folder of drawn pictures, three classes of 40, as somebody's own would lie there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("circle", "cross", "stripes")


def draw_pictures(folder: Path, each: int = 40, side: int = 96) -> Path:
    """Write CLASS/CLASS_number.jpg: shapes of any size, place and colour, on noise."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            random = np.random.default_rng([label, number])
            _draw(name, random, side).save(folder / name / f"{name}_{number:02}.jpg", quality=90)
    return folder


def _draw(name: str, random: np.random.Generator, side: int) -> Image.Image:
    back, front = (tuple(int(value) for value in random.integers(low, low + 110, 3)) for low in (20, 140))
    noise = random.normal(0, 12, (side, side, 3))
    image = Image.fromarray(np.clip(np.asarray(back) + noise, 0, 255).astype(np.uint8))
    draw, radius = ImageDraw.Draw(image), int(random.integers(side // 5, side // 3))
    x, y = (int(value) for value in random.integers(radius + 2, side - radius - 2, 2))
    if name == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=front)
    elif name == "cross":
        for ends in (
            (x - radius, y - radius, x + radius, y + radius),
            (x - radius, y + radius, x + radius, y - radius),
        ):
            draw.line(ends, fill=front, width=side // 10)
    else:
        for place in range(int(random.integers(4, 10)), side, side // 7):
            draw.line((0, place, side, place), fill=front, width=side // 20)
    return image
