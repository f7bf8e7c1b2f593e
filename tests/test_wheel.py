"""The packages as they are published: what lies in them, and that a wheel works in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGES = ("repghost", "calib", "compile")
PROJECT = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "NOTICE")
BUILD = "from setuptools import build_meta; build_meta.build_{kind}({output!r})"
MOST_BYTES = 12 << 20


def build(kind: str, project: Path, output: Path) -> Path:
    """Return the package that setuptools makes of a project, as pip calls it."""
    command = [sys.executable, "-c", BUILD.format(kind=kind, output=str(output))]
    subprocess.run(command, cwd=project, check=True, capture_output=True, timeout=300)
    (made,) = output.iterdir()
    return made


def contents(wheel: Path) -> dict[str, int]:
    """Return the files of a wheel with their checksums; RECORD says the same again."""
    with zipfile.ZipFile(wheel) as archive:
        return {it.filename: it.CRC for it in archive.infolist() if not it.filename.endswith("/RECORD")}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, because setuptools leaves its work beside the sources."""
    folder = tmp_path_factory.mktemp("project")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in PROJECT:
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", sources, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel, which finds what it needs in the environment of the tests."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=300)
    python = environment / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-compile", str(wheel)], check=True, timeout=300)
    # A path in a file: what editable installations add to that folder's own start is not read.
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def run(command: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MAKELEVEL")}
    environment |= {"OMP_NUM_THREADS": "1", "PATH": f"{command.parent}:{os.environ['PATH']}"}
    return subprocess.run(
        [str(command), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.slow
def test_a_wheel_holds_every_file_of_the_packages_and_no_other(wheel: Path, sources: Path) -> None:
    files = {name for name in contents(wheel) if ".dist-info/" not in name}
    there = {str(path.relative_to(sources)) for name in PACKAGES for path in (sources / name).rglob("*")}
    there = {name for name in there if (sources / name).is_file()}
    assert files == there
    assert wheel.stat().st_size < MOST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("repghost_deploy-0.1.0.dist-info/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


@pytest.mark.slow
def test_the_sources_alone_make_the_same_wheel(wheel: Path, sources: Path, tmp_path: Path) -> None:
    archive = build("sdist", sources, tmp_path / "sdist")
    assert archive.stat().st_size < MOST_BYTES
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    (project,) = tmp_path.glob("repghost*")
    assert {path.name for path in project.iterdir() if path.is_dir()} == {*PACKAGES, "repghost_deploy.egg-info"}
    assert contents(build("wheel", project, tmp_path / "wheel")) == contents(wheel)


@pytest.mark.slow
def test_a_wheel_works_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    command = installed / "repghost"
    version = run(command, "--version", cwd=tmp_path)
    assert version.stdout == "repghost, version 0.1.0\n"
    found = run(command, "doctor", cwd=tmp_path)
    for line in ("ok       pictures", "ok       weights"):
        (where,) = (it for it in found.stdout.splitlines() if it.startswith(line))
        assert str(installed.parent) in where
    quick = ("--images", "16", "--algorithm", "min_max")
    made = run(command, "quantize", "bundled", "--data", "bundled", *quick, "-o", "net.qdq.onnx", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"net.qdq.onnx", "net.qdq.config.json"}
    assert "repghost compile --target arm64 --data bundled --weights bundled" in made.stdout
    for said in (found, made):
        assert "make " not in said.stdout + said.stderr and ".venv" not in said.stdout + said.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["verify", "."], "build one with 'repghost compile'."),
        (["report", "."], "'repghost compile --target arm64' writes"),
        (["advise", "--board", "pi4", "--ms", "40"], "repghost compile --target arm64 --width"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_hints_of_a_wheel_name_its_commands(installed: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    done = run(installed / "repghost", *arguments, cwd=tmp_path)
    said = done.stdout + done.stderr
    assert says in said and "make " not in said and ".venv" not in said, said
