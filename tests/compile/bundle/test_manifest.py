from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compile.bundle.manifest import MANIFEST, check_bundle, write_bundle
from compile.bundle.vectors import Vectors, pack_vectors, unpack_vectors
from compile.storage import files as files_module
from compile.storage.files import write_folder_atomically
from compile.storage.strict_json import canonical_json, parse_strict
from compile.targets.table import Target
from repghost.errors import IntegrityError, UsageError
from tests.support.damaged_bundles import FILE_CHANGES, MANIFEST_CHANGES, PYTHON_ONLY, RAW_MANIFESTS, edit
from tests.support.fake_bundle import LABELS, fake_sections
from tests.support.fake_network import expected_logits, random_images

REFUSAL = (2, 6)  # the runner's exit codes for "no bundle" and "changed"


@pytest.fixture
def copy(host_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(host_bundle, tmp_path / "copy"))


def runner_refuses(host_bundle: Path, path: Path) -> bool:
    command = [str(host_bundle / "repghost-run"), "--info", "--bundle", str(path)]
    done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    return done.returncode in REFUSAL and not done.stdout


def test_a_bundle_is_read_back(host_bundle: Path, host: Target) -> None:
    bundle = check_bundle(host_bundle)
    assert bundle.target_name == host.name
    assert bundle.labels() == LABELS
    assert bundle.digest == files_module.sha256((host_bundle / MANIFEST).read_bytes())
    assert os.access(host_bundle / "repghost-run", os.X_OK)


def test_the_same_inputs_give_the_same_bytes(host_files: dict[str, bytes], host: Target, tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "a", host_files, fake_sections(host))
    second = write_bundle(tmp_path / "b", dict(reversed(host_files.items())), fake_sections(host))
    assert first.digest == second.digest


