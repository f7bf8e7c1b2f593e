"""Every writer killed at every rename: what is there is the old or the new, and the next run sweeps the rest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from benchmarks.shared.documents import Markers, Section, write_section
from calib.qdq.writer import serialize
from calib.quantize import Quantized
from calib.settings.config import QuantConfig
from compile.bundle.manifest import check_bundle, write_bundle
from compile.bundle.vectors import Vectors, pack_vectors
from compile.report.run_report import finish_report
from compile.storage import files as storage_files
from compile.storage.files import write_folder_atomically
from compile.storage.kernel_store import KernelStore
from compile.storage.stage_cache import StageCache
from compile.summary.collect import collect, find_files
from compile.summary.output import write_all
from compile.targets.table import X86_64
from repghost import files
from repghost.api import quantized
from repghost.api.quantized import write_quantized
from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.checkpoints.state_file import write_values
from repghost.data.images.preprocess import Preprocess
from repghost.files import sweep, write_bytes_atomically
from repghost.network.model import RepGhostNet
from repghost.training.state.epoch_log import write_log
from repghost.training.state.state import EpochRecord
from tests.support.fake_bundle import fake_sections
from tests.support.kills import STEPS, content, killed_at_each, leftovers
from tests.support.lively_network import lively_model
from tests.support.summary_cases import run_report, write_runs

PREPROCESS = Preprocess(size=32, resize=32).to_dict()
Writer = Callable[[Path, int], object]  # writes version 1 or 2 into a folder


@cache
def model(version: int) -> RepGhostNet:
    """Made before the children are: in them PyTorch has lost its threads."""
    return lively_model(version)


def bundle_files(version: int) -> dict[str, bytes]:
    files = dict.fromkeys(("model.so", "repghost-run", "repghost.h", "vectors.bin"), bytes([version]) * 1000)
    classes = int(fake_sections(X86_64)["classes"])  # type: ignore[call-overload]
    return {**files, "labels.txt": b"".join(b"class %d\n" % index for index in range(classes))}


def bundle(folder: Path, version: int) -> object:
    return write_bundle(folder / "arm64" / "int8", bundle_files(version), fake_sections(X86_64))


def cache_entry(folder: Path, version: int) -> object:
    entry, key = {"a.bin": bytes(1000), "b.bin": b"b"}, {"x": 1}
    place = StageCache(folder).place("stage", key)
    if version == 1:
        return write_folder_atomically(place, {"a.bin": b"damaged"})
    return StageCache(folder).get("stage", key, lambda: entry)


def checkpoint(folder: Path, version: int) -> object:
    return write_checkpoint(folder / "m.safetensors", model(version), PREPROCESS, None, {"epoch": version})


def run_folder(folder: Path, version: int) -> None:
    """What an epoch of training writes: best weights, state, log."""
    record = EpochRecord(version, 1.0, 0.5, 0.1, 2.0, 100.0)
    write_checkpoint(folder / "best.safetensors", model(version), PREPROCESS)
    write_values(folder / "state.pt", 1, {"model": {"a": torch.full((100,), float(version))}})
    write_log(folder, [replace(record, epoch=epoch + 1) for epoch in range(version)])


def qdq(folder: Path, version: int) -> None:
    made = Quantized(onnx.ModelProto(ir_version=version), None, SimpleNamespace(notes=(), observers={}), "")  # type: ignore[arg-type]
    write_quantized(folder / "m.qdq.onnx", made, QuantConfig(equalize=version == 2), None)
    assert onnx.load(folder / "m.qdq.onnx") == onnx.ModelProto.FromString(serialize(made.onnx))


def report(folder: Path, version: int) -> object:
    made = run_report("repghostnet_0_5x", version / 100, 1.0)
    for build in made["builds"]:
        build["latency"] = {"measured": False, "reason": "a test", "command": f"version {version}"}
    return finish_report(folder, made)


def summary(folder: Path, version: int) -> None:
    runs = folder.parent / f"runs {version}"
    if not runs.exists():
        write_runs(runs, run_report("repghostnet_0_5x", version / 100, float(version)))
    made = replace(collect(find_files([runs])), made=f"version {version}")
    write_all(made, folder)


def vectors(folder: Path, version: int) -> None:
    images = np.full((2, 4, 4, 3), version, np.uint8)
    write_bytes_atomically(folder / "vectors.bin", pack_vectors(Vectors(images, np.zeros((2, 3), np.float32))))


def docs(folder: Path, version: int) -> None:
    markers = Markers("<!-- begin -->", "<!-- end -->", "the table belongs")
    write_section(folder, Section("host", markers, lambda value: f"{value['version']}"), {"version": version})


WHOLE_FOLDERS = {"bundle": bundle, "cache entry": cache_entry}
SINGLE_FILES = {
    "checkpoint": checkpoint,
    "training": run_folder,
    "QDQ": qdq,
    "report": report,
    "summary": pytest.param(summary, marks=pytest.mark.slow),
    "vectors": vectors,
    "docs": docs,
}


def old_and_new(write: Writer, folder: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return what two versions leave in a folder, and leave the first one there."""
    write(folder, 1)
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    write(folder, 2)
    versions = content(kept), content(folder)
    assert versions[0] != versions[1] and not leftovers(folder)
    shutil.rmtree(folder)
    kept.rename(folder)
    return versions


