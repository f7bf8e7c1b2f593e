"""The root file system of an image runs by itself: natively, and under emulation."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compile.machine.emulator import find_emulators
from compile.oci.image import ENTRY, ORDERS
from compile.oci.layout import write_layout
from compile.targets.table import ARM64, X86_64, Target
from tests.support.deployed_bundles import bundle_of
from tests.support.fake_bundle import fake_files
from tests.support.oci import Layout


class Contained:
    """Programs in the root file system of an image, as an account without rights."""

    def __init__(self, root: Path, prefix: tuple[str, ...]) -> None:
        self.root = root
        nobody = ("unshare", "--user", "--map-user=65534", "--map-group=65534", f"--root={root}")
        self.command = [*nobody, *prefix, *ENTRY]
        tried = subprocess.run([*self.command, "--info"], capture_output=True, text=True, timeout=60, check=False)
        if tried.returncode == 1 and "unshare" in tried.stderr:
            pytest.skip(f"no container can be made here: {tried.stderr.strip()}")
        assert tried.returncode == 0, tried.stderr

    def run(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


@pytest.fixture(scope="module", params=["amd64", "arm64"])
def contained(
    request: pytest.FixtureRequest, host: Target, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Contained]:
    target = ARM64 if request.param == "arm64" else X86_64
    folder, prefix = tmp_path_factory.mktemp("image"), ()
    made = write_layout(folder / "oci", [(bundle_of(fake_files(target), target, folder / "bundle"), None)])
    root = Layout(made.path).unpack(request.param, folder / "root")
    if target is not host:
        found = find_emulators(emulation=target.emulation) if target.emulation else []
        static = [it.program for it in found if it.program.name.endswith("-static")]
        if not static:
            pytest.skip("no static emulator, which is all that would be in the image besides")
        shutil.copy(static[0], root / "emulator")
        prefix = ("/emulator", "-cpu", "cortex-a53")
    yield Contained(root, prefix)


def rights(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, stat.S_IMODE(path.stat().st_mode)) for path in root.rglob("*")}


@pytest.mark.slow
def test_the_root_file_system_runs_by_itself(contained: Contained) -> None:
    before = rights(contained.root)
    assert contained.run("--verify")["ok"] is True
    assert contained.run("--verify", "--threads", "2")["mismatches"] == 0
    assert rights(contained.root) == before, "nothing was written: its root can be read-only"


@pytest.mark.slow
def test_it_watches_until_it_is_ended(contained: Contained) -> None:
    command = [*contained.command, *ORDERS, "--interval", "50"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["folder"] == "/incoming"
        (contained.root / "incoming/black.ppm").write_bytes(b"P6 8 8 255\n" + bytes(192))
        assert json.loads(process.stdout.readline())["picture"] == "/incoming/black.ppm"
        process.terminate()
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.returncode == 0
