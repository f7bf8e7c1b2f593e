"""Where an import may stand inside a function: only where it keeps a heavy library from being loaded too early.

Static: the files are parsed, not imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

import repghost
from repghost import cli
from tests.support import ROOT

PACKAGES = ("repghost", "calib", "compile", "benchmarks")
COMMANDS = ("repghost.commands", "repghost.cli")  # load what they need when a command is called
HEAVY = frozenset(
    {
        "_tools", "ai_edge_litert", "ai_edge_quantizer", "braceexpand", "datasets", "elftools", "huggingface_hub",
        "litert_torch", "matplotlib", "mkdocs", "MNN", "model_signing", "modelopt", "msgspec", "ncnn", "nncf", "onnx",
        "onnxruntime", "openvino", "PIL", "pycocotools", "safetensors", "tensorboard", "tensorrt",
        "tensorrt_rtx", "timm", "torch", "torch_tensorrt", "torchvision", "tqdm", "tvm", "wandb", "webdataset", "yaml",
        "ziglang",
    }
)  # fmt: skip


# What the files of the commands may import besides the library's public layer and each other: what refuses, prints,
# reads and writes; and two dataclasses whose fields are options of a command, with their defaults.
BELOW_THE_ROOF = (
    "repghost.api.", "repghost.commands.", "repghost.errors", "repghost.files", "repghost.sizes", "repghost.terminal",
    "repghost.untrusted", "compile.subject.request", "calib.qat.settings",
)  # fmt: skip
# The commands that call more than one public function of the library, and why; every other one calls one.
SEVERAL = {
    "repghost.commands.bundles.report": "--build compiles every width first: build_widths, then report",
    "repghost.commands.network.fuse": "--check compares what an earlier call wrote: compare_converted instead",
    "repghost.commands.quantization.qat": "two lines of a user's script: quantize, then train_quantized",
    "repghost.commands.training.validate": "--all-widths is a function of its own: validate_widths instead",
}
NOT_PUBLIC = {
    "build_widths": "the loop of report --build over repghost.compile",
    "compare_converted": "what fuse --check says of two files",
    "fuse_network": "repghost.fuse, which returns the module without the figures that the command prints",
}
HELPERS = {  # of commands: what a value means, and names of files
    "is_jetson", "is_quantized_file", "config_beside", "calibration_count", "check_resume", "float_prices", "Dataset",
    "BUNDLE", "percent", "without_idle", "calibrating_images",
}  # fmt: skip


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class Trees(dict[str, ast.Module]):
    """The sources by the name of their module; each is parsed when it is asked for, not where tests are collected."""

    def __missing__(self, name: str) -> ast.Module:
        self[name] = ast.parse(PATHS[name].read_bytes())
        return self[name]


PATHS = {module_name(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
TREES = Trees()


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules that a statement imports; the linter allows no relative ones."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    members = [f"{node.module}.{alias.name}" for alias in node.names]
    return [member if member in PATHS else str(node.module) for member in members]


def at_module_level(nodes: Iterable[ast.stmt]) -> Iterator[str]:
    """The modules that are imported when this code runs, but not inside its functions or for type checkers."""
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported(node)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from at_module_level(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for name in ("body", "orelse", "finalbody"):
                yield from at_module_level(getattr(node, name, ()))
            for handler in getattr(node, "handlers", ()):
                yield from at_module_level(handler.body)


def with_packages(name: str) -> list[str]:
    """A module and the packages around it, whose `__init__` is run too."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


@cache
def heavy_libraries(module: str) -> frozenset[str]:
    """The heavy libraries that importing a module of ours loads."""
    waiting, seen = [module], set[str]()
    while waiting:
        for name in with_packages(waiting.pop()):
            if name not in seen:
                seen.add(name)
                waiting += at_module_level(TREES[name].body) if name in PATHS else ()
    return frozenset(seen & HEAVY)


def outside_type_checking(nodes: Iterable[ast.stmt]) -> Iterator[str]:
    """The modules that are imported anywhere in this code, but not for type checkers."""
    for node in nodes:
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    yield from imported(inner)


def needless(module: str) -> Iterator[str]:
    """The imports inside functions of a module that could stand at its top."""
    functions = (node for node in ast.walk(TREES[module]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    for function in functions:
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name in imported(node):
                    ours = name.partition(".")[0] in PACKAGES
                    loaded = (
                        heavy_libraries(name) - heavy_libraries(module) if ours else set(with_packages(name)) & HEAVY
                    )
                    if not loaded:
                        yield f"{module}:{node.lineno} imports {name} inside {function.name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_an_import_inside_a_function_defers_a_heavy_library(package: str) -> None:
    modules = [name for name in PATHS if name.partition(".")[0] == package and not name.startswith(COMMANDS)]
    assert [found for name in modules for found in needless(name)] == []


def test_what_only_detectors_need_is_not_loaded_for_others() -> None:
    for module in ("repghost.api.quantization", "repghost.api.accepted.coco_images", "repghost.api.publishing.pushing"):
        assert "torchvision" not in heavy_libraries(module), module
    assert "torchvision" in heavy_libraries("repghost.detection.checkpoint")


@pytest.mark.parametrize("module", sorted(name for name in PATHS if name.startswith("repghost.commands.")))
def test_commands_call_the_public_functions_and_nothing_deeper(module: str) -> None:
    ours = (name for name in outside_type_checking(TREES[module].body) if name.partition(".")[0] in PACKAGES)
    assert [name for name in ours if not f"{name}.".startswith(BELOW_THE_ROOF)] == []


def functions_of_the_library(module: str) -> set[str]:
    """The public functions that a command imports."""
    nodes = (node for node in ast.walk(TREES[module]) if isinstance(node, ast.ImportFrom))
    found = {alias.name for node in nodes if str(node.module).startswith("repghost.api.") for alias in node.names}
    return {name for name in found - HELPERS if not name[0].isupper()}


@pytest.mark.parametrize("command", sorted({target.partition(":")[0] for target in cli.COMMANDS.values()}))
def test_a_command_is_one_call_of_the_library(command: str) -> None:
    called = functions_of_the_library(command)
    assert called and (len(called) > 1) == (command in SEVERAL), called
    assert called <= {*repghost.__all__, *NOT_PUBLIC}


def test_the_rule_finds_a_needless_import(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "def f():\n    import json\n    import torch\n    from repghost.errors import UsageError\n"
    monkeypatch.setitem(TREES, "repghost.made", ast.parse(source))
    assert list(needless("repghost.made")) == [
        "repghost.made:2 imports json inside f",
        "repghost.made:4 imports repghost.errors inside f",
    ]