def restore(folder: Path, versions: dict[str, bytes]) -> None:
    for name, data in versions.items():
        (folder / name).write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("write", WHOLE_FOLDERS.values(), ids=WHOLE_FOLDERS.keys())
def test_a_folder_whose_writer_is_killed_is_the_old_or_the_new_one(write: Writer, tmp_path: Path) -> None:
    folder = tmp_path / "place"
    old, new = old_and_new(write, folder)
    deaths = 0
    for deaths in killed_at_each(lambda: write(folder, 2), STEPS):
        assert content(folder) in (old, new), f"killed before step {deaths}"
        write(folder, 1)
        assert content(folder) == old
    assert deaths > 5
    write(folder, 2)
    assert content(folder) == new and not leftovers(folder)


@pytest.mark.slow
@pytest.mark.parametrize("write", SINGLE_FILES.values(), ids=SINGLE_FILES.keys())
def test_every_file_is_the_old_or_the_new_one(write: Writer, tmp_path: Path) -> None:
    folder = tmp_path / "place"
    old, new = old_and_new(write, folder)
    deaths = 0
    for deaths in killed_at_each(lambda: write(folder, 2)):
        found = content(folder)
        wrong = [name for name, data in found.items() if data not in (old.get(name), new.get(name))]
        assert set(old) <= set(found) and not wrong, f"killed before step {deaths}"
        restore(folder, old)
    assert deaths >= len(new)
    write(folder, 2)
    assert content(folder) == new and not leftovers(folder)


def test_a_quantized_file_and_its_settings_are_of_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, held = files.write_bytes_atomically, []

    def watched(path: Path, data: bytes, mode: int = 0o644) -> None:
        held.append((path.name, (tmp_path / ".m.qdq.onnx.lock").exists()))
        write(path, data, mode)

    for place in (files, quantized):
        monkeypatch.setattr(place, "write_bytes_atomically", watched)
    qdq(tmp_path, 1)
    assert held == [("m.qdq.config.json", True), ("m.qdq.onnx", True)]


def test_where_folders_cannot_be_exchanged_the_next_run_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_files, "_exchange", lambda first, second: False)
    folder = tmp_path / "place"
    old, new = old_and_new(bundle, folder)
    absent = 0
    for deaths in killed_at_each(lambda: bundle(folder, 2)):
        absent += not content(folder)
        sweep(folder / "arm64")
        assert content(folder) in (old, new) and not leftovers(folder), f"killed before step {deaths}"
        bundle(folder, 1)
    assert absent, "the moment between two renames was not met"


def test_a_kernel_whose_writer_is_killed_is_absent_or_whole(tmp_path: Path) -> None:
    store, key = KernelStore(tmp_path), "a" * 64
    found = [store.get(key) for _ in killed_at_each(lambda: store.put(key, b"code"), STEPS)]
    assert len(found) >= 2 and set(found) <= {None, b"code"}
    store.shrink()
    assert not leftovers(tmp_path)


def test_a_bundle_that_is_not_right_leaves_the_earlier_one(tmp_path: Path) -> None:
    bundle(tmp_path, 1)
    before = content(tmp_path)
    broken = {**bundle_files(2), "labels.txt": b"one class\n"}
    with pytest.raises(
        Exception, match=r"arm64/int8 is as it was: .*/arm64/int8: labels\.txt names 1 classes"
    ) as caught:
        write_bundle(tmp_path / "arm64" / "int8", broken, fake_sections(X86_64))
    assert caught.value.exit_code == 6  # type: ignore[attr-defined]
    assert content(tmp_path) == before and not leftovers(tmp_path)
    assert check_bundle(tmp_path / "arm64" / "int8").read("model.so") == bytes([1]) * 1000


def test_what_a_living_process_writes_is_not_swept(tmp_path: Path) -> None:
    with storage_files.temporary_folder(tmp_path / "place") as folder:
        (folder / "file").write_bytes(b"")
        sweep(tmp_path)
        assert (folder / "file").exists()
    for name in (".place.abcdefgh.tmp", ".gitignore", ".a.tmp", "place.abcdefgh.tmp", ".place.ABCDEFGH.tmp"):
        (tmp_path / name).write_bytes(b"")
    sweep(tmp_path, "other")
    assert len(list(tmp_path.iterdir())) == 5
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4, "only what has a name of ours"
