"""The project as a newcomer meets it: its commands, its documents, and one real run of the main command."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import pytest

from compile.targets.table import TARGETS
from repghost.cli import COMMANDS
from repghost.network.spec import WIDTHS
from tests.support import ROOT

README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs/reference.md").read_text()
WORDS = 900  # of the README besides the table of boards: what one reads before trying
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


@pytest.mark.parametrize("name", ["compile", "wheel", "test", "check", "lint", "clean", "doctor"])
def test_make_knows_its_targets(name: str) -> None:
    done = make(name, "TARGET=arm64")
    assert done.returncode == 0, done.stderr


def test_make_train_is_the_command_with_a_process_for_each_gpu() -> None:
    said = make("train", "DATA=a b", "GPUS=8", "WIDTH=0.5", "ARGS=--epochs 3").stdout
    assert re.search(
        r'repghost train --data "a b" --width "0.5"\s+--processes "8" +--epochs 3', re.sub(r"\s+\\\n", " ", said)
    )
    assert "--recipe" not in said and '--recipe "demo"' in make("widths", "DATA=d").stdout


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


def test_the_demo_has_every_width_or_those_asked_for() -> None:
    widths = " ".join(str(row.multiplier) for row in WIDTHS)
    assert f"for width in {widths};" in make("demo").stdout
    assert "for width in 0.5 2.0;" in make("demo", "WIDTHS=0.5,2.0").stdout


def test_the_cpu_only_torch_is_a_variable() -> None:
    assert "--index-url" in make("compile", "TARGET=arm64", "TORCH=cpu", "VENV=/nonexistent").stdout
    assert "--index-url" not in make("compile", "TARGET=arm64", "VENV=/nonexistent").stdout


def test_the_readme_names_what_there_is() -> None:
    for name in TARGETS:
        assert f"`{name}`" in REFERENCE
    for command in set(re.findall(r"`repghost ([a-z]+)", README + REFERENCE)):
        assert command in COMMANDS, command
    for link in re.findall(r"`((?:compile|calib|repghost|tests)/[\w./]+)`", (ROOT / "CONTRIBUTING.md").read_text()):
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_links_lead_to_files(page: Path) -> None:
    """GitHub shows a repository's workflows two levels above its front page, whatever its owner and name."""
    for link in re.findall(r"\]\((?!\w+:)([^)#\s]+)", page.read_text()):
        workflow = re.fullmatch(r"\.\./\.\./actions/workflows/([\w.]+\.yml)(/badge\.svg)?", link)
        assert (ROOT / ".github" / "workflows" / workflow[1] if workflow else page.parent / link).exists(), link


def test_the_readme_is_short() -> None:
    assert len(re.sub(r"<!-- boards.*end of boards -->", "", README, flags=re.DOTALL).split()) <= WORDS


def test_what_is_installed_is_what_the_readme_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    folders = [path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists()]
    installed = [name for name in folders if any(fnmatch(name, pattern) for pattern in patterns)]
    assert sorted(installed) == sorted(PACKAGES)
    for name in PACKAGES:
        assert f"| `{name}` |" in REFERENCE
    data = project["tool"]["setuptools"]["package-data"]["compile"]
    for path in (ROOT / "compile/runner").rglob("*"):
        name = str(path.relative_to(ROOT / "compile"))
        assert path.is_dir() or any(fnmatch(name, pattern) for pattern in data), name


def test_no_package_holds_more_files_than_one_can_look_over() -> None:
    files = Counter(str(path.parent.relative_to(ROOT)) for path in SOURCES)
    assert {folder: count for folder, count in files.items() if count > 18} == {}


def test_nothing_shadows_the_builtin() -> None:
    names = {
        (str(path.relative_to(ROOT)), name.name)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Import)
        for name in node.names
        if name.name.split(".")[0] == "compile" and not name.asname
    }
    assert names == set()


HEAVY = "torch", "tvm", "numpy", "onnx"
IMPORTED = f"""
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
    if found := {set(HEAVY)} & set(sys.modules):
        sys.exit(f"{{module}} imports {{', '.join(found)}}")
"""


def test_commands_import_nothing_heavy() -> None:
    modules = sorted({target.partition(":")[0] for target in COMMANDS.values()})
    command = [sys.executable, "-c", IMPORTED, *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
