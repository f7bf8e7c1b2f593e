from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import repghost
from repghost.api.dataset import place_of
from repghost.data import MissingSplitError
from repghost.errors import UsageError
from tests.support.small_classifier import CLASSES, write_set


def test_splits_are_attributes_and_say_what_they_are(tmp_path: Path) -> None:
    data = repghost.open_dataset(write_set(tmp_path / "colours", ("train", "val")))
    assert data.splits == ("train", "calibration", "test")
    assert len(data.train) == 12 and data.train.classes == CLASSES
    assert repr(data.test) == "test of colours: 12 pictures of 3 classes"
    assert data.test.notes == (f"{tmp_path / 'colours'}: 'val' is read as the split 'test'",)
    assert data.calibration.labels.tolist() == data.train.labels.tolist()
    own = repghost.open_dataset(write_set(tmp_path / "own", ("train", "calibration")))
    assert "/calibration/" in own.calibration.name(0)
    assert "bright" in data.test._repr_html_() and "calibration" in data._repr_html_()
    assert data.to_dict()["splits"]["test"]["pictures_per_class"] == [4, 4, 4]


def test_taking_some_images_keeps_the_classes_even(tmp_path: Path) -> None:
    test = repghost.open_dataset(write_set(tmp_path)).test
    few = test.take(6, seed=1)
    assert len(few) == 6 and sorted(few.labels.tolist()) == [0, 0, 1, 1, 2, 2]
    assert [label for _, label in few] == few.labels.tolist()
    assert all(few.name(index) in {test.name(place) for place in range(12)} for index in range(6))
    with pytest.raises(UsageError, match="13 pictures were asked for"):
        test.take(13)


def test_what_a_set_lacks_is_one_sentence(tmp_path: Path) -> None:
    data = repghost.open_dataset(write_set(tmp_path, ("test",)))
    assert data.splits == ("test",)
    for split in ("train", "calibration"):
        with pytest.raises(MissingSplitError) as raised:
            getattr(data, split)
        assert "train" in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_what_is_no_set_is_refused_when_it_is_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError):
        repghost.open_dataset(tmp_path / name)


def test_functions_that_open_splits_take_a_set_or_its_path(tmp_path: Path) -> None:
    folder, lines = write_set(tmp_path / "set"), tmp_path / "classes.txt"
    pictures = write_set(tmp_path / "other") / "train"
    shutil.rmtree(tmp_path / "other" / "test")
    for given in (folder, str(folder), repghost.open_dataset(folder)):
        assert vars(place_of(given)).items() >= {"path": folder, "class_map": None, "val_share": None}.items()
    assert place_of(repghost.open_dataset(folder, lines)).class_map == lines
    assert place_of(repghost.open_dataset(pictures, None, 0.3)).val_share == 0.3
    assert place_of(repghost.open_dataset(pictures, None, 0.3), val_share=0.1).val_share == 0.1
    with pytest.raises(UsageError, match="open_dataset returned, not Split"):
        place_of(repghost.open_dataset(folder).train)  # type: ignore[arg-type]
