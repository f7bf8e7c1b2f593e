from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from repghost.data import ImageSet, MissingSplitError, open_dataset, prepare, prepare_in_parts
from repghost.data.formats.arrays import ArraySet
from repghost.data.formats.cifar10 import CLASSES as CIFAR_CLASSES
from repghost.data.formats.fashion_mnist import CLASSES as FASHION_CLASSES
from repghost.data.formats.fashion_mnist import read_idx, write_idx
from repghost.data.images.preprocess import Preprocess
from repghost.data.subset import choose_balanced
from repghost.errors import UsageError
from tests.support import SHARED

CIFAR_TAR = SHARED / "data/cifar10_jpeg.tar.xz"
TINY = Preprocess(size=8, resize=8, interpolation="bilinear")


def noise(seed: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(seed, (9, 7, 3))).save(buffer, "PNG")
    return buffer.getvalue()


def make_tree(root: Path, split: str = "train") -> Path:
    for label, name in enumerate(["cat", "bird", "ant"]):  # not in alphabetical order on purpose
        (root / split / name).mkdir(parents=True)
        for number in range(2):
            (root / split / name / f"{number}.PNG").write_bytes(png(label * 10 + number))
    return root


def make_idx(folder: Path, split: str = "train", suffix: str = ".gz", count: int = 20) -> Path:
    write_idx(folder / f"{split}-images-idx3-ubyte{suffix}", noise(1, (count, 28, 28)))
    write_idx(folder / f"{split}-labels-idx1-ubyte{suffix}", np.arange(count, dtype=np.uint8) % 10)
    return folder


def make_tar(path: Path, mode: str = "w:gz", names: dict[str, bytes] | None = None) -> Path:
    names = names or {f"./train/{kind}/{number}.png": png(number) for kind in ("cat", "ant") for number in (1, 0)}
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def make_cifar(folder: Path, binary: bool = False, protocol: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(
        ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]
    ):
        images, labels = noise(seed, (4, 3072)), [(seed + number) % 10 for number in range(4)]
        if binary:
            rows = np.concatenate([np.asarray(labels, np.uint8)[:, None], images], axis=1)
            (folder / f"{name}.bin").write_bytes(rows.tobytes())
        else:
            content = {b"batch_label": b"batch", b"labels": labels, b"data": images, b"filenames": [b"a", b"b"]}
            (folder / name).write_bytes(pickle.dumps(content, protocol=protocol))
    return folder


def check_contract(dataset: ImageSet) -> None:
    assert len(dataset) == len(dataset.labels) > 0
    assert dataset.labels.dtype == np.int64
    names = [dataset.name(index) for index in range(len(dataset))]
    assert len(set(names)) == len(names)
    for index in range(len(dataset)):
        image, label = dataset[index]
        assert image.mode == "RGB"
        assert label == dataset.labels[index]
        assert 0 <= label < len(dataset.classes)


def test_imagefolder_is_sorted_by_name(tmp_path: Path) -> None:
    dataset = open_dataset(make_tree(tmp_path), "train")
    check_contract(dataset)
    assert dataset.classes == ("ant", "bird", "cat")
    assert dataset.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(np.asarray(dataset[5][0]), noise(1, (9, 7, 3)))  # cat/1.PNG


@pytest.mark.parametrize(("present", "asked"), [("val", "test"), ("validation", "test"), ("test", "val")])
def test_imagefolder_split_synonyms(tmp_path: Path, present: str, asked: str) -> None:
    assert len(open_dataset(make_tree(tmp_path, present), asked)) == 6


def test_imagefolder_skips_hidden_folders_other_files_and_link_loops(tmp_path: Path) -> None:
    make_tree(tmp_path)
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / "train" / "cat" / "loop").symlink_to(tmp_path / "train")
    dataset = open_dataset(tmp_path, "train")
    assert dataset.classes == ("ant", "bird", "cat")
    assert len(dataset) == 6


@pytest.mark.parametrize("split", ["validate", "../train", "", "."])
def test_imagefolder_names_the_splits_it_has(tmp_path: Path, split: str) -> None:
    with pytest.raises(MissingSplitError, match="train"):
        open_dataset(make_tree(tmp_path), split)


