from __future__ import annotations

import gzip
import io
import pickle
import re
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander

from repghost.data import ImageError, MissingSplitError, open_dataset
from repghost.data.formats.shards import open_shards, shard_paths, split_of
from repghost.errors import ToolMissingError, UsageError, install_command
from tests.support.training_sets import made_set
from tests.support.training_shards import png, write_shards

GREY = png(np.full((4, 4, 3), 90, np.uint8))


def tar(path: Path, *members: tuple[str, bytes], **changes: Any) -> Path:
    """Write a tar; `changes` are set on the header of its first member."""
    with tarfile.open(path, "w") as archive:
        for place, (name, data) in enumerate(members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in changes.items() if place == 0 else ():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_images_are_those_that_the_package_reads_itself(tmp_path: Path) -> None:
    pattern = write_shards(tmp_path / "train", [5, 3, 4])
    dataset, made = open_dataset(pattern, "train"), made_set(12)
    expected = []
    for path in shard_paths(pattern):
        with path.open("rb") as file:
            expected.extend(group_by_keys(tar_file_expander([{"url": str(path), "stream": file}])))
    assert len(dataset) == len(expected) == 12
    for index, sample in enumerate(expected):
        image, label = dataset[index]
        assert np.array_equal(np.asarray(image), made.images[index])
        assert label == int(sample["cls"]) == made.labels[index]
        assert dataset.name(index).endswith(f"{sample['__key__']}.png")
    assert dataset.classes == ("0", "1", "2")


def test_class_names_come_from_a_file_beside_the_shards(tmp_path: Path) -> None:
    pattern = write_shards(tmp_path, [6])
    (tmp_path / "classes.txt").write_text("red\ngreen\nblue\n")
    assert open_shards(pattern, "train").classes == ("red", "green", "blue")
    for text, message in (("red\nred\nblue\n", "another name"), ("red\n", "outside the 1 classes"), ("", "one line")):
        (tmp_path / "classes.txt").write_text(text)
        with pytest.raises(UsageError, match=message):
            open_shards(pattern, "train")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("shards/{0..9}.tar", "train"), ("imagenet-train-{0..9}.tar", "train"), ("val/{0..9}.tar", "val"),
        ("train/imagenet_validation_{0..9}.tar", "validation"), ("test/deep/{0..9}.tar", "train"),
    ],
)  # fmt: skip
def test_the_name_says_the_split(name: str, split: str) -> None:
    assert split_of(Path(name)) == split


def test_shards_of_one_split_are_not_taken_for_another(tmp_path: Path) -> None:
    training, validation = write_shards(tmp_path / "train", [6]), write_shards(tmp_path / "val", [6])
    with pytest.raises(MissingSplitError, match="by their name these shards are 'train'"):
        open_dataset(training, "test")
    assert len(open_dataset(validation, "test")) == 6  # as a folder 'val' is where there is no 'test'
    with pytest.raises(MissingSplitError):
        open_dataset(validation, "calibration")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{000000..000003}.tar", "000002.tar: no such file, and 2 of the 4"),
        ("{000000..000001.tar", "do not match"),
        ("{000000,000000}.tar", "twice"),
        ("{0..999999999}.tar", "more than 100000"),
        ("{0..999}{0..999}.tar", "more than 100000"),
        ("pipe:touch {000000..000001}.tar", "no such file"),
    ],
)
def test_names_that_mean_no_shards_are_refused(tmp_path: Path, name: str, message: str) -> None:
    write_shards(tmp_path, [2, 2])
    with pytest.raises(UsageError, match=message):
        open_shards(tmp_path / name, "train")


