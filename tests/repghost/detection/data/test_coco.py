from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from repghost.api.training.detectors import DetectorEvaluation
from repghost.data.images.decode import ImageError
from repghost.detection.checkpoint import Category
from repghost.detection.data.coco import CocoImages, open_coco
from repghost.detection.data.feed import flipped
from repghost.detection.evaluate import evaluate
from repghost.errors import UsageError
from tests.support.drawn import HEIGHT, WIDTH, annotations_path, draw, read, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw(tmp_path / "a set", "val", 4)


def test_boxes_masks_and_labels_are_those_of_the_file(folder: Path) -> None:
    dataset = open_coco(folder, "val", masks=True)
    assert [category.name for category in dataset.categories] == ["red", "blue"]
    for place, row in enumerate(read(folder, "val")["annotations"]):
        sample = dataset.sample(place)
        x, y, side, _ = row["bbox"]
        assert sample.target["boxes"].tolist() == [[x, y, x + side, y + side]]
        assert sample.target["labels"].tolist() == [1 if row["category_id"] == 7 else 2]
        expected = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.uint8)
        expected[:, y : y + side, x : x + side] = 1
        assert torch.equal(sample.target["masks"], expected)
        red, _, blue = sample.image[:, y + 1, x + 1].tolist()
        assert (red > blue) == (row["category_id"] == 7)


def test_mirroring_moves_boxes_and_masks_with_the_image(folder: Path) -> None:
    sample = open_coco(folder, "val", masks=True).sample(0)
    mirrored = flipped(sample)
    left, top, right, bottom = (int(value) for value in mirrored.target["boxes"][0])
    inside = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    inside[top:bottom, left:right] = 1
    assert torch.equal(mirrored.target["masks"][0], inside)
    again = flipped(mirrored)
    assert torch.equal(again.image, sample.image)
    assert torch.equal(again.target["boxes"], sample.target["boxes"])


def test_crowds_and_boxes_outside_are_not_learnt(folder: Path) -> None:
    values = read(folder, "val")
    values["annotations"][0]["iscrowd"] = 1
    values["annotations"][1]["bbox"] = [WIDTH + 5, 0, 10, 10]
    write(folder, "val", values)
    assert open_coco(folder, "val", masks=False).trainable().tolist() == [2, 3]


def test_boxes_do_not_follow_the_tag_that_turns_a_image(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = folder / "val" / "1.png"
    with Image.open(path) as image:
        image.load()
    image.save(path, exif=exif)
    assert open_coco(folder, "val", masks=False).sample(0).image.shape == (3, HEIGHT, WIDTH)


def test_a_image_of_another_size_is_named(folder: Path) -> None:
    Image.new("RGB", (5, 5)).save(folder / "val" / "2.png")
    with pytest.raises(ImageError, match=r"2\.png: has 5 x 5"):
        open_coco(folder, "val", masks=False).sample(1)


def change(table: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda values: values[table][0].__setitem__(key, value)


BAD: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda values: values.pop("images"), "images"),
    (lambda values: values.pop("categories"), "categories"),
    (lambda values: values["images"].clear(), "no picture"),
    (lambda values: values["images"].append(values["images"][0]), "twice"),
    (lambda values: values["annotations"].append(values["annotations"][0]), "twice"),
    (change("images", "file_name", "../secret.png"), "inside the folder"),
    (change("images", "file_name", "/etc/passwd"), "inside the folder"),
    (change("images", "width", 10**9), "no size"),
    (change("images", "height", 0), "no size"),
    (change("images", "id", "1"), "not in COCO's format"),
    (change("categories", "id", 7.5), "whole number"),
    (change("annotations", "bbox", [0, 0, -1, 1]), "bbox"),
    (change("annotations", "bbox", [0, 0, float("nan"), 1]), "bbox"),
    (change("annotations", "bbox", [0, 0, 1]), "bbox"),
    (change("annotations", "category_id", 8), "no category 8"),
    (change("annotations", "image_id", 99), "no picture 99"),
    (change("annotations", "area", None), "area"),
    (change("annotations", "area", 10**400), "area"),
    (change("annotations", "bbox", [0, 0, 10**400, 1]), "bbox"),
    (change("annotations", "image_id", []), "not in COCO's format"),
    (change("annotations", "iscrowd", 2), "iscrowd"),
    (change("annotations", "segmentation", [[0, 0, 1, 1]]), "3 points"),
    (change("annotations", "segmentation", [[0, 0, 1e9, 1, 1, 1]]), "3 points"),
    (change("annotations", "segmentation", {"size": [HEIGHT, WIDTH], "counts": "compressed"}), "run lengths"),
    (change("annotations", "segmentation", {"size": [HEIGHT, WIDTH], "counts": [5]}), "run lengths"),
    (change("annotations", "segmentation", {"size": [10**6, 10**6], "counts": [10**12]}), "run lengths"),
    (change("categories", "name", 5), "no name"),
    (change("categories", "name", "blue"), "two categories are called 'blue'"),
]


@pytest.mark.parametrize(("damage", "message"), BAD)
def test_annotations_out_of_range_are_refused_by_name(
    damage: Callable[[dict[str, Any]], Any], message: str, folder: Path
) -> None:
    values = read(folder, "val")
    damage(values)
    write(folder, "val", values)
    with pytest.raises(UsageError, match=message):
        open_coco(folder, "val", masks=True)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"images": 5}', "[" * 100_000])