@pytest.mark.parametrize("asked", ["train", "test"])
def test_classes_where_a_split_is_expected_are_recognized(tmp_path: Path, asked: str) -> None:
    make_tree(tmp_path)
    make_tree(tmp_path, "val")
    with pytest.raises(MissingSplitError, match="is one split of a set, with the classes ant, bird, cat; give the fol"):
        open_dataset(tmp_path / "train", asked)


def test_the_files_macos_leaves_beside_images_are_none(tmp_path: Path) -> None:
    root = make_tree(tmp_path)
    (root / "train/cat/._0.PNG").write_bytes(b"\0\5\x16\7")
    assert len(open_dataset(root, "train")) == 6
    names = {"train/a/1.png": png(1), "train/a/._1.png": b"\0\5\x16\7"}
    assert open_dataset(make_tar(tmp_path / "mac.tar", "w", names), "train").names == ("train/a/1.png",)


def test_imagefolder_without_classes_or_images(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(UsageError, match="no class folders"):
        open_dataset(tmp_path, "train")
    (tmp_path / "train" / "cat").mkdir()
    with pytest.raises(UsageError, match="no pictures"):
        open_dataset(tmp_path, "train")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("subfolder", [".", "raw", "FashionMNIST/raw"])
def test_fashion_mnist_layouts(tmp_path: Path, subfolder: str, suffix: str) -> None:
    make_idx(tmp_path / subfolder, "train", suffix)
    make_idx(tmp_path / subfolder, "t10k", suffix, 10)
    dataset = open_dataset(tmp_path, "train")
    check_contract(dataset)
    assert dataset.classes == FASHION_CLASSES
    assert len(dataset) == 20
    assert np.array_equal(np.asarray(dataset[7][0])[..., 1], noise(1, (20, 28, 28))[7])
    assert len(open_dataset(tmp_path, "test")) == 10
    with pytest.raises(MissingSplitError, match="train, test"):
        open_dataset(tmp_path, "calibration")


def test_fashion_mnist_calibration_split(tmp_path: Path) -> None:
    assert len(open_dataset(make_idx(tmp_path, "calibration", count=12), "calibration")) == 12


IDX = bytes((0, 0, 8, 1, 0, 0, 0, 4)) + b"abcd"


@pytest.mark.parametrize(
    "data", [b"", IDX[:6], IDX[:-1], IDX + b"e", bytes((0, 0, 9, 1)) + IDX[4:], bytes((0, 0, 8, 3)) + IDX[4:]]
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_broken_idx_file_is_named(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    path.write_bytes(gzip.compress(data) if suffix else data)
    with pytest.raises(UsageError, match=path.name):
        read_idx(path, 1)


def test_a_file_is_not_blamed_for_missing_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> bytes:
        raise zlib.error("Error -4 while decompressing data")

    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress(IDX))
    monkeypatch.setattr(gzip.GzipFile, "read", fail)
    with pytest.raises(zlib.error):
        read_idx(path, 1)


def test_a_huge_header_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "pictures"
    path.write_bytes(bytes((0, 0, 8, 3)) + b"\xff" * 12)
    with pytest.raises(UsageError, match="promises"):
        read_idx(path, 3)


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_a_truncated_gzip_is_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress(IDX)[:-cut])
    with pytest.raises(UsageError, match=r"labels\.gz"):
        read_idx(path, 1)


def test_idx_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    array = noise(4, (3, 5, 6))
    for name in ("a.gz", "b.gz", "c"):
        write_idx(tmp_path / name, array)
        assert np.array_equal(read_idx(tmp_path / name, 3), array)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_counts_and_labels_must_fit(tmp_path: Path) -> None:
    make_idx(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.zeros(19, np.uint8))
    with pytest.raises(UsageError, match="20 pictures but 19 labels"):
        open_dataset(tmp_path, "train")
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.full(20, 10, np.uint8))
    with pytest.raises(UsageError, match="0 to 9"):
        open_dataset(tmp_path, "train")


