"""What an emulator lacks is fetched, and nothing else: its packages are tens of megabytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from compile.machine import emulator as module
from compile.targets.table import EMULATED


@pytest.mark.parametrize("program", [False, True])
@pytest.mark.parametrize("library", [False, True])
def test_only_what_is_absent_is_fetched(
    program: bool, library: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    fetched: list[str] = []
    emulation = replace(EMULATED, qemu="none")  # which no system has
    here = {emulation.library_package: tools / emulation.sysroot / emulation.loader}
    here[module.EMULATOR_PACKAGES[0]] = tools / "usr/bin" / emulation.programs[0]

    def put(package: str) -> None:
        here[package].parent.mkdir(parents=True, exist_ok=True)
        here[package].touch(0o755)

    class Source:
        def keep(self, package: str, parts: Sequence[str], tools: Path) -> bool:
            fetched.append(package)
            put(package)
            return True

    @contextmanager
    def source(why: str) -> Iterator[Source]:
        yield Source()

    monkeypatch.setattr(module, "package_source", source)
    present = [package for package, there in zip(here, (library, program), strict=True) if there]
    for package in present:
        put(package)
    found = module.fetch_emulator(tools, emulation)
    assert found.program == here[module.EMULATOR_PACKAGES[0]]
    assert sorted([*fetched, *present]) == sorted(here)
