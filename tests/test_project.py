"""The project as a newcomer meets it: its commands, its documents, and one real run of the main command."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compile.bundle.host_model import load
from compile.bundle.manifest import check_bundle
from compile.bundle.vectors import Vectors, pack_vectors, unpack_vectors
from compile.machine.replay import verify_bundle
from compile.pipeline import run
from compile.subject.request import Request
from compile.targets.precisions import default_precisions, parse_precisions
from compile.targets.table import TARGETS, host_target
from repghost.cli import COMMANDS
from repghost.errors import IntegrityError
from tests.support import ROOT

README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
PACKAGES = ("repghost", "calib", "compile")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "-C", str(ROOT), "--no-print-directory", "--dry-run", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_readme_starts_with_the_two_commands() -> None:
    commands = re.findall(r"^make .*?(?=\s+#|$)", README, re.MULTILINE)
    assert commands[:2] == ["make compile TARGET=arm64", "make test"]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1].removeprefix("exec ") == "make test"


@pytest.mark.parametrize("name", ["compile", "test", "check", "lint", "clean", "doctor"])
def test_make_knows_its_targets(name: str) -> None:
    done = make(name, "TARGET=arm64")
    assert done.returncode == 0, done.stderr


def test_make_passes_every_variable_on() -> None:
    wanted = {
        "WIDTH": "--width",
        "SIZE": "--size",
        "WEIGHTS": "--weights",
        "DATA": "--data",
        "PREPROCESS": "--preprocess",
        "PRECISION": "--precision",
        "CONFIG": "--config",
        "IMAGES": "--images",
        "TEST_IMAGES": "--test-images",
        "THREADS": "--threads",
        "MAX_DROP": "--max-drop",
        "OUTPUT": "--output",
    }
    done = make("compile", "TARGET=arm64", *(f"{name}=value of {name}" for name in wanted))
    for name, option in wanted.items():
        assert f'{option} "value of {name}"' in done.stdout
    from repghost.commands.bundles.compile import command

    known = {option for parameter in command.params for option in parameter.opts}
    assert set(wanted.values()) <= known
    assert "--width" not in make("compile", "TARGET=arm64").stdout


def test_the_cpu_only_torch_is_a_variable() -> None:
    assert "--index-url" in make("compile", "TARGET=arm64", "TORCH=cpu", "VENV=/nonexistent").stdout
    assert "--index-url" not in make("compile", "TARGET=arm64", "VENV=/nonexistent").stdout


def test_the_readme_names_what_there_is() -> None:
    for name in TARGETS:
        assert f"`{name}`" in README
    for command in set(re.findall(r"`repghost ([a-z]+)", README)):
        assert command in COMMANDS, command
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
    for link in re.findall(r"`((?:compile|calib|repghost|tests)/[\w./]+)`", (ROOT / "CONTRIBUTING.md").read_text()):
        assert (ROOT / link).exists(), link


def test_what_is_installed_is_what_the_readme_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    folders = [path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists()]
    installed = [name for name in folders if any(fnmatch(name, pattern) for pattern in patterns)]
    assert sorted(installed) == sorted(PACKAGES)
    for name in PACKAGES:
        assert f"| `{name}` |" in README
    data = project["tool"]["setuptools"]["package-data"]["compile"]
    for path in (ROOT / "compile/runner").rglob("*"):
        name = str(path.relative_to(ROOT / "compile"))
        assert path.is_dir() or any(fnmatch(name, pattern) for pattern in data), name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_shadows_the_builtin(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not any(name.name.split(".")[0] == "compile" and not name.asname for name in node.names)


HEAVY = "torch", "tvm", "numpy", "onnx"


@pytest.mark.parametrize("module", sorted({target.partition(":")[0] for target in COMMANDS.values()}))
def test_commands_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; sys.exit(', '.join({set(HEAVY)} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def host_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """`make compile TARGET=host` on what the repository carries; test_end_to_end.py does the same for arm64."""
    if host_target() is None:
        pytest.skip("no host build on this machine")
    output = tmp_path_factory.mktemp("host") / "build"
    precisions = parse_precisions(default_precisions())
    report = run(Request("host", precisions, output=output, test_images=1000), lambda line: None)
    return output / "repghostnet_0_5x-64px", report


@pytest.mark.slow
def test_every_precision_is_built_verified_and_measured(host_run: tuple[Path, dict[str, Any]]) -> None:
    builds = {build["folder"]: build for build in host_run[1]["builds"]}
    assert set(builds) == {"host/int8", "host/fp32"}
    for build in builds.values():
        assert build["verification"]["verified"]
        assert build["latency"]["median_ms"] > 0
    for replay in builds["host/int8"]["verification"]["replays"]:
        assert (replay["pictures"], replay["tolerance"], replay["largest_difference"]) == (100, 0.0, 0.0)
    for replay in builds["host/fp32"]["verification"]["replays"]:
        assert 0 < replay["tolerance"] < 0.01
        assert replay["largest_difference"] <= replay["tolerance"]


@pytest.mark.slow
def test_the_carried_network_loses_little(host_run: tuple[Path, dict[str, Any]]) -> None:
    record = host_run[1]["accuracy"]
    assert record["change"]["pictures"] == 1000
    assert record["fp32"]["top1"] > 0.88
    assert record["change"]["difference"] > -0.02
    assert record["fp32_build"]["agreeing"] >= 998, "float builds round differently from PyTorch, but not much"


@pytest.mark.slow
def test_the_host_bundle_classifies_from_python(host_run: tuple[Path, dict[str, Any]]) -> None:
    from repghost.data import open_dataset

    model = load(host_run[0] / "host/int8")
    dataset = open_dataset(ROOT / "assets/fashion-mnist", "test")
    images = [dataset[index] for index in range(0, 10000, 250)]
    predictions = [model(image).index for image, _ in images]
    assert np.mean(np.asarray(predictions) == [label for _, label in images]) > 0.75
    assert model.labels == dataset.classes


@pytest.mark.slow
def test_one_changed_expectation_is_noticed(host_run: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    bundle = host_run[0] / "host/int8"
    vectors = unpack_vectors(check_bundle(bundle).read("vectors.bin"))
    logits = vectors.logits.copy()
    logits[50, 3] = np.nextafter(logits[50, 3], np.float32(np.inf))
    path = tmp_path / "vectors.bin"
    path.write_bytes(pack_vectors(Vectors(vectors.images, logits)))
    with pytest.raises(IntegrityError, match="1 of 100 recorded pictures"):
        verify_bundle(bundle, vectors=path)


@pytest.mark.slow
def test_the_python_of_the_readme_runs(
    host_run: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from repghost.data import open_dataset

    (tmp_path / "build").symlink_to(host_run[0].parent)
    open_dataset(ROOT / "assets/fashion-mnist", "test")[0][0].save(tmp_path / "shirt.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
    assert 0 < names["prediction"].probability <= 1
    recorded = unpack_vectors(check_bundle(host_run[0] / "host/int8").read("vectors.bin"))
    np.testing.assert_array_equal(names["logits"], recorded.logits)