def test_what_is_no_annotation_file_is_refused(text: str, folder: Path) -> None:
    annotations_path(folder, "val").write_text(text)
    with pytest.raises(UsageError):
        open_coco(folder, "val", masks=False)


@pytest.mark.parametrize(
    ("split", "message"),
    [("train", "no such file.*there: val"), ("val2017", "there: val"), ("../val", "not a path"), ("a/b", "not a path")],
)
def test_a_split_that_is_not_there_is_refused(split: str, message: str, folder: Path) -> None:
    with pytest.raises(UsageError, match=message):
        open_coco(folder, split, masks=False)


def test_a_split_is_found_without_its_year_where_there_is_one(tmp_path: Path) -> None:
    folder = draw(tmp_path, "val2014", 2)
    assert Path(open_coco(folder, "val", masks=False).root).name == "val2014"
    draw(tmp_path, "val2017", 2)
    with pytest.raises(UsageError, match="could be val2014 or val2017"):
        open_coco(folder, "val", masks=False)
    assert Path(open_coco(folder, "val2017", masks=False).root).name == "val2017"


class Oracle(nn.Module):
    """Answers what the file says, with every box moved to the right."""

    def __init__(self, dataset: CocoImages, shift: float) -> None:
        super().__init__()
        self.targets = [dataset.sample(place).target for place in range(len(dataset))]
        self.shift = shift

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        target = self.targets.pop(0)
        boxes = target["boxes"] + torch.tensor([self.shift, 0, self.shift, 0])
        masks = target["masks"][:, None].float()
        return [{"boxes": boxes, "labels": target["labels"], "scores": torch.ones(len(boxes)), "masks": masks}]


def test_precision_is_one_for_the_truth_and_zero_far_from_it(folder: Path) -> None:
    dataset = open_coco(folder, "val", masks=True)
    perfect = evaluate(Oracle(dataset, 0.0), dataset)
    assert (perfect.pictures, perfect.objects, perfect.broken) == (4, 4, ())
    assert perfect.boxes.ap == pytest.approx(1.0)
    assert perfect.masks is not None
    assert perfect.masks.ap == pytest.approx(1.0)
    far = evaluate(Oracle(dataset, 60.0), dataset)
    assert far.boxes.ap == pytest.approx(0.0)


def test_categories_are_matched_by_name(folder: Path) -> None:
    dataset = open_coco(folder, "val", masks=True)
    detector = (Category(1, "blue"), Category(2, "green"), Category(3, "red"))
    matched = dataset.matched(detector)
    for place in range(len(dataset)):
        names = [dataset.categories[label - 1].name for label in dataset.sample(place).target["labels"].tolist()]
        assert [detector[label - 1].name for label in matched.sample(place).target["labels"].tolist()] == names
    scores = evaluate(Oracle(matched, 0.0), matched)
    assert scores.boxes.ap == pytest.approx(1.0)
    assert scores.masks is not None and scores.masks.ap == pytest.approx(1.0)
    oracle = Oracle(matched, 0.0)
    for target in oracle.targets:
        target["labels"][:] = 2  # a category that this file lacks
    assert evaluate(oracle, matched).boxes.ap == pytest.approx(0.0)
    (note,) = matched.notes
    assert "lacks classes" in note and "'green'" in note
    assert dataset.matched(dataset.categories) is dataset and not dataset.notes
    with pytest.raises(UsageError, match=r"more than one .*'red'"):  # else one would get all detections
        twice = copy.copy(dataset)
        twice.categories = (*dataset.categories, Category(99, "red"))
        twice.matched(detector)
    with pytest.raises(UsageError, match="'red'; it lacks 'pink'"):
        dataset.matched((Category(1, "blue"), Category(7, "pink")))


def test_a_broken_image_counts_as_one_without_detections(folder: Path) -> None:
    dataset = open_coco(folder, "val", masks=True)
    oracle = Oracle(dataset, 0.0)
    del oracle.targets[1]
    (folder / "val" / "2.png").write_bytes(b"no picture")
    scores = evaluate(oracle, dataset)
    assert len(scores.broken) == 1
    assert scores.boxes.ap is not None
    assert 0.3 < scores.boxes.ap < 1.0


class Silent(nn.Module):
    """Finds nothing."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        none = torch.zeros(0)
        return [{"boxes": none.reshape(0, 4), "labels": none.long(), "scores": none}]


def test_no_detection_at_all_is_zero(folder: Path) -> None:
    assert np.isclose(evaluate(Silent(), open_coco(folder, "val", masks=False)).boxes.ap, 0.0)


@pytest.mark.filterwarnings("error:Mean of empty slice", "error:All-NaN slice")
@pytest.mark.parametrize("objects", [0, 1])
def test_draws_without_objects_count_for_no_interval(objects: int, folder: Path) -> None:
    values = read(folder, "val")
    write(folder, "val", {**values, "annotations": values["annotations"][:objects]})
    found = DetectorEvaluation(evaluate(Silent(), open_coco(folder, "val", masks=False), resamples=8), ())
    assert found.scores.resampled is not None and np.isnan(found.scores.resampled.ap).any()
    assert found.to_dict()["intervals"] == ({"ap": (0.0, 0.0), "ap50": (0.0, 0.0)} if objects else {})
