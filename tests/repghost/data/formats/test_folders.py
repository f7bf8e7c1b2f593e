"""Folders as people have them: links, litter, other suffixes, other names of splits, splits without class folders."""

from __future__ import annotations

import io
import os
import re
import tarfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repghost.data import MissingSplitError, UnlabelledSplitError, notes_on, open_dataset, prepare
from repghost.data.base import count_repeated, notes_on_calibration
from repghost.data.images.decode import EXTENSIONS, FORMATS, decode_image
from repghost.data.images.preprocess import Preprocess
from repghost.data.names.class_names import from_lines, read_class_names, to_lines
from repghost.errors import UsageError

TINY = Preprocess(size=8, resize=8, interpolation="bilinear")


def write(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), (shade, 0, 0)).save(buffer, "PNG")  # Pillow goes by the content, not by the suffix
    path.write_bytes(buffer.getvalue())
    return path


def make_set(root: Path, split: str = "val", classes: tuple[str, ...] = ("ant", "bee")) -> Path:
    for name in classes:
        write(root / split / name / "1.png")
    return root


def names_in(root: Path, split: str = "val") -> list[str]:
    dataset = open_dataset(root, split)
    return [str(Path(dataset.name(index)).relative_to(root / split)) for index in range(len(dataset))]


def test_linked_folders_are_read_once_and_loops_are_found(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set")
    for number in range(3):
        write(tmp_path / f"elsewhere/deep/{number}.jpg")
    (root / "val/ant/part").symlink_to(tmp_path / "elsewhere")
    (root / "val/ant/again").symlink_to(tmp_path / "elsewhere/deep")
    (root / "val/ant/loop").symlink_to(root / "val/ant")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path)
    (root / "val/bee/itself").symlink_to("itself")
    (root / "val/cow").symlink_to(tmp_path / "elsewhere")  # a class that is a link
    dataset = open_dataset(root, "val")
    assert dataset.classes == ("ant", "bee", "cow")
    assert np.bincount(dataset.labels).tolist() == [4, 1, 3]
    assert any("links" in note and ": 4" in note for note in notes_on(dataset))
    assert any("files without a suffix: 1" in note and "bee/itself" in note for note in notes_on(dataset))


def test_a_link_to_an_image_that_is_gone_is_a_broken_one(tmp_path: Path) -> None:
    root = make_set(tmp_path)
    (root / "val/ant/2.png").symlink_to("absent.png")
    assert len(prepare(open_dataset(root, "val"), TINY).broken) == 1


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "JPG", "apng", "dib", "pbm", "jp2", "tga", "ico", "mpo", "webp"])
def test_every_suffix_of_pillow_is_read(tmp_path: Path, suffix: str) -> None:
    root = make_set(tmp_path)
    write(root / f"val/ant/2.{suffix}", 200)
    prepared = prepare(open_dataset(root, "val"), TINY)
    assert len(prepared.labels) == 3 and prepared.broken == ()


@pytest.mark.parametrize("form", ["JPEG", "MPO", "AVIF", "WEBP", "JPEG2000", "TGA", "PCX", "SGI", "QOI", "ICO", "PPM"])
def test_formats_that_pillow_can_write_are_decoded(form: str) -> None:
    if form == "AVIF" and form not in FORMATS:
        pytest.skip("this Pillow has no AVIF")
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 40)).save(buffer, form)
    assert np.abs(np.asarray(decode_image(buffer.getvalue(), "made"))[16, 16] - [200.0, 30, 40]).max() < 12


def test_formats_that_start_programs_or_unpack_without_a_limit_are_not_read() -> None:
    assert not {"EPS", "WMF", "HDF5", "FITS"} & set(FORMATS)
    assert not {".eps", ".ps", ".wmf", ".h5", ".fits", ".pdf", ".txt"} & EXTENSIONS


