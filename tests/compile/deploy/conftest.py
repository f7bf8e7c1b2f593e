"""Stand-in boards, started once per run, and bundles of the hand-written network to deploy to them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from compile.bundle.manifest import Bundle
from compile.deploy.ssh import connection
from compile.machine.emulator import Emulator
from compile.targets.table import ANDROID, ARM64, Target
from repghost.errors import ToolMissingError
from tests.support.deployed_bundles import bundle_of
from tests.support.fake_bundle import fake_files
from tests.support.ssh_server import SshServer, fetch_ssh_server
from tests.support.standin import Standin, start


@pytest.fixture(scope="session")
def ssh_server() -> SshServer:
    if not shutil.which("ssh") or not shutil.which("ssh-keygen"):
        pytest.skip("no ssh; apt install openssh-client")
    try:
        return fetch_ssh_server()
    except ToolMissingError as error:
        pytest.skip(str(error))


def running(server: SshServer, machine: str, emulator: Emulator | None) -> Iterator[Standin]:
    with tempfile.TemporaryDirectory(prefix="repghost-board-", ignore_cleanup_errors=True) as name:
        board = start(Path(name), server, machine, emulator)
        yield board
        board.stop()


@pytest.fixture(scope="session")
def host_standin(ssh_server: SshServer, host: Target) -> Iterator[Standin]:
    yield from running(ssh_server, {"x86-64": "x86_64"}.get(host.name, "aarch64"), None)


@pytest.fixture(scope="session")
def arm64_standin(ssh_server: SshServer, emulator: Emulator) -> Iterator[Standin]:
    yield from running(ssh_server, "aarch64", emulator)


@pytest.fixture
def board(host_standin: Standin) -> Iterator[Standin]:
    """A board of this machine's kind, as it was set up."""
    yield host_standin
    host_standin.reset()


@pytest.fixture
def arm64_board(arm64_standin: Standin, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """An emulated board; its C library lies where the emulator looks, and the probe is told of it."""
    loader, read = "/lib/ld-linux-aarch64.so.1", connection.read_script
    monkeypatch.setattr(
        connection, "read_script", lambda name: read(name).replace("\nloaders=\n", f"\nloaders={loader}\n")
    )
    yield arm64_standin
    arm64_standin.reset()


@pytest.fixture(scope="session")
def versions(host_files: dict[str, bytes], host: Target, tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Five versions of a bundle for this machine."""
    folder = tmp_path_factory.mktemp("versions")
    return [bundle_of(host_files, host, folder / str(number), number) for number in range(5)]


@pytest.fixture(scope="session")
def arm64_version(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_of(fake_files(ARM64), ARM64, tmp_path_factory.mktemp("arm64") / "bundle")


@pytest.fixture(scope="session")
def android_version(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_of(fake_files(ANDROID), ANDROID, tmp_path_factory.mktemp("android") / "bundle")