@pytest.mark.parametrize("change", MANIFEST_CHANGES.values(), ids=MANIFEST_CHANGES.keys())
def test_a_changed_manifest_is_refused(copy: Path, host_bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    edit(copy, change)
    with pytest.raises(IntegrityError, match=r".{20}"):
        check_bundle(copy)
    assert runner_refuses(host_bundle, copy)


@pytest.mark.parametrize("change", PYTHON_ONLY.values(), ids=PYTHON_ONLY.keys())
def test_sections_are_checked(copy: Path, change: Callable[[dict[str, Any]], None]) -> None:
    edit(copy, change)
    with pytest.raises(IntegrityError):
        check_bundle(copy)


@pytest.mark.parametrize("content", RAW_MANIFESTS.values(), ids=RAW_MANIFESTS.keys())
def test_a_foreign_manifest_is_refused(copy: Path, host_bundle: Path, content: bytes) -> None:
    (copy / MANIFEST).write_bytes(content)
    with pytest.raises(IntegrityError):
        check_bundle(copy)
    assert runner_refuses(host_bundle, copy)


@pytest.mark.parametrize("change", FILE_CHANGES.values(), ids=FILE_CHANGES.keys())
@pytest.mark.parametrize("name", ["model.so", "labels.txt"])
def test_a_changed_file_is_refused(copy: Path, host_bundle: Path, name: str, change: Callable[[Path], None]) -> None:
    change(copy / name)
    with pytest.raises(IntegrityError):
        check_bundle(copy)
    assert runner_refuses(host_bundle, copy)


@pytest.mark.parametrize("name", ["extra", "model.so.1", ".hidden"])
def test_an_added_file_is_refused(copy: Path, host_bundle: Path, name: str) -> None:
    (copy / name).write_bytes(b"")
    with pytest.raises(IntegrityError, match="does not name"):
        check_bundle(copy)
    assert runner_refuses(host_bundle, copy)


def test_no_bundle_is_a_wrong_argument(tmp_path: Path, host_bundle: Path) -> None:
    for path in (tmp_path / "absent", tmp_path, host_bundle / "model.so"):
        with pytest.raises(UsageError):
            check_bundle(path)
        assert runner_refuses(host_bundle, path)


def test_nothing_is_left_when_writing_fails(
    host_files: dict[str, bytes], host: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bundle"
    before = write_bundle(path, host_files, fake_sections(host)).digest
    real = files_module.write_new_file

    def full_disk(target: Path, data: bytes, mode: int = 0o644) -> None:
        if target.name == "repghost-run":
            raise OSError(28, "No space left on device")
        real(target, data, mode)

    monkeypatch.setattr(files_module, "write_new_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(path, host_files, fake_sections(host) | {"precision": "other"})
    assert check_bundle(path).digest == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]


def test_a_failed_rename_brings_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder"
    write_folder_atomically(path, {"a": b"old"})
    real = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise OSError(5, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    monkeypatch.setattr(files_module, "_exchange", lambda first, second: False)
    with pytest.raises(OSError, match="Input/output"):
        write_folder_atomically(path, {"a": b"new"})
    assert (path / "a").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="in the way"):
        write_folder_atomically(tmp_path / "file", {"a": b""})


@pytest.mark.parametrize(
    "change",
    [lambda files: files.pop("labels.txt"), lambda files: files.update(extra=b"")],
    ids=["missing", "extra"],
)
def test_a_wrong_set_of_files_is_not_written(
    host_files: dict[str, bytes], host: Target, tmp_path: Path, change: Callable[[dict[str, bytes]], object]
) -> None:
    files = dict(host_files)
    change(files)
    with pytest.raises(UsageError, match="exactly"):
        write_bundle(tmp_path / "bundle", files, fake_sections(host))
    assert not list(tmp_path.iterdir())


def test_strict_json_round_trip() -> None:
    value = {"b": [1, 2.5, None, True], "a": {"ä": "x"}}
    assert parse_strict(canonical_json(value), "x") == value


def test_vectors_round_trip() -> None:
    images = random_images(5)
    vectors = Vectors(images[:, :5, :7], expected_logits(images), 0.25)
    back = unpack_vectors(pack_vectors(vectors))
    assert np.array_equal(back.images, vectors.images)
    assert back.logits.tobytes() == vectors.logits.tobytes()
    assert back.tolerance == 0.25


def test_grey_vectors_say_so() -> None:
    grey = Vectors(np.arange(2 * 4 * 6, dtype=np.uint8).reshape(2, 4, 6, 1), np.ones((2, 3), np.float32))
    data = pack_vectors(grey)
    np.testing.assert_array_equal(unpack_vectors(data).images, grey.images)
    assert data[28:32] == b"\1\0\0\0"
    assert pack_vectors(Vectors(np.repeat(grey.images, 3, axis=3), grey.logits))[28:32] == bytes(4)
    with pytest.raises(IntegrityError, match="pictures of 5 channels"):
        unpack_vectors(data[:28] + b"\5" + data[29:])


def test_damaged_vectors_are_refused() -> None:
    images = random_images(2)
    data = pack_vectors(Vectors(images, expected_logits(images)))
    for damaged in (b"", data[:31], data[:-1], data + b"\0", b"X" + data[1:], data[:8] + b"\xff" * 4 + data[12:]):
        with pytest.raises(IntegrityError):
            unpack_vectors(damaged)


@pytest.mark.parametrize(
    ("images", "logits"),
    [
        (random_images(2), expected_logits(random_images(3))),
        (random_images(2).astype(np.int8), expected_logits(random_images(2))),
        (random_images(2), expected_logits(random_images(2)).astype(np.float64)),
        (random_images(2), expected_logits(random_images(2)) * np.float32(np.nan)),
        (random_images(2)[:0], expected_logits(random_images(2))[:0]),
    ],
)
def test_wrong_vectors_are_not_written(images: np.ndarray, logits: np.ndarray) -> None:
    with pytest.raises(UsageError):
        pack_vectors(Vectors(images, logits))


def test_reading_a_bundle_needs_neither_torch_nor_tvm(host_bundle: Path) -> None:
    code = (
        "import sys, repghost; repghost.load(sys.argv[1]);"
        "wrong = {'torch', 'tvm', 'onnx'} & set(sys.modules); sys.exit(str(wrong) if wrong else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(host_bundle)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
