"""The runner is built once for a target and a set of sources."""

from __future__ import annotations

import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from compile.link import by_form, toolchain
from compile.link import stored_runner as module
from compile.link.stored_runner import runner_key, start_runners, stored_runner
from compile.storage.kernel_store import KernelStore
from compile.targets.table import ARM64, X86_64, Target
from repghost.errors import UsageError


def test_the_runner_is_built_once_and_checked_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    checked: list[tuple[bytes, str]] = []

    def build(target: Target) -> bytes:
        built.append(target.name)
        return target.name.encode()

    monkeypatch.setattr(by_form, "make_runner", build)
    monkeypatch.setattr(by_form, "check_runner", lambda data, target: checked.append((data, target.name)))
    store = KernelStore(tmp_path)
    for target in (ARM64, X86_64, ARM64, X86_64):
        assert stored_runner(target, store) == target.name.encode()
    assert built == ["arm64", "x86-64"]
    assert len(checked) == 4
    assert stored_runner(ARM64, KernelStore(None)) == b"arm64"
    assert built[2:] == ["arm64"]


def test_who_wants_a_runner_that_another_process_builds_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, built, told = KernelStore(tmp_path), [], threading.Event()
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=lambda line: told.set() if "is making" in line else None))
    monkeypatch.setattr(by_form, "make_runner", lambda target: built.append(target) or b"mine")
    monkeypatch.setattr(by_form, "check_runner", lambda data, target: None)
    with ThreadPoolExecutor(1) as pool:
        with store.making(runner_key(ARM64)):
            waiting = pool.submit(stored_runner, ARM64, store)
            assert told.wait(30)
            assert not waiting.done()
            store.put(runner_key(ARM64), b"another's")
        assert waiting.result() == b"another's"
    assert not built


def test_runners_are_built_while_other_stages_run(monkeypatch: pytest.MonkeyPatch) -> None:
    others_done = threading.Event()

    def build(target: Target) -> bytes:
        assert others_done.wait(30)
        if target is X86_64:
            raise UsageError("no compiler")
        return target.name.encode()

    monkeypatch.setattr(module, "stored_runner", build)
    runners = start_runners([ARM64, X86_64])
    assert not any(runner.done() for runner in runners.values())
    others_done.set()
    assert runners["arm64"].result() == b"arm64"
    with pytest.raises(UsageError, match="no compiler"):
        runners["x86-64"].result()


def test_a_stored_file_that_is_no_runner_is_refused(tmp_path: Path) -> None:
    store = KernelStore(tmp_path)
    store.put(runner_key(ARM64), b"no ELF file")
    with pytest.raises(UsageError):
        stored_runner(ARM64, store)


def test_a_compiler_for_another_architecture_is_refused_and_nothing_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host_files: dict[str, bytes], host: Target
) -> None:
    other = X86_64 if host is ARM64 else ARM64

    def compile_for_this_machine(arguments: list[str], cwd: Path) -> str:
        (cwd / arguments[-1]).write_bytes(host_files["repghost-run"])
        return ""

    monkeypatch.setattr(toolchain, "run_zig", compile_for_this_machine)
    toolchain._decoder_object.cache_clear()
    try:
        with pytest.raises(UsageError, match=f"{other.name}|machine"):
            stored_runner(other, KernelStore(tmp_path))
    finally:
        toolchain._decoder_object.cache_clear()  # it holds what no compiler made
    assert not list(tmp_path.iterdir())


def test_the_key_holds_the_sources_and_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(target: Target = ARM64) -> str:
        return runner_key(target)

    before = key()
    assert key() == before
    assert key(replace(ARM64, zig_triple="aarch64-linux-gnu.2.28")) != before
    copy = Path(shutil.copytree(toolchain.RUNNER_SOURCES, tmp_path / "runner"))
    monkeypatch.setattr(toolchain, "RUNNER_SOURCES", copy)
    assert key() == before
    header = copy / "bundle/bundle.h"
    header.write_text(header.read_text() + "\n")
    assert key() != before
