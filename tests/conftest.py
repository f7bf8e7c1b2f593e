"""What all tests share: caches, the order they run in, bundles built once per run.

Compiled kernels are kept beside the tests' own cache, not in the user's: a second run of the tests finds them. Modules
with many slow tests run first, so that no process is left with a long one at the end. Ranges that predictions choose
are chosen once per run for equal networks and images; tests of whether choosing repeats itself ask for `ranges_anew`.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compile.bundle.host_model import ABI, LoadedModel
from compile.bundle.manifest import write_bundle
from compile.ir.memory_plan import AnyProgram
from compile.link.toolchain import link_model
from compile.machine.emulator import Emulator, find_emulator
from compile.machine.facts import cpu_flags
from compile.targets.table import ARM64, Target, host_target
from tests.support import ROOT
from tests.support.fake_bundle import fake_files, fake_sections
from tests.support.forked_commands import ForkedCommands, forked_commands
from tests.support.remembered_ranges import remember
from tests.support.two_processes import TwoProcesses

gc.set_threshold(10_000)  # the default of 700 new objects looks through what imports make again and again
os.environ.setdefault("REPGHOST_CACHE", str(ROOT / ".pytest_cache" / "repghost"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by how many slow ones their module has; within a module the order stays."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish() -> None:
    """Take what was collected out of garbage collection: it stays, and a pass through all of it takes a second."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def remembered_ranges_of_fixtures(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Remember chosen ranges also where a fixture of a module asks for them, before its first test."""
    remember_ranges(tmp_path_factory)


@pytest.fixture(autouse=True)
def remembered_ranges(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Remember chosen ranges as soon as a test has imported the module that asks for them."""
    remember_ranges(tmp_path_factory)


def remember_ranges(tmp_path_factory: pytest.TempPathFactory) -> None:
    calibration = sys.modules.get("calib.ptq.apply")
    if calibration is not None and not hasattr(calibration.choose_observers, "__wrapped__"):
        own = tmp_path_factory.getbasetemp()
        shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
        calibration.choose_observers = remember(calibration.choose_observers, shared)


@pytest.fixture
def ranges_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose ranges in this test, whatever was chosen before."""
    from calib.ptq import apply

    monkeypatch.setattr(
        apply, "choose_observers", getattr(apply.choose_observers, "__wrapped__", apply.choose_observers)
    )


@pytest.fixture(scope="session")
def host() -> Target:
    target = host_target()
    if target is None:
        pytest.skip("no target fits this machine")
    return target


@pytest.fixture(scope="session")
def host_files(host: Target) -> dict[str, bytes]:
    return fake_files(host)


@pytest.fixture(scope="session")
def host_bundle(host: Target, host_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("host") / "bundle"
    write_bundle(path, host_files, fake_sections(host))
    return path


@pytest.fixture(scope="session")
def host_build(host: Target) -> Callable[[AnyProgram], LoadedModel]:
    """What builds and loads a program for this machine, only with the instruction set that would be used."""

    def build(program: AnyProgram) -> LoadedModel:
        from compile.codegen.program_to_objects import compile_program, element_of  # loads TVM

        target = host.only_used(cpu_flags(), element_of(program))
        sides = {"height": program.height, "width": program.width, "channels": program.channels}
        info = {"abi": ABI, "input": sides, "classes": program.classes, "model": "built"}
        return LoadedModel(
            link_model(compile_program(program, target), target, info), tuple(sides.values()), program.classes
        )

    return build


@pytest.fixture(scope="session")
def arm64_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arm64") / "bundle"
    write_bundle(path, fake_files(ARM64), fake_sections(ARM64))
    return path


@pytest.fixture(scope="session")
def emulator() -> Emulator:
    found = find_emulator()
    if found is None:
        pytest.skip("no qemu-aarch64 with an arm64 C library; 'repghost doctor' says how to get one")
    return found


@pytest.fixture(scope="session")
def forked() -> Iterator[ForkedCommands]:
    with forked_commands() as commands:
        yield commands


@pytest.fixture
def in_children(forked: ForkedCommands) -> Iterator[ForkedCommands]:
    """Commands in children of a process that has imported what they take, for every test of a run."""
    yield forked
    forked.stop()


@pytest.fixture(scope="session")
def two_processes(forked: ForkedCommands, tmp_path_factory: pytest.TempPathFactory) -> TwoProcesses:
    """Two processes that form a group, for every test of a run that asks only what they compute together."""
    return TwoProcesses(forked, tmp_path_factory.mktemp("two"))