@pytest.mark.parametrize(
    ("folder", "binary"), [("cifar-10-batches-py", False), ("cifar-10-batches-bin", True), (".", False)]
)
def test_cifar10_versions(tmp_path: Path, folder: str, binary: bool) -> None:
    make_cifar(tmp_path / folder, binary)
    train, test = open_dataset(tmp_path, "train"), open_dataset(tmp_path, "test")
    check_contract(train)
    assert train.classes == CIFAR_CLASSES
    assert (len(train), len(test)) == (20, 4)
    planes = noise(5, (4, 3072))[2].reshape(3, 32, 32)
    assert np.array_equal(np.asarray(test[2][0]), planes.transpose(1, 2, 0))
    assert test.labels.tolist() == [5, 6, 7, 8]
    with pytest.raises(MissingSplitError, match="train, test"):
        open_dataset(tmp_path, "calibration")


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
def test_cifar10_pickle_protocols(tmp_path: Path, protocol: int) -> None:
    assert len(open_dataset(make_cifar(tmp_path, protocol=protocol), "train")) == 20


def python2_pickle(images: NDArray[np.uint8], labels: list[int]) -> bytes:
    """The published files: written by Python 2 and numpy 1, whose strings are bytes without an encoding."""

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<I", len(value)) + value

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"t" + text(b"b") + b"tR"
    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + number(0) + number(1) + b"tR"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    shape = b"(" + number(images.shape[0]) + number(images.shape[1]) + b"t"
    array = empty + b"(" + number(1) + shape + dtype + b"I00\n" + text(images.tobytes()) + b"tb"
    values = text(b"data") + array + text(b"labels") + b"](" + b"".join(map(number, labels)) + b"e"
    return b"\x80\x02}(" + values + b"u."


def test_the_published_cifar10_pickles(tmp_path: Path) -> None:
    make_cifar(tmp_path)
    images = noise(9, (3, 3072))
    (tmp_path / "test_batch").write_bytes(python2_pickle(images, [1, 2, 3]))
    dataset = open_dataset(tmp_path, "test")
    assert dataset.labels.tolist() == [1, 2, 3]
    assert np.array_equal(np.asarray(dataset[1][0]), images[1].reshape(3, 32, 32).transpose(1, 2, 0))


class Payload:
    def __init__(self, function: Any, argument: str) -> None:
        self.call = (function, (argument,))

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("function", [os.system, os.mkdir, eval, exec, __import__, open])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, function: Any) -> None:
    make_cifar(tmp_path)
    trap = tmp_path / "trap"
    argument = {os.system: f"touch {trap}", os.mkdir: str(trap)}.get(function, f"__import__('os').mkdir({str(trap)!r})")
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Payload(function, argument)}, protocol=2))
    with pytest.raises(UsageError, match="does not need"):
        open_dataset(tmp_path, "test")
    assert not trap.exists()


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {b"data": b"text", b"labels": [1]},
        {b"data": np.zeros((2, 3072), np.float32), b"labels": [1, 2]},
        {b"data": np.zeros((2, 100), np.uint8), b"labels": [1, 2]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 99]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": ["a", "b"]},
        {b"data": np.zeros((2, 3072), np.uint8)},
    ],
)
def test_an_unfit_pickle_is_refused(tmp_path: Path, content: Any) -> None:
    make_cifar(tmp_path)
    (tmp_path / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UsageError):
        open_dataset(tmp_path, "test")


