"""What all tests share: a cache of compiled kernels of their own, the order they run in, bundles built once per run.

Compiled kernels are kept beside the tests' own cache, not in the user's: a second run of the tests finds them. Modules
with many slow tests run first, so that no process is left with a long one at the end.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from compile.bundle.manifest import write_bundle
from compile.machine.emulator import Emulator, find_emulator
from compile.targets.table import ARM64, Target, host_target
from tests.support import ROOT
from tests.support.fake_bundle import fake_files, fake_sections

os.environ.setdefault("REPGHOST_CACHE", str(ROOT / ".pytest_cache" / "repghost"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by how many slow ones their module has; within a module the order stays."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


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
