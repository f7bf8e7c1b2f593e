"""A folder of classes without splits is cut in two, and what is none is told from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repghost.data import MissingSplitError, notes_on, open_dataset
from repghost.errors import UsageError


def write(root: Path, **classes: int) -> Path:
    """Write so many images of each class."""
    for name, count in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.new("RGB", (4, 4)).save(root / name / f"{number}.png")
    return root


def names(root: Path, split: str, share: float | None = None) -> set[str]:
    dataset = open_dataset(root, split, val_share=share)
    return {str(Path(dataset.name(place)).relative_to(root)) for place in range(len(dataset))}


def test_a_folder_of_classes_is_cut_in_two(tmp_path: Path) -> None:
    root = write(tmp_path / "set", ant=40, bee=10, cow=2)
    trained, held = open_dataset(root, "train"), open_dataset(root, "test")
    assert trained.classes == held.classes == ("ant", "bee", "cow")
    assert np.bincount(held.labels).tolist() == [8, 2, 1]
    assert names(root, "train") | names(root, "val") == {str(it.relative_to(root)) for it in root.glob("*/*.png")}
    assert not names(root, "train") & names(root, "test")
    assert notes_on(trained) == notes_on(held)
    assert "11 of its 52 pictures are held out to evaluate on (val_share=0.2 of each class" in notes_on(held)[0]


def test_the_cut_depends_on_names_alone(tmp_path: Path) -> None:
    root = write(tmp_path / "set", ant=12, bee=12)
    copied = tmp_path / "elsewhere" / "other"
    shutil.copytree(root, copied)
    assert names(root, "test") == names(copied, "test")
    expected = {
        "ant/2.png",
        "ant/1.png",
        "bee/2.png",
        "bee/0.png",
    }  # the lowest of sha256sum over "0/ant/0.png" and so on
    assert names(root, "test") == expected
    assert names(root, "test", 0.1) < names(root, "test", 0.2) < names(root, "test", 0.5)


def test_images_to_train_on_calibrate(tmp_path: Path) -> None:
    with pytest.raises(MissingSplitError, match="no split 'calibration'"):
        open_dataset(write(tmp_path / "set", ant=3, bee=3), "calibration")


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 20.0])
def test_a_share_is_between_nothing_and_everything(tmp_path: Path, share: float) -> None:
    with pytest.raises(UsageError, match="above 0 and below 1, such as 0\\.2"):
        open_dataset(write(tmp_path / "set", ant=3, bee=3), "train", val_share=share)


@pytest.mark.parametrize(
    ("classes", "message"),
    [({"ant": 5}, "one class only, 'ant'; a network needs at least two"),
     ({"ant": 5, "bee": 1}, "fewer than 2 pictures of 'bee'")],
)  # fmt: skip
def test_too_little_is_said(tmp_path: Path, classes: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_dataset(write(tmp_path / "set", **classes), "train")


def test_folders_called_as_splits_are_no_classes(tmp_path: Path) -> None:
    with pytest.raises(MissingSplitError, match="no split 'train'"):
        open_dataset(write(tmp_path / "coco", train2017=3, val2017=3), "train")
    root = write(tmp_path / "set" / "train", ant=3, bee=3).parent
    with pytest.raises(MissingSplitError, match=r"give data='.*set/train', of which a part is held out"):
        open_dataset(root, "test")
    assert len(open_dataset(root / "train", "test")) == 2  # all that there is
    write(root / "val", ant=3, bee=3)
    with pytest.raises(MissingSplitError, match=r"is one split of a set.*give the folder that holds the splits"):
        open_dataset(root / "train", "test")
    with pytest.raises(UsageError, match=r"has its splits already \(train, val\)"):
        open_dataset(root, "train", val_share=0.3)


def test_the_folder_that_is_meant_is_named(tmp_path: Path) -> None:
    write(tmp_path / "set", ant=3, bee=3)
    with pytest.raises(MissingSplitError, match=r"Give data='.*/set'"):
        open_dataset(tmp_path, "train")
    with pytest.raises(MissingSplitError, match=r"lie in no class folders.*/ant/CLASS/picture\.jpg"):
        open_dataset(tmp_path / "set" / "ant", "train")


def test_a_share_is_refused_where_nothing_is_cut(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(UsageError, match="has no effect on"):
        open_dataset(tmp_path / "a.tar", "train", val_share=0.2)
