"""The drawn shapes are the same everywhere, and the page of detection says what its JSON does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from benchmarks.detection.measure import MARKERS, TRAINED, render
from benchmarks.detection.shapes import KINDS, draw_set
from repghost.detection.data.coco import open_coco
from tests.support import ROOT


def test_shapes_follow_from_the_seed_and_are_a_set_in_cocos_format(tmp_path: Path) -> None:
    splits = {"train": 6, "val": 3}
    for name in ("one", "two"):
        draw_set(tmp_path / name, splits)
    first, second = (tmp_path / name / "annotations" / "instances_val.json" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    digests = [
        hashlib.sha256((tmp_path / name / "val" / "0002.png").read_bytes()).hexdigest() for name in ("one", "two")
    ]
    assert digests[0] == digests[1]
    dataset = open_coco(tmp_path / "one", "train", masks=False)
    assert tuple(category.name for category in dataset.categories) == KINDS
    assert len(dataset.trainable()) == 6
    sizes = {tuple(dataset.sample(place).image.shape[1:]) for place in range(6)}
    assert len(sizes) == 6  # of different proportions


def test_objects_lie_where_the_annotations_say(tmp_path: Path) -> None:
    draw_set(tmp_path, {"val": 5})
    dataset = open_coco(tmp_path, "val", masks=False)
    for place in range(5):
        sample = dataset.sample(place)
        for left, top, right, bottom in sample.target["boxes"].round().int().tolist():
            inside = sample.image[:, (top + bottom) // 2, (left + right) // 2]
            corner = sample.image[:, max(top - 3, 0), max(left - 3, 0)]
            assert 0 <= left < right <= sample.image.shape[2] and 0 <= top < bottom <= sample.image.shape[1]
            assert np.abs(inside.numpy() - corner.numpy()).max() > 0.05


def test_the_page_says_what_was_measured() -> None:
    found = json.loads((ROOT / "docs/detection.json").read_text())
    page = (ROOT / "docs/detection.md").read_text()
    assert MARKERS.replace(page, render(found), "docs/detection.md") == page
    ap50 = [form["boxes"]["ap50"] for form in found["forms"]]
    assert ap50[0] >= 0.8  # of float
    assert ap50[0] - ap50[1] <= 0.01  # what the integers lose
    assert found["forms"][1]["boxes"] == found["forms"][2]["boxes"]  # a build is the integer program
    assert found["forms"][3]["form"] == TRAINED and ap50[0] - ap50[3] <= 0.01
    assert found["count"]["whole"]["total"] <= 0.65 * found["peers"][0]["instructions"]
    assert set(found["verified"]) >= {"neon", "dot", "i8mm"}