SAMPLE = (("a.png", GREY), ("a.cls", b"0"))
HOSTILE: dict[str, tuple[dict[str, Any], tuple[tuple[str, bytes], ...], str]] = {
    "link": ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0}, SAMPLE, "is a link"),
    "hard link": ({"type": tarfile.LNKTYPE, "linkname": "b.png", "size": 0}, SAMPLE, "is a link"),
    "device": ({"type": tarfile.CHRTYPE, "size": 0}, SAMPLE, "a device"),
    "pipe": ({"type": tarfile.FIFOTYPE, "size": 0}, SAMPLE, "a device"),
    "upwards": ({"name": "../a.png"}, SAMPLE, "leads out"),
    "absolute": ({"name": "/a.png"}, SAMPLE, "leads out"),
    "twice": ({}, (*SAMPLE, ("a.png", GREY)), "duplicate"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_members_are_refused(tmp_path: Path, kind: str) -> None:
    changes, members, message = HOSTILE[kind]
    tar(tmp_path / "0.tar", *members, **changes)
    with pytest.raises(UsageError, match=message) as raised:
        open_shards(tmp_path / "{0..0}.tar", "train")
    assert str(tmp_path / "0.tar") in str(raised.value)


def enlarged(data: bytes) -> bytes:
    """Give the first header another size, with its checksum."""
    info = tarfile.TarInfo("a.png")
    info.size = 8 << 30
    return info.tobuf(tarfile.GNU_FORMAT) + data[512:]


def sparse(data: bytes) -> bytes:
    info = tarfile.TarInfo("a.png")
    info.size, info.type = 0, tarfile.GNUTYPE_SPARSE
    return info.tobuf(tarfile.GNU_FORMAT) + data[512 + 512 :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:600], "not a whole"),
        (lambda data: data[:512] + data[520:], "bad checksum; it is damaged"),
        (lambda data: data[: 512 * 7 + 40], "unexpected end"),
        (lambda data: b"", "not a whole"),
        (lambda data: bytes(range(256)) * 10, "not a whole"),
        (gzip.compress, "not a whole"),
        (enlarged, "are allowed"),
        (sparse, "sparse"),
    ],
    ids=["cut", "shifted", "cut at its end", "empty", "noise", "compressed", "huge", "sparse"],
)  # fmt: skip
def test_damaged_shards_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = tar(tmp_path / "0.tar", *SAMPLE, ("b.png", GREY), ("b.cls", b"1"))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UsageError, match=message):
        open_shards(tmp_path / "{0..0}.tar", "train")


class Payload:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was run",))


def test_samples_without_image_or_label_are_named_and_left_out(tmp_path: Path) -> None:
    payload = pickle.dumps(Payload())
    members = [
        *SAMPLE, ("b.png", GREY), ("c.cls", b"1"), ("d.png", GREY), ("d.cls", b"cat"), ("e.png", GREY),
        ("e.cls", b"9" * 40), ("f.png", GREY), ("f.jpg", GREY), ("f.cls", b"1"), ("g.pyd", payload), ("g.cls", b"1"),
        ("g.png", GREY), ("g.pickle", payload), ("h.cls", payload), ("h.png", GREY),
    ]  # fmt: skip
    tar(tmp_path / "0.tar", *members)
    dataset = open_shards(tmp_path / "{0..0}.tar", "train")
    assert [dataset.name(index).rsplit(":", 1)[1] for index in range(len(dataset))] == ["a.png", "g.png"]
    assert [message.split("'")[1] for message in dataset.broken] == ["b", "c", "d", "e", "f", "h"]


def test_a_shard_without_images_says_what_it_has(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", ("a.png", GREY))
    with pytest.raises(UsageError, match=r"The first: .*'a' has no label"):
        open_shards(tmp_path / "{0..0}.tar", "train")


def test_a_image_that_went_away_is_named(tmp_path: Path) -> None:
    pattern = write_shards(tmp_path, [4])
    dataset, path = open_shards(pattern, "train"), tmp_path / "000000.tar"
    path.write_bytes(path.read_bytes()[:1200])
    with pytest.raises(ImageError, match=r"000000\.tar:00000003\.png"):
        dataset[3]
    path.unlink()
    with pytest.raises(ImageError, match="cannot be read"):
        dataset[0]


@pytest.mark.parametrize("module", ["webdataset.tariterators", "braceexpand"])
def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    pattern = write_shards(tmp_path, [2])
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ToolMissingError, match=re.escape(install_command("webdataset"))):
        open_shards(pattern, "train")
