from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from repghost.data import open_dataset
from repghost.errors import UsageError
from repghost.training.feeds.choose import open_validation
from tests.support.training_sets import make_tree
from tests.support.training_shards import write_shards


def test_shards_for_evaluation_are_matched_with_folders_by_the_names_in_classes_txt(tmp_path: Path) -> None:
    folders = open_dataset(make_tree(tmp_path / "set"), "train")
    shards = write_shards(tmp_path / "val", [6])
    with pytest.raises(UsageError, match=r"'0', '1', '2'.* lacks 'blue', 'green', 'red'"):
        open_validation(tmp_path / "set", shards, "val", folders)
    (tmp_path / "val/classes.txt").write_bytes(b"\xef\xbb\xbfred\ngreen\nblue\n")
    matched = open_validation(tmp_path / "set", shards, "val", folders)
    assert matched.classes == folders.classes == ("blue", "green", "red")
    for index in range(6):
        image, label = matched[index]
        brightest = int(np.asarray(image).mean((0, 1)).argmax())
        assert matched.classes[label] == ("red", "green", "blue")[brightest]


def test_shards_for_evaluation_have_the_names_of_the_shards_trained_on(tmp_path: Path) -> None:
    training = write_shards(tmp_path / "train", [6])
    (tmp_path / "train/classes.txt").write_text("red\ngreen\nblue\n")
    validation = write_shards(tmp_path / "val", [3])
    matched = open_validation(training, validation, "val", open_dataset(training, "train"))
    assert matched.classes == ("red", "green", "blue")
    assert matched.labels.tolist() == [0, 1, 2]
    (tmp_path / "val/classes.txt").write_text("blue\ngreen\nred\n")  # its numbers mean other classes
    matched = open_validation(training, validation, "val", open_dataset(training, "train"))
    assert matched.labels.tolist() == [2, 1, 0]


def test_no_image_may_be_trained_and_evaluated_on(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, 6, 3)
    training = open_dataset(tree, "train")
    with pytest.raises(UsageError, match="is trained on, and each epoch is evaluated on it"):
        open_validation(tree, None, "train", training)
    assert len(open_validation(tree, None, "val", training)) == 3