def test_litter_is_left_out_at_every_depth_and_counted_by_kind(tmp_path: Path) -> None:
    root = make_set(tmp_path)
    litter = (".ipynb_checkpoints/1.png", "deep/@eaDir/1.png/SYNOPHOTO.jpg", "deep/.cache/x/2.png", "__MACOSX/3.png")
    for name in litter:
        write(root / "val/ant" / name)
    write(root / "val/@eaDir/x.png")
    write(root / "val/.hidden/x.png")
    write(root / "val/stray.png")
    for name in ("ant/notes.txt", "ant/more.txt", "bee/LICENSE", "ant/._1.png", "labels.csv"):
        (root / "val" / name).write_text("no picture")
    assert names_in(root) == ["ant/1.png", "bee/1.png"]
    notes = "\n".join(notes_on(open_dataset(root, "val")))
    for said in (
        f"not read, files that end in .txt: 2 (the first: {root}/val/ant/more.txt)",
        "files that end in .csv: 1",
        "files without a suffix: 1",
        "hidden files: 1",
        "pictures outside the class folders: 1",
        "files in folders called .ipynb_checkpoints: 1",
        "files in folders called @eaDir: 2",
        "files in folders called __MACOSX: 1",
    ):
        assert said in notes
    assert open_dataset(root, "val").classes == ("ant", "bee")


def test_a_clean_set_has_nothing_to_say(tmp_path: Path) -> None:
    assert notes_on(open_dataset(make_set(tmp_path), "val")) == ()


def test_what_is_not_read_of_a_tar_is_counted_too(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("val/a/1.png", "val/a/@eaDir/1.png", "val/a/x.txt", "val/a/.ipynb_checkpoints/1.png", "val/s.png"):
            archive.addfile(tarfile.TarInfo(name))
    dataset = open_dataset(tmp_path / "a.tar", "Val")
    assert [dataset.name(index) for index in range(len(dataset))] == [f"{tmp_path}/a.tar:val/a/1.png"]
    notes = "\n".join(notes_on(dataset))
    for said in ("'val' is read as the split 'Val'", "files that end in .txt: 1", "called @eaDir", "pictures outside"):
        assert said in notes


@pytest.mark.parametrize(
    ("present", "asked"),
    [
        ("valid", "test"), ("Val", "val"), ("testing", "test"), ("Testing", "val"), ("training", "train"),
        ("TRAIN", "train"), ("validation", "valid"), ("val", "validation"),
    ],
)  # fmt: skip
def test_other_names_of_a_split_are_read_and_said(tmp_path: Path, present: str, asked: str) -> None:
    dataset = open_dataset(make_set(tmp_path, present), asked)
    assert len(dataset) == 2
    assert notes_on(dataset) == (f"{tmp_path}: {present!r} is read as the split {asked!r}",)


def test_a_split_of_its_own_name_comes_first(tmp_path: Path) -> None:
    for split in ("val", "valid", "test", "Test"):
        make_set(tmp_path, split)
    assert "/test/" in open_dataset(tmp_path, "test").name(0)
    assert "/val/" in open_dataset(tmp_path, "val").name(0)
    (tmp_path / "test").rename(tmp_path / "TEST")
    with pytest.raises(UsageError, match=r"TEST and Test .*case"):
        open_dataset(tmp_path, "test")


def test_a_folder_above_the_splits_is_named(tmp_path: Path) -> None:
    make_set(tmp_path / "my set")
    with pytest.raises(MissingSplitError, match=f"Give data='{tmp_path}/my set'"):
        open_dataset(tmp_path, "val")


def flat(root: Path, split: str = "val", count: int = 3) -> Path:
    for number in range(count):
        write(root / split / f"ILSVRC2012_val_{number:08}.JPEG")
    return root


KAGGLE = """ImageId,PredictionString
ILSVRC2012_val_00000001,n02 1 2 3 4 n02 5 6 7 8
ILSVRC2012_val_00000000,n01 1 2 3 4
"""
TABS = "\ufeffILSVRC2012_val_00000000.JPEG\tsea lion\t0\t1\nILSVRC2012_val_00000001.JPEG\ta\n"


@pytest.mark.parametrize(
    ("text", "classes", "labels"),
    [
        (KAGGLE, ("n01", "n02"), [0, 1]),
        ("ILSVRC2012_val_00000000.JPEG n02\r\nILSVRC2012_val_00000001.JPEG n01\r\n", ("n01", "n02"), [1, 0]),
        (TABS, ("a", "sea lion"), [1, 0]),
        ("val/ILSVRC2012_val_00000000.JPEG 2\nILSVRC2012_val_00000001.JPEG 0\n", ("0", "1", "2"), [2, 0]),
        ('"ILSVRC2012_val_00000000.JPEG","dog, hot"\nILSVRC2012_val_00000001.JPEG,a', ("a", "dog, hot"), [1, 0]),
    ],
    ids=["Kaggle", "pairs", "tabs", "numbers", "quotes"],
)  # fmt: skip
def test_a_flat_split_is_read_with_a_class_map(
    tmp_path: Path, text: str, classes: tuple[str, ...], labels: list[int]
) -> None:
    (tmp_path / "map.txt").write_bytes(text.encode())
    dataset = open_dataset(flat(tmp_path), "val", tmp_path / "map.txt")
    assert (dataset.classes, dataset.labels.tolist()) == (classes, labels)
    assert getattr(dataset, "by_name") is (classes[0] != "0")  # noqa: B009  # numbers say their order themselves
    assert any("the class map: 1" in note and "00000002" in note for note in notes_on(dataset))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("490\n361\n", "line 1 is '490'"),
        ("ILSVRC2012_val_00000000.JPEG 1\nILSVRC2012_val_00000001.JPEG 1000\n", "1 to 1000.* 0"),
        ("other.JPEG n01\n", "names none of the pictures"),
        ("ILSVRC2012_val_00000000 n01\nILSVRC2012_val_00000000 n02\n", "a second class, 'n02'"),
        ("ILSVRC2012_val_00000000,a\u2028b\n", "U\\+2028"),
        ("ILSVRC2012_val_00000000," + "a" * 140_000, "line 1 cannot be read"),
        ("ImageId,PredictionString\nILSVRC2012_val_00000000,n\x1b[31m 1 2 3 4\n", "line 2"),
    ],
)
def test_a_class_map_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "map.txt").write_text(text)
    with pytest.raises(UsageError, match=message):
        open_dataset(flat(tmp_path), "val", tmp_path / "map.txt")


