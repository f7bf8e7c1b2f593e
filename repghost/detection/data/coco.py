"""Images with boxes and masks in COCO's format, read by torchvision's CocoDetection after the file was checked.

Images are taken as they are stored: COCO's boxes do not follow the EXIF tag that turns an image.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import digits
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.datasets import CocoDetection
from torchvision.transforms.functional import pil_to_tensor

from repghost.data.images.decode import ImageError, read_image
from repghost.detection.checkpoint import Category
from repghost.detection.data.coco_checks import check_annotations
from repghost.errors import SHOWN_OF_MANY, ToolMissingError, UsageError, install_command, option
from repghost.evaluation.classes import lacking_note, match_names

MAX_FILE_BYTES = 2 << 30  # the annotations of COCO's training images have 0.45 GB
MIN_SIDE = 1.0  # pixels; torchvision refuses boxes without an area


@dataclass(frozen=True)
class Sample:
    """An image and what is on it.

    Attributes:
        image: float32 [3, H, W] in [0, 1].
        target: boxes float32 [N, 4] (left, top, right, bottom), labels int64 [N] from 1, image_id, and, where asked
            for, masks uint8 [N, H, W].
    """

    image: Tensor
    target: dict[str, Any]


class CocoImages(CocoDetection):
    """One split of a set in COCO's format.

    Args:
        images: the folder of the images.
        annotations: the JSON file.
        masks: also read the outlines.

    Raises:
        ToolMissingError: when pycocotools is not installed.
        UsageError: when the file or the folder is missing, or the file is not in COCO's format.
    """

    def __init__(self, images: Path, annotations: Path, masks: bool) -> None:
        _check_files(images, annotations)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints how long it took
                super().__init__(str(images), str(annotations))
        except ModuleNotFoundError as error:
            raise ToolMissingError(
                f"data in COCO's format needs pycocotools: {install_command('detection')}"
            ) from error
        except (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError) as error:
            raise UsageError(
                f"{annotations}: not in COCO's format ({type(error).__name__}: {error}); it needs images, annotations "
                "and categories."
            ) from error
        self.annotations, self.masks = annotations, masks
        self.notes: tuple[str, ...] = ()  # on the categories that a detector has and this split lacks
        check_annotations(self.coco.dataset, annotations, masks)
        rows = sorted(self.coco.dataset["categories"], key=lambda row: row["id"])
        self.categories = tuple(Category(row["id"], row["name"]) for row in rows)
        self._label = {category.number: label for label, category in enumerate(self.categories, 1)}

    def matched(self, categories: tuple[Category, ...]) -> CocoImages:
        """Return the split with the labels of a detector: its categories have the same names, perhaps other numbers.

        Args:
            categories: of the detector; the split may lack some of them.

        Raises:
            UsageError: naming the categories that the detector does not have.
        """
        if categories == self.categories:
            return self
        names = [known.name for known in categories]
        places = match_names([own.name for own in self.categories], names)
        split = copy.copy(self)
        split.notes = lacking_note(names, places)
        split._label = {own.number: int(place) + 1 for own, place in zip(self.categories, places, strict=True)}
        return split

    def part(self, places: Iterable[int]) -> CocoImages:
        """Return the images at some places of this split, as a split."""
        from pycocotools.coco import COCO

        part, whole = copy.copy(self), self.coco.dataset
        part.ids = [self.ids[place] for place in places]
        kept = set(part.ids)
        images = [row for row in whole["images"] if row["id"] in kept]
        annotations = [row for row in whole["annotations"] if row["image_id"] in kept]
        part.coco = COCO()
        part.coco.dataset = {**whole, "images": images, "annotations": annotations}
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how long it took
            part.coco.createIndex()
        return part

    def numbers(self) -> dict[int, int]:
        """Return the number that the file gives the category of each label."""
        return {label: number for number, label in self._label.items()}

    def trainable(self) -> NDArray[np.int64]:
        """Return the places of the images with at least one object to learn, int64 [N]."""
        places = [place for place, number in enumerate(self.ids) if self._objects(number)]
        return np.asarray(places, np.int64)

    def sample(self, place: int) -> Sample:
        """Return an image; crowds and objects smaller than a pixel are left out.

        Raises:
            ImageError: when it cannot be decoded, or has another size than the file says.
        """
        number = self.ids[place]
        image = self._load_image(number)
        objects = self._objects(number)
        boxes = torch.tensor([row["bbox"] for row in objects], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, image.width)
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, image.height)
        labels = torch.tensor([self._label[row["category_id"]] for row in objects], dtype=torch.int64)
        target: dict[str, Any] = {"boxes": boxes, "labels": labels, "image_id": number}
        if self.masks:
            with warnings.catch_warnings():  # its compiled code speaks to numpy in the old way
                warnings.simplefilter("ignore", DeprecationWarning)
                found = [self.coco.annToMask(row) for row in objects]
            stacked = np.stack(found) if found else np.empty((0, image.height, image.width), np.uint8)
            target["masks"] = torch.from_numpy(stacked)
        return Sample(pil_to_tensor(image).float() / 255, target)

    def _load_image(self, id: int) -> Image.Image:
        """Return an image as RGB; torchvision calls it by this name."""
        row = self.coco.imgs[id]
        path = Path(self.root) / row["file_name"]
        image = read_image(path, upright=False)
        if image.size != (row["width"], row["height"]):
            raise ImageError(
                f"{path}: has {image.width} x {image.height} pixels, {self.annotations} says {row['width']} x "
                f"{row['height']}; its boxes do not belong to this picture."
            )
        return image

    def _objects(self, number: int) -> list[dict[str, Any]]:
        """Return the annotations to learn from."""
        size = self.coco.imgs[number]
        return [
            row
            for row in self.coco.imgToAnns[number]
            if not row.get("iscrowd", 0) and _visible(row["bbox"], size["width"], size["height"])
        ]


def _visible(box: list[float], width: int, height: int) -> bool:
    """Return whether at least a pixel of a box (left, top, width, height) lies in the image."""
    left, top, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
    return min(right, width) - max(left, 0) >= MIN_SIDE and min(bottom, height) - max(top, 0) >= MIN_SIDE


def _check_files(images: Path, annotations: Path) -> None:
    if not annotations.is_file():
        there = ", ".join(_splits(annotations.parent)[:SHOWN_OF_MANY]) or "none"
        raise UsageError(
            f"{annotations}: no such file; give the annotations of the split in COCO's format. Splits that are there: "
            f"{there}."
        )
    if not images.is_dir():
        raise UsageError(f"{images}: no such folder; give the pictures that {annotations} describes.")
    size = annotations.stat().st_size
    if size > MAX_FILE_BYTES:
        raise UsageError(f"{annotations}: {size} bytes are more than the {MAX_FILE_BYTES} annotations may have.")


def image_paths(folder: Path, split: str) -> list[Path]:
    """Return the files of the images of a split that has objects, in the order of their numbers.

    Raises:
        UsageError: as `open_coco`.
    """
    dataset = open_coco(folder, split, masks=False)
    numbers = [dataset.ids[place] for place in dataset.trainable()]
    return [Path(dataset.root) / dataset.coco.imgs[number]["file_name"] for number in numbers]


def open_coco(folder: Path, split: str, masks: bool) -> CocoImages:
    """Open a split of COCO's layout: `annotations/instances_<split>.json` and the images in `<split>/`.

    Args:
        folder: that has both.
        split: e.g. train2017; also without its year, where the folder has that split of one year alone.
        masks: also read the outlines.

    Raises:
        UsageError: when one of them is missing or broken, or the year has to be said.
    """
    if Path(split).name != split:
        raise UsageError(f"{option('split', split)} must be a name such as train2017, not a path.")
    there = _splits(folder / "annotations")
    if split not in there:
        of_years = [name for name in there if name.rstrip(digits) == split]
        if len(of_years) > 1:
            raise UsageError(
                f"{option('split', split)} could be {' or '.join(of_years)} of {folder}; give one of them."
            )
        split = of_years[0] if of_years else split
    return CocoImages(folder / split, folder / "annotations" / f"instances_{split}.json", masks)


def _splits(annotations: Path) -> list[str]:
    """Return the names of the splits that a folder has annotations of, sorted."""
    return sorted(path.stem.removeprefix("instances_") for path in annotations.glob("instances_*.json"))
