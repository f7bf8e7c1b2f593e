from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from repghost.data import ImageError, ImageSet, notes_on
from repghost.data.formats.imagefolder import FolderSet
from repghost.data.names.class_names import in_natural_order
from repghost.errors import UsageError
from repghost.evaluation.classes import match_classes, match_names, numbered_labels, reordering

NUMBERS = tuple(str(number) for number in range(1, 11))  # as their network has them
SORTED = tuple(sorted(NUMBERS))  # 1, 10, 2, ...


def folders(*classes: str, by_name: bool = True) -> FolderSet:
    """One image per class, in the order of the classes."""
    paths = tuple(Path(f"{name}/0.png") for name in classes)
    return FolderSet(classes, paths, np.arange(len(classes)), by_name)


def names_of(classes: tuple[str, ...], labels: NDArray[np.int64]) -> list[str]:
    return [classes[label] for label in labels.tolist()]


def test_labels_of_the_network_place_every_class_by_its_name() -> None:
    matched = match_classes(folders(*SORTED), 10, NUMBERS)
    assert matched.classes == NUMBERS
    assert names_of(matched.classes, matched.labels) == list(SORTED)
    with pytest.raises(ImageError):
        matched[0]  # its file does not exist, which is what the set says
    assert matched.name(3) == "3/0.png"


def test_a_set_in_the_order_of_the_network_stays_as_it_is() -> None:
    dataset = folders("a", "b")
    assert match_classes(dataset, 2, ("a", "b")) is dataset
    assert match_classes(dataset, 2) is dataset


def lacking(dataset: ImageSet) -> set[str]:
    """Return the classes that the only note on a set says are lacking."""
    (note,) = notes_on(dataset)
    assert "lacks classes" in note
    return set(re.findall("'([^']*)'", note.rpartition(":")[2]))


def test_the_classes_that_a_split_has_keep_their_places_where_others_are_lacking() -> None:
    matched = match_classes(folders("a", "c"), 3, ("a", "b", "c"))
    assert matched.labels.tolist() == [0, 2]
    assert matched.classes == ("a", "b", "c")
    assert lacking(matched) == {"b"}


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (("a", "b"), ("a", "b", "c"), "not among .* 2: 'c'"),
        (("a", "b"), ("a", "x"), "'x'.* lacks 'b'"),
        (("a", "a"), ("a",), "more than one .*'a'"),
        (None, ("a",), "2 classes, .* 1"),
        (None, tuple("abcdefg"), r"'a'.*\(7 in all\).*class_order=FILE"),
    ],
)
def test_other_classes_are_refused_by_name(
    labels: tuple[str, ...] | None, classes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        match_classes(folders(*classes), 2, labels)


@pytest.mark.parametrize("classes", [SORTED, ("class10", "class2"), ("Banana", "apple"), ("Zebra", "Ärmel")])
def test_an_order_that_tools_do_not_agree_on_is_asked_for(classes: tuple[str, ...]) -> None:
    dataset = folders(*sorted(classes))
    with pytest.raises(UsageError, match=r"class_order='characters' .*class_order='natural'.*class_order=FILE"):
        match_classes(dataset, len(classes))
    assert match_classes(dataset, len(classes), order="characters").classes == dataset.classes
    natural = match_classes(dataset, len(classes), order="natural")
    assert getattr(natural, "by_name")  # noqa: B009  # numbers of shards are no places among its classes
    assert natural.classes == in_natural_order(classes)
    assert names_of(natural.classes, natural.labels) == list(dataset.classes)


@pytest.mark.parametrize("classes", [("ant", "bee"), ("n01440764", "n01443537"), ("Ant", "Bee"), ("été", "œuf")])
def test_an_order_that_all_tools_share_is_not_asked_for(classes: tuple[str, ...]) -> None:
    assert match_classes(folders(*classes), 2).classes == classes


def test_a_set_that_gives_its_order_is_not_asked_for_it() -> None:
    assert match_classes(folders(*NUMBERS, by_name=False), 10).classes == NUMBERS


def test_numbers_are_places_also_where_the_last_ones_are_lacking() -> None:
    matched = match_classes(folders("0", "1", by_name=False), 4)
    assert (matched.classes, matched.labels.tolist()) == (("0", "1", "2", "3"), [0, 1])
    assert lacking(matched) == {"2", "3"}
    with pytest.raises(UsageError, match=r"4 classes, .* 2"):
        match_classes(folders("a", "b", by_name=False), 4)
    with pytest.raises(UsageError, match=r"4 classes, .* 5"):
        match_classes(folders(*"01234", by_name=False), 4)
    with pytest.raises(UsageError, match=r"classes\.txt .*class_map="):
        match_classes(folders("0", "1", by_name=False), 2, ("ant", "bee"))


def test_a_class_without_a_picture_is_said_to_be_lacking() -> None:
    dataset = FolderSet(("a", "b"), (Path("b/0.png"),), np.asarray([1]))
    for labels in (("a", "b"), None):
        matched = match_classes(dataset, 2, labels)
        assert matched.labels.tolist() == [1]
        assert lacking(matched) == {"a"}


def test_a_file_gives_the_order(tmp_path: Path) -> None:
    file = tmp_path / "order.txt"
    file.write_bytes("\ufeffc\r\na\r\nb\r\n".encode())
    matched = match_classes(folders("a", "c"), 3, order=str(file))
    assert matched.classes == ("c", "a", "b")
    assert matched.labels.tolist() == [1, 0]
    assert match_classes(folders("a", "c"), 3, numbered_labels(3), str(file)).classes == ("c", "a", "b")
    with pytest.raises(UsageError, match=r" 3 classes.* 4"):
        match_classes(folders("a", "c"), 4, order=str(file))
    with pytest.raises(UsageError, match=r"class 0 .*'c'.*'a'"):
        match_classes(folders("a"), 3, ("a", "b", "c"), str(file))
    with pytest.raises(UsageError, match=r"absent\.txt.*natural, characters"):
        match_classes(folders("a"), 1, order="absent.txt")


def test_labels_of_the_network_count_where_an_order_is_given_too() -> None:
    assert match_classes(folders(*SORTED), 10, NUMBERS, "characters").classes == NUMBERS


def test_numbers_of_any_length_have_a_natural_order() -> None:
    assert in_natural_order(["a" + "1" * 5000, "a2", "b"]) == ("a2", "a" + "1" * 5000, "b")


@pytest.mark.parametrize("order", ["natural", "characters"])
def test_an_order_that_nobody_asked_for_is_said_to_change_nothing(order: str) -> None:
    matched = match_classes(folders(*SORTED), len(SORTED), SORTED, order)
    assert matched.classes == SORTED and matched.labels.tolist() == list(range(len(SORTED)))
    (note,) = notes_on(matched)
    assert f"class_order={order!r} changed nothing" in note


def test_accents_and_line_breaks_have_one_meaning() -> None:
    labels = (unicodedata.normalize("NFD", "Stövel"), "tench\nTinca")
    matched = match_classes(folders(unicodedata.normalize("NFC", "Stövel"), "tench Tinca"), 2, labels)
    assert matched.labels.tolist() == [0, 1]
    assert matched.classes == labels


def test_networks_are_compared_class_by_class() -> None:
    assert reordering(("a", "b"), ("a", "b")) is None
    places = reordering(("a", "b", "c"), ("c", "a", "b"))
    assert places is not None and places.tolist() == [1, 2, 0]
    with pytest.raises(UsageError, match="'b', 'x'"):
        reordering(("a", "b"), ("a", "x"))
    assert match_names((), ("a",)).tolist() == []