def test_a_flat_split_without_a_class_map_is_refused_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(UnlabelledSplitError, match=r"Give class_map=FILE .*LOC_val_solution\.csv"):
        open_dataset(flat(tmp_path), "val")
    with pytest.raises(UsageError, match="No such file"):
        open_dataset(tmp_path, "val", tmp_path / "absent.txt")


def make_tiny_imagenet(root: Path) -> Path:
    for wnid in ("n01", "n02"):
        write(root / f"train/{wnid}/images/{wnid}_0.JPEG")
        (root / f"train/{wnid}/{wnid}_boxes.txt").write_text("n01_0.JPEG\t0\t0\t62\t62\n")
    for split in ("val", "test"):
        write(root / split / "images" / f"{split}_0.JPEG")
        write(root / split / "images" / f"{split}_1.JPEG")
    (root / "val/val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t32\t44\t62\nval_1.JPEG\tn01\t52\t55\t57\t59\n")
    return root


@pytest.mark.parametrize("above", ["", "set/"])
def test_a_tar_without_class_folders_is_told_from_one_without_the_split(tmp_path: Path, above: str) -> None:
    image = write(tmp_path / "1.png")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(image, f"{above}train/ant/1.png")
        archive.add(image, f"{above}train/2.png")
        archive.add(image, f"{above}val/1.png")
    with pytest.raises(UnlabelledSplitError, match=r"lie in no class folders.*class_map="):
        open_dataset(tmp_path / "a.tar", "test")
    with pytest.raises(MissingSplitError, match=r"no pictures in calibration/class/"):
        open_dataset(tmp_path / "a.tar", "calibration")
    assert any("outside the class folders: 1" in note for note in notes_on(open_dataset(tmp_path / "a.tar", "train")))


def test_tiny_imagenet_is_read_as_it_is(tmp_path: Path) -> None:
    make_tiny_imagenet(tmp_path)
    train, val, test = (open_dataset(tmp_path, split) for split in ("train", "val", "test"))
    assert train.classes == val.classes == ("n01", "n02")
    assert val.labels.tolist() == [1, 0]
    assert test.name(0) == val.name(0)  # its test images have no labels
    assert notes_on(test) == (f"{tmp_path}: 'val' is read as the split 'test'",)  # not that its classes were not read


