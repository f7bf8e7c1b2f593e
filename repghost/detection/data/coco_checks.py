"""Checks of an annotation file before pycocotools and the detectors, whose C code trusts it, read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from repghost.data.images.decode import MAX_PIXELS
from repghost.detection.detector import MAX_CLASSES
from repghost.errors import UsageError

LARGEST = 1e15  # of any number
FARTHEST = 1e5  # pixels; outlines may leave the image a little
MAX_POINTS = 100_000  # of one outline


def check_annotations(dataset: Mapping[str, Any], source: Path, masks: bool) -> None:
    """Refuse a file whose numbers are out of range, or whose names lead out of the folder.

    Args:
        dataset: the parsed JSON.
        source: what messages call it.
        masks: outlines are needed too.

    Raises:
        UsageError: naming the first wrong entry.
    """
    try:
        for key in ("images", "annotations", "categories"):
            if not isinstance(dataset.get(key), list):
                raise UsageError(f"the list {key!r} is missing; these are the keys of COCO's instances files.")
        images = _images(dataset["images"])
        categories = _categories(dataset["categories"])
        seen: set[int] = set()
        for row in dataset["annotations"]:
            _check_annotation(row, images, categories, seen, masks)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error


def _images(rows: list[Any]) -> dict[int, tuple[int, int]]:
    """Return (width, height) of every image by its number."""
    sizes: dict[int, tuple[int, int]] = {}
    for row in rows:
        number = _number(row, "picture")
        path = row.get("file_name")
        parts = PurePosixPath(path).parts if isinstance(path, str) else ()
        if not parts or PurePosixPath(path).is_absolute() or ".." in parts or "\0" in path:
            raise UsageError(f"picture {number}: file_name {path!r} must be a path inside the folder of the pictures.")
        width, height = row.get("width"), row.get("height")
        if not (_is_whole(width) and _is_whole(height) and width > 0 < height and width * height <= MAX_PIXELS):
            raise UsageError(f"picture {number}: {width!r} x {height!r} is no size; 1 to {MAX_PIXELS} pixels are.")
        if number in sizes:
            raise UsageError(f"picture {number} is there twice.")
        sizes[number] = (width, height)
    if not sizes:
        raise UsageError("there are no pictures.")
    return sizes


def _categories(rows: list[Any]) -> set[int]:
    numbers = [_number(row, "category") for row in rows]
    names: set[str] = set()
    for row in rows:
        if not isinstance(row.get("name"), str):
            raise UsageError(f"category {row['id']} has no name.")
        if row["name"] in names:
            raise UsageError(
                f"two categories are called {row['name']!r}, and classes are matched by name; give each another name."
            )
        names.add(row["name"])
    if len(set(numbers)) != len(numbers) or not 1 <= len(numbers) <= MAX_CLASSES:
        raise UsageError(f"{len(numbers)} categories, {len(set(numbers))} different; 1 to {MAX_CLASSES} are allowed.")
    return set(numbers)


def _check_annotation(
    row: Any, images: Mapping[int, tuple[int, int]], categories: set[int], seen: set[int], masks: bool
) -> None:
    number = _number(row, "annotation")
    if number in seen:
        raise UsageError(f"annotation {number} is there twice.")
    seen.add(number)
    if row.get("image_id") not in images:
        raise UsageError(f"annotation {number}: there is no picture {row.get('image_id')!r}.")
    if row.get("category_id") not in categories:
        raise UsageError(f"annotation {number}: there is no category {row.get('category_id')!r}.")
    box = row.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_near(value) for value in box) or min(box[2:]) < 0:
        raise UsageError(f"annotation {number}: bbox {box!r} must be left, top, width, height in pixels.")
    area = row.get("area")
    if not _is_finite(area) or area < 0:
        raise UsageError(f"annotation {number}: area {area!r} must be a number of pixels.")
    if row.get("iscrowd", 0) not in (0, 1):
        raise UsageError(f"annotation {number}: iscrowd {row.get('iscrowd')!r} must be 0 or 1.")
    if masks or row.get("segmentation"):
        _check_outline(number, row.get("segmentation"), *images[row["image_id"]])


def _check_outline(number: int, outline: Any, width: int, height: int) -> None:
    """Accept polygons and uncompressed run lengths; compressed ones are decoded by C code that trusts them."""
    if isinstance(outline, dict):
        counts = outline.get("counts")
        if (
            outline.get("size") != [height, width]
            or not isinstance(counts, list)
            or not all(_is_whole(count) and count >= 0 for count in counts)
            or sum(counts) != height * width
        ):
            raise UsageError(
                f"annotation {number}: run lengths must be a list of counts that fill {height} x {width} pixels; "
                "compressed ones are not read."
            )
        return
    if not isinstance(outline, list) or not outline:
        raise UsageError(f"annotation {number}: segmentation must be polygons or run lengths; masks need them.")
    for polygon in outline:
        if (
            not isinstance(polygon, list)
            or not 6 <= len(polygon) <= 2 * MAX_POINTS
            or len(polygon) % 2
            or not all(_is_near(value) for value in polygon)
        ):
            raise UsageError(f"annotation {number}: a polygon must be at least 3 points x, y in pixels.")


def _number(row: Any, kind: str) -> int:
    """Return the number of an entry."""
    number = row.get("id") if isinstance(row, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**53:
        raise UsageError(f"a {kind} has the id {number!r}; it must be a whole number from 0.")
    return number


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_near(value: Any) -> bool:
    return _is_finite(value) and abs(value) <= FARTHEST
