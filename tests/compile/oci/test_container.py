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

from compile.machine.emulator import TOOLS
from compile.oci.image import ENTRY, ORDERS
from compile.oci.layout import write_layout
from compile.targets.table import TARGETS, Target
from tests.support import ROOT
from tests.support.deployed_bundles import bundle_of
from tests.support.fake_bundle import fake_files
from tests.support.oci import Layout


class Contained:
    """Programs in the root file system of an image, as an account without rights."""

    def __init__(self, root: Path, emulator: list[str]) -> None:
        """With an emulator that is no part of the image, its root is only named, not entered."""
        self.root, self.place = root, str(root) if emulator else ""
        nobody = [
            "unshare",
            "--user",
            "--map-user=65534",
            "--map-group=65534",
            *([] if emulator else [f"--root={root}"]),
        ]
        self.command = [*nobody, *emulator, *self.of(ENTRY)]
        tried = subprocess.run([*self.command, "--info"], capture_output=True, text=True, timeout=60, check=False)
        if tried.returncode == 1 and "unshare" in tried.stderr:
            pytest.skip(f"no container can be made here: {tried.stderr.strip()}")
        assert tried.returncode == 0, tried.stderr

    def of(self, words: list[str]) -> list[str]:
        return [f"{self.place}{word}" if word.startswith("/") else word for word in words]

    def run(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


TARGETS_OF_IMAGES = [it for it in TARGETS.values() if it.container and not it.runner_triple]


@pytest.fixture(scope="module", params=TARGETS_OF_IMAGES, ids=lambda target: target.name)
def contained(
    request: pytest.FixtureRequest, host: Target, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Contained]:
    target: Target = request.param
    assert target.container is not None
    folder, emulator = tmp_path_factory.mktemp("image"), list[str]()
    if target is not host:
        names = target.emulation.programs if target.emulation else ()
        paths = [shutil.which(name) or ROOT / TOOLS / "usr/bin" / name for name in names]
        found = [str(path) for path in paths if Path(path).is_file()]
        if not found:
            pytest.skip(f"no emulator of {target.name}")
        emulator = [found[0], "-cpu", target.variants[0].emulated_cpu]
    made = write_layout(folder / "oci", [(bundle_of(fake_files(target), target, folder / "bundle"), None)])
    yield Contained(Layout(made.path).unpack(target.container.architecture, folder / "root"), emulator)


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
    command = [*contained.command, *contained.of(ORDERS), "--interval", "50"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["folder"] == f"{contained.place}/incoming"
        (contained.root / "incoming/black.ppm").write_bytes(b"P6 8 8 255\n" + bytes(192))
        assert json.loads(process.stdout.readline())["picture"] == f"{contained.place}/incoming/black.ppm"
        process.terminate()
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.returncode == 0