def rename(root: bytes, name: bytes) -> None:
    os.rename(root + b"/val/bee", root + b"/val/" + name)  # noqa: PTH104  # bytes are no path


def test_a_class_that_is_not_utf8_is_refused_when_the_set_is_opened(tmp_path: Path) -> None:
    rename(os.fsencode(make_set(tmp_path)), "靴子".encode("gbk"))
    with pytest.raises(UsageError) as error:
        open_dataset(tmp_path, "val")
    assert all(told in str(error.value) for told in (f"{tmp_path}/val", r"b'\xd1\xa5\xd7\xd3'", "UTF-8"))


def test_a_set_that_is_not_called_in_utf8_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    root = make_set(Path(os.fsdecode(os.fsencode(tmp_path) + b"/set\xff")))
    with pytest.raises(UsageError, match=r"b'set\\xff'.*UTF-8"):
        open_dataset(root, "val")
    assert len(open_dataset(make_set(root / "inside"), "val")) == 2  # the names of folders above are in no file


def test_a_class_map_beside_class_folders_is_said_not_to_be_read(tmp_path: Path) -> None:
    make_set(tmp_path)
    (tmp_path / "map.txt").write_text("1.png bee\n")
    dataset = open_dataset(tmp_path, "val", tmp_path / "map.txt")
    (note,) = notes_on(dataset)
    assert note.startswith(f"{tmp_path}/val: ") and "class_map= is not read" in note


@pytest.mark.parametrize("mark", ["\n", "\r", "\t", "\x1b[2J", "\x85", "\u2028", "\u2029", "\x1c"])
def test_a_class_that_is_not_one_line_is_refused_when_the_set_is_opened(tmp_path: Path, mark: str) -> None:
    make_set(tmp_path, classes=("ant", f"b{mark}e"))
    with pytest.raises(UsageError, match=f"U\\+{ord(mark[0]):04X}") as error:
        open_dataset(tmp_path, "val")
    assert mark not in str(error.value)


def test_composed_and_decomposed_accents_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "9_Stövel") for form in ("NFC", "NFD"))
    assert open_dataset(make_set(tmp_path / "a", classes=(composed,)), "val").classes == (composed,)
    dataset = open_dataset(make_set(tmp_path / "b", classes=(decomposed, "ant")), "val")
    assert dataset.classes == (composed, "ant")
    assert "decomposed accents" in notes_on(dataset)[0]
    both = open_dataset(make_set(tmp_path / "c", classes=(composed, decomposed)), "val")
    assert (both.classes, both.labels.tolist()) == ((composed,), [0, 0])
    assert "also where both are there" in notes_on(both)[0]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\n")
    assert read_class_names(path) == ("cat", "dog")
    path.write_bytes("cat\u2028dog\nbird\n".encode())
    with pytest.raises(UsageError, match=r"U\+2028"):
        read_class_names(path)
    path.write_bytes("cat\ndog".encode("utf-16"))
    with pytest.raises(UsageError, match="not UTF-8"):
        read_class_names(path)


def test_labels_of_a_network_come_back_from_labels_txt_as_they_were() -> None:
    labels = ("sea  lion ", "a\u2028b", "c\x85d", "e\rf", "\u00a0g", "", "Stövel")
    assert from_lines(to_lines(labels)) == labels
    assert from_lines(to_lines(("tench\nTinca",))) == ("tench Tinca",)
    assert to_lines(labels).count(b"\n") == len(labels)  # the runner counts line feeds
    assert from_lines(b"") == ()


def test_copies_of_an_image_are_counted(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set")  # the same image in both classes
    write(root / "val/ant/2.png", shade=9)
    images = prepare(open_dataset(root, "val"), TINY).images
    assert count_repeated(images) == 1
    assert re.match("1 of 3 .*copies", notes_on_calibration(images)[0])
    assert count_repeated(images[1:]) == 0 and notes_on_calibration(images[1:]) == ()
    assert count_repeated(images[:0]) == 0
