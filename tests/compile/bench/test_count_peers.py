"""Other runtimes under the counter: the marks are the counter's own, a result becomes text and rows of the page."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compile.bench import emulated_python
from compile.bench.count import CPUS, FIRST_STEP, WHOLE, CountedCpu
from compile.bench.count_page import render_peer_counts
from compile.bench.count_peers import PeerCounter
from compile.bench.count_peers import _count as count_form
from compile.bench.counter_build import COUNTER_SOURCES
from compile.bench.emulated_python import WHEELS, EmulatedPython, fetch_emulated_python, find_emulated_python
from compile.bench.peers import HALF, PEERS, counted
from compile.bench.processes import ask
from compile.machine import debian_packages as debian
from compile.machine.emulator import Emulator
from compile.summary.collect import collect
from compile.summary.facts import Agreement
from compile.targets.table import ARMV7, TARGETS, X86_64, Target
from repghost.api.benchmarks import counted as api
from repghost.errors import RepGhostError, ToolMissingError


def test_marks_are_those_of_the_counter() -> None:
    text = (COUNTER_SOURCES / "marks.h").read_text()
    numbers = {name: int(value, 0) for name, value in re.findall(r"(MARK_\w+) = (\d\w*)", text)}
    assert numbers["MARK_OPTION"] == counted.MARK_OPTION
    assert (numbers["MARK_START"], numbers["MARK_WHOLE"]) == (counted.START, counted.WHOLE)
    assert (numbers["MARK_WHOLE"], numbers["MARK_FIRST_STEP"]) == (WHOLE, FIRST_STEP)


def result(**changes: Any) -> dict[str, Any]:
    whole = {
        "total": 20_000_001,
        "instructions": {},
        "modelled_cycles": {"cortex-a76": 8e6, "cortex-a55": 2e7},
        "lines_missed": {},
    }
    entry = {
        "runtime": "mnn", "form": "int8", "precision": "int8", "made_by": "its quantizer", "version": "3.6",
        "whole": whole,
        "agreement": {"pictures": 8, "with_ours": 7, "with_float": 6, "lowest_cosine": 0.99},
    }  # fmt: skip
    base = {
        "format": "repghost-peer-counts", "version": 2, "model": "repghostnet_0_5x", "weights": {"kind": "random"},
        "size": 224, "cpu": "cortex-a76", "emulator": "qemu 7.2", "results": [entry],
        "absent": [{"name": "ncnn fp32", "reason": "no wheel"}],
    }  # fmt: skip
    return {**base, **changes}


def test_text_names_what_was_counted_and_what_was_not() -> None:
    text = render_peer_counts(result())
    assert "20,000,001" in text and "6 of 8" in text and "ncnn fp32: not counted: no wheel" in text


def test_page_shows_them_beside_ours_with_the_agreement_of_their_answers(tmp_path: Path) -> None:
    path = tmp_path / "mnn.json"
    path.write_text(json.dumps(result()))
    speeds = collect([path]).speeds
    assert {(s.machine, s.runtime, s.value, s.agreement) for s in speeds} == {
        ("emulated cortex-a76", "mnn", 20_000_001, Agreement(6, 8)),
        ("Cortex-A76, Neoverse N1 model", "mnn", 8e6, Agreement(6, 8)),
        ("Cortex-A55 model", "mnn", 2e7, Agreement(6, 8)),
    }
    path.write_text(json.dumps(result(version=3)))
    with pytest.raises(RepGhostError, match="has version 3, not 2"):
        collect([path])


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo no json", "ended with code 0"),
        ("echo worse >&2; exit 3", "ended with code 3: worse"),
        ("echo 7", "said '7'"),
        ("sleep 30", "did not end within 1 s"),
    ],
)
def test_a_process_that_fails_is_told_of(script: str, message: str) -> None:
    with pytest.raises(RepGhostError, match=re.escape(message)):
        ask(["sh", "-c", script], {"PATH": "/usr/bin:/bin"}, 1, "mnn")


def test_python_for_arm64_is_run_by_the_emulator_with_nothing_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "root/usr/bin").mkdir(parents=True)
    for name in ("python3", "python3.11", "python3.11-config"):
        (tmp_path / "root/usr/bin" / name).touch()
    python = EmulatedPython(tmp_path / "root", tmp_path / "packages")
    assert python.program.name == "python3.11"
    command = python.command(
        Emulator(Path("/usr/bin/qemu-aarch64"), Path("/")), "cortex-a76", tmp_path, ["-plugin", "x"]
    )
    assert command[:5] == ["/usr/bin/qemu-aarch64", "-L", str(tmp_path / "root"), "-cpu", "cortex-a76"]
    assert command[-3:] == ["-plugin", "x", str(python.program)]
    assert f"PYTHONPATH={tmp_path}:{tmp_path / 'packages'}" in command


def test_a_python_has_the_libraries_and_wheels_of_its_target(tmp_path: Path) -> None:
    (tmp_path / "root/usr/bin").mkdir(parents=True)
    (tmp_path / "root/usr/bin/python3.11").touch()
    python = EmulatedPython(tmp_path / "root", tmp_path / "packages", ARMV7)
    command = python.command(Emulator(Path("/usr/bin/qemu-arm"), Path("/")), "cortex-a7", tmp_path, [])
    folders = next(word for word in command if word.startswith("LD_LIBRARY_PATH=")).partition("=")[2].split(":")
    assert f"{tmp_path}/root/lib/arm-linux-gnueabihf" in folders
    assert f"{tmp_path}/root/usr/lib/arm-linux-gnueabihf/blas" in folders  # of Debian's numpy
    assert "manylinux_2_31_armv7l" in WHEELS["armv7"].platforms
    assert WHEELS["arm64"].has("onnxruntime") and not WHEELS["arm64"].has("onnx")
    assert set(WHEELS) == {target.name for target in TARGETS.values() if target.counted}


def test_a_runtime_without_a_wheel_is_told_before_anything_is_converted() -> None:
    nothing: Any = None
    counter = PeerCounter(nothing, nothing, CPUS["cortex-a7"])
    mnn = PEERS["mnn"]
    with pytest.raises(RepGhostError, match="the package index has no wheel of MNN for armv7"):
        count_form(mnn, mnn.forms[0], nothing, nothing, counter)


@pytest.mark.parametrize(("target", "cpu"), [(ARMV7, "cortex-a7"), (X86_64, "cortex-a76")])
def test_the_core_follows_from_the_target_of_the_bundle(
    target: Target, cpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def count(path: Path, peers: object, core: CountedCpu, *_: object) -> dict[str, Any]:
        asked.append(core.name)
        return result()

    monkeypatch.setattr(api, "count_peers", count)
    monkeypatch.setattr(api, "check_bundle", lambda path: path)
    monkeypatch.setattr(api, "bundle_target", lambda bundle: target)
    wanted: Any = SimpleNamespace(
        only_bundle=lambda what: Path("bundle"), cpu=None, against="ncnn", weights=None, python=None, say=print
    )
    api.count_others(wanted)
    assert asked == [cpu]


def test_without_packages_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "_run", lambda command, folder: False)
    monkeypatch.setattr(debian.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    with pytest.raises(ToolMissingError, match="no arm64 packages"):
        fetch_emulated_python(tmp_path)
    assert find_emulated_python(tmp_path) is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_without_wheels_pip_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "arm64-python" / "root/usr/bin").mkdir(parents=True)
    (tmp_path / "arm64-python" / "root/usr/bin/python3.11").touch()
    failed = subprocess.CompletedProcess([], 1, "", "noise\nno matching distribution")
    monkeypatch.setattr(debian.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(emulated_python, "run_limited", lambda *_, **__: failed)
    with pytest.raises(ToolMissingError, match="no matching distribution"):
        fetch_emulated_python(tmp_path)
    assert find_emulated_python(tmp_path) is None


def test_where_another_process_was_faster_its_wheels_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "arm64-python"
    (place / "root/usr/bin").mkdir(parents=True)
    (place / "root/usr/bin/python3.11").touch()

    def both(command: list[str], *_: object, **__: object) -> subprocess.CompletedProcess[str]:
        for folder in (Path(command[command.index("--target") + 1]), place / "packages"):
            folder.mkdir()
            (folder / "numpy").touch()
        (place / "packages/theirs").touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(debian.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(emulated_python, "run_limited", both)
    assert fetch_emulated_python(tmp_path) == find_emulated_python(tmp_path)
    assert sorted(path.name for path in place.iterdir()) == ["packages", "root"]
    assert (place / "packages/theirs").exists()


def test_forms_for_other_machines_are_not_timed_here() -> None:
    halves = [form for peer in PEERS.values() for form in peer.forms if form.precision == "fp16"]
    assert halves and all(form.only == HALF for form in halves)
