"""The wheel of repghost-runtime: built in an empty folder, and used by Pythons that have nothing but numpy."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy
import pytest

from compile.bench.emulated_python import find_emulated_python
from compile.machine.emulator import TOOLS, Emulator
from tests.support import ROOT
from tests.support.fake_network import CLASSES, expected_logits, random_images

SOURCES = ROOT / "runtime"
OLDEST = (3, 8)
# What a user of a board would write; the logits come back as they are.
PROGRAM = """
import json, sys
import numpy as np
from repghost_runtime import Model
model = Model(sys.argv[1], threads=2)
images = np.load(sys.argv[2])
prepared = np.stack([model.prepare(image) for image in images])
print(json.dumps({
    "variant": model.variant, "verified": model.verify(), "logits": model.logits(prepared).tolist(),
    "batch": [prediction.label for prediction in model.batch(images, "bgr")], "modules": sorted(sys.modules),
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    source = Path(shutil.copytree(SOURCES, folder / "source", ignore=ignored))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    command += ["--wheel-dir", str(folder / "wheels"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = (folder / "wheels").iterdir()
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An otherwise empty folder with the unpacked wheel, which is what an installation is."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npy"
    numpy.save(path, random_images(3))
    return path


@pytest.mark.slow
def test_the_wheel_is_for_every_machine_and_needs_numpy_alone(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    assert [line for line in metadata.splitlines() if line.startswith("Requires-Dist")] == [
        "Requires-Dist: numpy>=1.17"
    ]
    assert "Requires-Python: >=3.8" in metadata
    modules = {path.name for path in (SOURCES / "repghost_runtime").iterdir() if path.name != "__pycache__"}
    assert {name.partition("/")[2] for name in names if name.startswith("repghost_runtime/")} == modules
    assert any(name.endswith("LICENSE") for name in names)


def check(output: str) -> None:
    found = json.loads(output)
    assert found["logits"] == expected_logits(random_images(3)).tolist()
    assert found["verified"] == 12 and len(found["batch"]) == 3
    assert not {"torch", "PIL", "repghost", "compile", "tvm"} & set(found["modules"])


@pytest.mark.slow
def test_it_runs_here(installed: Path, host_bundle: Path, images: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{installed}:{Path(numpy.__file__).parent.parent}"}
    command = [sys.executable, "-S", "-c", PROGRAM, str(host_bundle), str(images)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    check(done.stdout)


@pytest.mark.slow
def test_it_runs_on_arm64(installed: Path, arm64_bundle: Path, images: Path, emulator: Emulator) -> None:
    python = find_emulated_python(ROOT / TOOLS)
    if python is None:
        pytest.skip("no Python for arm64; compile.bench.emulated_python fetches one")
    command = [*python.command(emulator, "cortex-a53", installed, []), "-c", PROGRAM, str(arm64_bundle), str(images)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    check(done.stdout)
    assert json.loads(done.stdout)["variant"] == "neon"


def command_line(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "repghost_runtime", *map(str, arguments)]


@pytest.mark.slow
def test_the_command_line(host_bundle: Path, arm64_bundle: Path, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command_line(*arguments), cwd=SOURCES, capture_output=True, text=True, timeout=60, check=False
        )

    info = json.loads(run(host_bundle).stdout)
    assert (info["classes"], info["input"]) == (CLASSES, {"height": 8, "width": 8, "channels": 3})
    assert json.loads(run(host_bundle, "--verify").stdout) == {
        "command": "verify", "ok": True, "pictures": 12, "variant": info["variant"],
    }  # fmt: skip
    assert run(host_bundle, "--verify", "--digest", info["digest"]).returncode == 0
    for code, arguments in ((2, (tmp_path,)), (2, (host_bundle, "--serve", "0.0.0.0:1")), (4, (arm64_bundle,))):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith("repghost-runtime: ")
    assert run(host_bundle, "--digest", "0").returncode in (0, 6)
    assert run(host_bundle, "--digest", "xyz").returncode == 6


@pytest.mark.slow
def test_a_server_ends_when_it_is_told_to(host_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with subprocess.Popen(command_line(host_bundle, "--serve", path), cwd=SOURCES, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert json.loads(server.stdout.readline())["address"] == str(path)
        assert path.is_socket()
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert not path.exists()


@pytest.mark.parametrize("path", sorted((SOURCES / "repghost_runtime").glob("*.py")), ids=lambda path: path.name)
def test_an_old_python_can_read_it(path: Path) -> None:
    """Its syntax, and that it imports the standard library, numpy and itself."""
    tree = ast.parse(path.read_text(), feature_version=OLDEST)
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name.partition(".")[0] for name in names} <= {*sys.stdlib_module_names, "numpy", "repghost_runtime"}
