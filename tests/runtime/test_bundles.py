"""repghost-runtime checks every promise of a bundle before it loads anything of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import repghost_runtime
from repghost_runtime import IntegrityError, Model, RepGhostError, UsageError
from repghost_runtime import library as loading
from tests.support.damaged_bundles import FILE_CHANGES, MANIFEST_CHANGES, PYTHON_ONLY, RAW_MANIFESTS, edit, set_entry
from tests.support.reseal import reseal

# What this package does not read of a manifest is for those who make bundles.
NOT_READ = {"unknown key", "missing section", "section of another type", "input that preprocess does not make"}
READ = {name: change for name, change in PYTHON_ONLY.items() if name not in NOT_READ}


@pytest.fixture
def copy(host_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(host_bundle, tmp_path / "copy" / "bundle"))


@pytest.fixture
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: bytes) -> None:
        raise AssertionError("a damaged bundle was loaded")

    monkeypatch.setattr(loading, "_load", load)


def refused(bundle: Path) -> None:
    with pytest.raises(IntegrityError) as error:
        Model(bundle)
    assert error.value.exit_code == 6
    assert "\n" not in str(error.value)


CHANGES = {**MANIFEST_CHANGES, **READ, "larger than all": set_entry("size", 1 << 40)}


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    "change", [it for name, it in CHANGES.items() if "channels" not in name and "size 0" not in name]
)
def test_a_damaged_manifest(copy: Path, change: Callable[[dict[str, object]], None]) -> None:
    edit(copy, change)
    refused(copy)


@pytest.mark.parametrize("name", ["input of size 0", "channels that preprocess does not make"])
def test_other_sizes_than_those_of_the_library(copy: Path, name: str) -> None:
    edit(copy, PYTHON_ONLY[name])
    refused(copy)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("text", RAW_MANIFESTS.values(), ids=RAW_MANIFESTS.keys())
def test_a_manifest_that_is_none(copy: Path, text: bytes) -> None:
    (copy / "manifest.json").write_bytes(text)
    refused(copy)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("file", ["model.so", "vectors.bin", "manifest.json"])
@pytest.mark.parametrize("name", FILE_CHANGES)
def test_a_changed_file(copy: Path, file: str, name: str) -> None:
    if file == "manifest.json" and name in ("removed", "truncated", "extended"):
        return  # no bundle, or another one: its digest is asked for below
    FILE_CHANGES[name](copy / file)
    refused(copy)


@pytest.mark.usefixtures("nothing_is_loaded")
def test_a_foreign_file_and_another_digest(copy: Path) -> None:
    with pytest.raises(IntegrityError, match=r"is the bundle [0-9a-f]{64}, not 0123"):
        Model(copy, digest="0123")
    (copy / "extra\n.so").touch()
    with pytest.raises(IntegrityError, match=r"extra\\n.so"):
        Model(copy)


def test_a_bundle_by_its_digest(host_bundle: Path) -> None:
    digest = Model(host_bundle).bundle.digest
    assert Model(host_bundle, digest=digest[:12].upper()).bundle.digest == digest


@pytest.mark.parametrize("where", ["missing", "."])
def test_no_bundle_at_all(tmp_path: Path, where: str) -> None:
    with pytest.raises(UsageError, match="bundle"):
        Model(tmp_path / where)


def test_a_library_with_more_classes_than_its_manifest_says(copy: Path) -> None:
    """A manifest that fits its files, but makes the caller give too little memory."""
    reseal(copy, "labels.txt", b"one\ntwo\n")
    edit(copy, lambda manifest: manifest.update(classes=2))
    with pytest.raises(IntegrityError, match=r"10 classes, but the manifest says \(8, 8, 3\) and 2"):
        Model(copy)


def test_other_recorded_scores(copy: Path) -> None:
    data = bytearray((copy / "vectors.bin").read_bytes())
    data[-1] ^= 1
    reseal(copy, "vectors.bin", bytes(data))
    with pytest.raises(IntegrityError, match="1 of 12 recorded images gave other scores"):
        Model(copy).verify()
    reseal(copy, "vectors.bin", bytes(data[:-1]))
    with pytest.raises(IntegrityError, match="not for this network"):
        Model(copy).verify()


def test_a_manifest_that_names_no_instruction_sets(copy: Path) -> None:
    edit(copy, lambda manifest: manifest.update(variants=5, target="arm64"))
    with pytest.raises(UsageError, match="the bundle has what its manifest does not say"):
        Model(copy, variant="neon9")


def test_a_library_that_is_none(copy: Path) -> None:
    reseal(copy, "model.so", b"\x7fELF, or not")
    with pytest.raises(RepGhostError, match=r"model.so cannot be loaded"):
        Model(copy)


def test_where_the_system_has_no_anonymous_files(host_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(loading.os, "memfd_create")
    assert Model(host_bundle).verify() == 12


def test_the_names_of_the_package() -> None:
    assert all(hasattr(repghost_runtime, name) for name in repghost_runtime.__all__)