def test_truncated_cifar10_is_named(tmp_path: Path) -> None:
    make_cifar(tmp_path)
    data = (tmp_path / "test_batch").read_bytes()
    for length in (0, 1, 20, len(data) // 2, len(data) - 1):
        (tmp_path / "test_batch").write_bytes(data[:length])
        with pytest.raises(UsageError, match="test_batch"):
            open_dataset(tmp_path, "test")
    (tmp_path / "data_batch_3").unlink()
    with pytest.raises(UsageError, match="data_batch_3 is missing"):
        open_dataset(tmp_path, "train")


@pytest.mark.parametrize(
    ("name", "mode"), [("a.tar", "w"), ("a.tgz", "w:gz"), ("a.tar.xz", "w:xz"), ("a.tar.bz2", "w:bz2")]
)
def test_tar_kinds(tmp_path: Path, name: str, mode: str) -> None:
    dataset = open_dataset(make_tar(tmp_path / name, mode), "train")
    check_contract(dataset)
    assert dataset.classes == ("ant", "cat")
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(np.asarray(dataset[3][0]), noise(1, (9, 7, 3)))


def test_tar_takes_regular_images_of_the_split_only(tmp_path: Path) -> None:
    path = tmp_path / "mixed.tar"
    with tarfile.open(path, "w") as archive:
        for name in (
            "test/a/0.png",
            "train/a/0.png",
            "train/../escape/0.png",
            "/train/a/abs.png",
            "train/a/n.txt",
            "x.png",
        ):
            member = tarfile.TarInfo(name)
            member.size = len(png(0))
            archive.addfile(member, io.BytesIO(png(0)))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo(f"train/a/special{kind.decode()}.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    before = sorted(tmp_path.iterdir())
    dataset = open_dataset(path, "train")
    assert [dataset.name(index) for index in range(len(dataset))] == [f"{path}:train/a/0.png"]
    assert sorted(tmp_path.iterdir()) == before  # nothing is unpacked


def test_tar_may_have_a_folder_above_the_splits(tmp_path: Path) -> None:
    names = {f"./imagenette/{split}/{kind}/1.png": png(1) for split in ("train", "val") for kind in ("b", "a")}
    dataset = open_dataset(make_tar(tmp_path / "a.tgz", names=names), "test")
    assert dataset.classes == ("a", "b") and dataset.name(0).endswith("val/a/1.png")
    nested = {"train/val/deep/1.png": png(1), "val/a/1.png": png(2)}  # a class called val is no split
    assert open_dataset(make_tar(tmp_path / "b.tgz", names=nested), "val").classes == ("a",)
    both = {f"{root}/train/a/1.png": png(1) for root in ("one", "two")}
    with pytest.raises(UsageError, match="two sets, one and two"):
        open_dataset(make_tar(tmp_path / "c.tgz", names=both), "train")


def test_tar_names_the_splits_it_has(tmp_path: Path) -> None:
    with pytest.raises(MissingSplitError, match="train"):
        open_dataset(make_tar(tmp_path / "a.tar.gz"), "test")


@pytest.mark.parametrize("data", [b"", b"text", bytes(5000), b"\x1f\x8b\x08" + bytes(50), b"\xfd7zXZ\x00" + bytes(50)])
def test_a_broken_tar_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.tar"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"broken\.tar"):
        open_dataset(path, "train")


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_a_truncated_tar_is_named(tmp_path: Path, part: float) -> None:
    path = make_tar(tmp_path / "cut.tar.xz", "w:xz")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(UsageError, match=r"cut\.tar\.xz"):
        open_dataset(path, "train")


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR_TAR.exists(), reason="the CIFAR-10 archive is not on this machine")
def test_the_cifar10_archive() -> None:
    dataset = open_dataset(CIFAR_TAR, "test")
    assert dataset.classes == CIFAR_CLASSES
    assert np.bincount(dataset.labels).tolist() == [1000] * 10
    assert dataset[9999][0].size == (32, 32)


def test_the_images_of_the_package_are_none_to_train_on() -> None:
    with pytest.raises(MissingSplitError, match=r"found: test, calibration\..* train on pictures of your own"):
        open_dataset("bundled", "train")


def test_what_is_no_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        open_dataset(tmp_path / "absent", "train")
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    with pytest.raises(UsageError, match=r"\.tar\.xz"):
        open_dataset(tmp_path / "a.rar", "train")


def test_a_zip_is_refused_with_the_command_that_unpacks_it(tmp_path: Path) -> None:
    (tmp_path / "my set.zip").write_bytes(b"PK")
    with pytest.raises(UsageError) as error:
        open_dataset(tmp_path / "my set.zip", "train")
    assert f"python3 -m zipfile -e '{tmp_path}/my set.zip' '{tmp_path}/my set'" in str(error.value)
    assert f"data='{tmp_path}/my set'" in str(error.value)


def test_prepare_names_and_counts_broken_images(tmp_path: Path) -> None:
    make_tree(tmp_path)
    bad = tmp_path / "train" / "bird" / "0.PNG"
    bad.write_bytes(bad.read_bytes()[:40])
    thin = tmp_path / "train" / "cat" / "0.PNG"
    Image.new("L", (1, 60000)).save(thin)
    dataset = open_dataset(tmp_path, "train")
    prepared = prepare(dataset, Preprocess(size=224, resize=256))
    assert prepared.indices.tolist() == [0, 1, 3, 5]
    assert prepared.labels.tolist() == [0, 0, 1, 2]
    assert prepared.images.shape == (4, 224, 224, 3)
    assert [str(bad) in message or str(thin) in message for message in prepared.broken] == [True, True]


def test_prepare_notices_a_file_that_vanished(tmp_path: Path) -> None:
    dataset = open_dataset(make_tree(tmp_path), "train")
    (tmp_path / "train" / "cat" / "1.PNG").unlink()
    prepared = prepare(dataset, TINY)
    assert len(prepared.labels) == 5
    assert "cat/1.PNG" in prepared.broken[0]


def test_prepare_keeps_the_asked_order_and_reports_progress(tmp_path: Path) -> None:
    dataset = open_dataset(make_tree(tmp_path), "train")
    seen: list[int] = []

    def progress(indices: Any) -> Any:
        for index in indices:
            seen.append(index)
            yield index

    prepared = prepare(dataset, TINY, [4, 0, 5], progress)
    assert seen == prepared.indices.tolist() == [4, 0, 5]
    for place, index in enumerate(seen):
        assert np.array_equal(prepared.images[place], TINY.apply(dataset[index][0]))


def test_prepare_refuses_a_set_without_a_usable_image(tmp_path: Path) -> None:
    make_tree(tmp_path)
    for path in (tmp_path / "train").rglob("*.PNG"):
        path.write_bytes(b"broken")
    with pytest.raises(UsageError, match=r"no usable picture among 6.*0\.PNG"):
        prepare(open_dataset(tmp_path, "train"), TINY)
    with pytest.raises(UsageError, match="at least one"):
        prepare(open_dataset(tmp_path, "train"), TINY, [])


def test_parts_are_the_whole(tmp_path: Path) -> None:
    make_tree(tmp_path)
    (tmp_path / "train" / "ant" / "0.PNG").write_bytes(b"broken")
    (tmp_path / "train" / "ant" / "1.PNG").write_bytes(b"broken")
    dataset = open_dataset(tmp_path, "train")
    whole, parts = prepare(dataset, TINY), list(prepare_in_parts(dataset, TINY, size=2))
    assert [len(part.labels) for part in parts] == [0, 2, 2]
    for field in ("images", "labels", "indices", "broken"):
        assert np.array_equal(np.concatenate([getattr(part, field) for part in parts]), getattr(whole, field))


def test_prepare_refuses_what_does_not_fit_into_memory() -> None:
    made = ArraySet("made", ("a",), noise(0, (1, 4, 4)), np.zeros(1, np.int64))
    many = np.broadcast_to(np.zeros(1, np.int64), 10**7)
    with pytest.raises(UsageError, match="take fewer pictures"):
        prepare(made, Preprocess(size=4096, resize=4096), many)


def test_array_set_takes_grey_and_colour() -> None:
    for shape in ((5, 6, 7), (5, 6, 7, 3)):
        check_contract(ArraySet("made", ("a", "b"), noise(0, shape), np.asarray([0, 1, 1, 0, 1])))


@pytest.mark.parametrize(("count", "largest_difference"), [(30, 0), (31, 1), (3, 0), (1, 1)])
def test_choose_balanced(count: int, largest_difference: int) -> None:
    labels = np.repeat(np.arange(3), 100)
    chosen = choose_balanced(labels, count, seed=5)
    assert len(np.unique(chosen)) == count
    assert np.array_equal(chosen, np.sort(chosen))
    counts = np.bincount(labels[chosen], minlength=3)
    assert counts.max() - counts.min() <= largest_difference
    assert np.array_equal(chosen, choose_balanced(labels, count, seed=5))
    if count > 3:
        assert not np.array_equal(chosen, choose_balanced(labels, count, seed=6))


def test_choose_balanced_leaves_out_the_excluded_and_fills_up_from_larger_classes() -> None:
    labels = np.repeat(np.arange(3), [2, 50, 50])
    exclude = np.arange(2, 60)
    chosen = choose_balanced(labels, 30, seed=0, exclude=exclude)
    assert not np.isin(chosen, exclude).any()
    assert (labels[chosen] == 0).sum() == 2
    assert len(choose_balanced(labels, 44, 0, exclude)) == 44
    for count in (0, 45):
        with pytest.raises(UsageError, match="1 to 44"):
            choose_balanced(labels, count, 0, exclude)
