"""Keys name the code that a result depends on: what does not make it may change, what makes it may not."""

from __future__ import annotations

import ast
import inspect
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

from compile.stages import compile_networks, evaluate, layer_error
from compile.stages.compile_networks import Compilation
from compile.storage.code_key import PACKAGES, _module, code_digest, files_digest
from compile.storage.stage_cache import Files
from compile.targets.precisions import INT8
from compile.targets.table import ARM64
from compile.tensorrt import accuracy as tensorrt_accuracy
from tests.support import ROOT
from tests.support.shapes import small_program

Edit = Callable[[str], str]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of our packages' Python files; a new folder each time, since what was read is remembered."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "runner", "third_party")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    return tmp_path


def reworded(text: str) -> str:
    """Return the text with a docstring and a comment more."""
    return '"""Other words."""\n' + re.sub(r'\A""".*?"""\n', "", text, flags=re.DOTALL) + "\n# another comment\n"


def changed(text: str) -> str:
    return text + "\nCHANGED = True\n"


def replaced(old: str, new: str) -> Edit:
    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return edit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "edit", "same"),
    [
        ("compile/report/run_page.py", changed, True),
        ("compile/deploy/probe.py", changed, True),
        ("repghost/training/core/loop.py", changed, True),
        ("compile/schedules/int8/gemm.py", reworded, True),
        ("compile/schedules/int8/gemm.py", changed, False),
        ("compile/schedules/int8/gemm.py", replaced("def int8_panels", "def other_panels"), False),
        ("compile/intrin/i8mm.py", changed, False),
        ("compile/ir/memory_plan.py", changed, False),
        ("calib/integer/program.py", changed, False),
        ("repghost/errors.py", changed, False),
        ("compile/schedules/__init__.py", changed, False),
        ("compile/stages/compile_networks.py", changed, False),  # it says how the objects are packed
        ("compile/bundle/manifest.py", changed, True),  # which the stage imports, and no object depends on
    ],
)
def test_the_key_of_a_compiled_network(
    copy: Path, monkeypatch: pytest.MonkeyPatch, file: str, edit: Edit, same: bool
) -> None:
    compilation = Compilation(small_program(), ARM64, INT8)
    before = compilation.key()
    path = copy / file
    path.write_text(edit(path.read_text()))
    monkeypatch.setattr(compile_networks, "code_digest", partial(code_digest, root=copy))
    assert (compilation.key() == before) == same


class AskedError(Exception):
    """Carries the key that a stage asked its cache for."""


class AskedCache:
    def get(self, stage: str, key: dict[str, Any], make: Callable[[], Files]) -> tuple[Files, bool]:
        raise AskedError(key["code"])


def asked_code(module: ModuleType, ask: Callable[[], object], root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the digest of code in the key that a stage makes when the packages lie in `root`."""
    monkeypatch.setattr(module, "code_digest", partial(code_digest, root=root))
    with pytest.raises(AskedError) as caught:
        ask()
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "ask", "file"),
    [
        (evaluate, "float_predictions", "repghost/data/images/preprocess.py"),
        (evaluate, "float_predictions", "repghost/evaluation/accuracy.py"),
        (layer_error, "layer_error", "calib/ptq/apply.py"),
        (layer_error, "layer_error", "calib/ptq/equalize.py"),
        (tensorrt_accuracy, "_predictions", "repghost/data/images/preprocess.py"),
    ],
)
def test_the_key_of_a_stage_names_what_it_calls(
    copy: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, ask: str, file: str
) -> None:
    def call() -> object:  # the code of the key depends on no argument
        function = getattr(module, ask)
        arguments = [MagicMock() for _ in inspect.signature(function).parameters][:-1]
        return function(*arguments, AskedCache())

    if module is not evaluate:
        monkeypatch.setattr(module, "sha256", lambda content: "")
    before = asked_code(module, call, ROOT, monkeypatch)
    (copy / file).write_text(changed((copy / file).read_text()))
    assert asked_code(module, call, copy, monkeypatch) != before


def test_every_import_counts_but_those_for_type_checkers(tmp_path: Path) -> None:
    names = ("top", "function", "submodule", "typing_only", "through", "unused")
    (tmp_path / "calib").mkdir()
    for name in ("__init__", *names):
        (tmp_path / f"calib/{name}.py").write_text("")
    (tmp_path / "calib/top.py").write_text("import calib.through as other")
    (tmp_path / "calib/main.py").write_text(
        "from calib.top import x\nfrom calib import submodule\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from calib.typing_only import T\n"
        "def f():\n    from calib.function import y\n"
    )

    def digest() -> str:
        code_digest.cache_clear()
        _module.cache_clear()
        return code_digest("calib.main", root=tmp_path)

    for name in ("__init__", *names):
        before = digest()
        (tmp_path / f"calib/{name}.py").write_text("VALUE = 1\n")
        assert (digest() == before) == (name in ("typing_only", "unused")), name
        if name == "top":
            (tmp_path / "calib/top.py").write_text("import calib.through as other")
    assert digest() == digest()


def test_a_module_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"compile\.codegen\.nothing"):
        code_digest("compile.codegen.nothing")


@pytest.mark.slow
def test_every_module_that_a_key_names_is_there() -> None:
    found = 0
    for path in [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "code_digest":
                named = [it.value for it in node.args if isinstance(it, ast.Constant)]
                assert named and len(code_digest(*named)) == 64, path
                found += 1
    assert found >= 10


def test_files_are_known_by_name_and_content(tmp_path: Path) -> None:
    first, second = tmp_path / "a.c", tmp_path / "b.c"
    first.write_text("int a;")
    second.write_text("int b;")
    known = files_digest([first, second])
    assert files_digest([second, first]) == known
    assert files_digest([first]) != known
    second.write_text("int c;")
    assert files_digest([first, second]) != known
