"""The source code that a result depends on, as a digest for the key it is kept under.

A result depends on the module that makes it and on whatever that imports from our packages, directly or not, at its top
or in a function. What is imported for type checkers alone does not count, nor do comments, docstrings and layout. The
class of an argument is not found where it is not imported: a key names its module as well.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from compile.storage.stage_cache import ROOT

PACKAGES = ("repghost", "calib", "compile", "benchmarks")
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
# What makes the fused network of a checkpoint, for results that are kept under the digest of the checkpoint's file, and
# what computes the graph of any other network, for results that are kept under the digest of the graph.
FUSED_NETWORK = (
    "repghost.checkpoints.checkpoint",
    "repghost.network.fuse",
    "repghost.graph.trace",
    "repghost.graph.module",
)


@cache
def code_digest(*modules: str, alone: tuple[str, ...] = (), root: Path = ROOT) -> str:
    """Return the SHA-256 over the code of modules and of every module of ours that they import.

    Args:
        modules: dotted names, e.g. "compile.codegen.program_to_objects".
        alone: modules whose own code counts, but not what they import: those that call the others and keep the result.
        root: the folder of the packages.

    Raises:
        ModuleNotFoundError: when there is no such module.
    """
    own = {name: _module(root, name) for name in alone}
    reached = {name: _module(root, name) for name in modules}
    waiting = [name for module in reached.values() for name in module.imports]
    while waiting:
        name = waiting.pop()
        if name not in reached and _path(root, name):
            reached[name] = _module(root, name)
            waiting += reached[name].imports
    digest = hashlib.sha256()
    for name, module in sorted((own | reached).items()):
        digest.update(f"{name}\0{module.digest}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Module:
    digest: str  # of its syntax tree without docstrings
    imports: tuple[str, ...]  # names that may be modules of ours, its package among them


@cache
def _module(root: Path, name: str) -> _Module:
    path = _path(root, name)
    if path is None:
        raise ModuleNotFoundError(f"{root} has no module {name}")
    tree = ast.parse(path.read_bytes())
    imports = {name.rpartition(".")[0], *_imports(tree)}
    for node in (tree, *_statements(tree)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return _Module(digest, tuple(sorted(it for it in imports if it.partition(".")[0] in PACKAGES)))


def _path(root: Path, name: str) -> Path | None:
    """Return the file of a module or of a package; None for what is neither, e.g. a function of a module."""
    place = root.joinpath(*name.split("."))
    return next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements inside a statement but those for type checkers; expressions hold none, and most nodes."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    for block in ("body", "orelse", "handlers", "finalbody", "cases"):
        for child in getattr(node, block, ()):
            yield child
            yield from _statements(child)


def _imports(node: ast.AST) -> Iterator[str]:
    """Return every name that code imports, as "a.b" and, since b may be a module or not, "a" for `from a import b`."""
    for statement in _statements(node):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            yield from (statement.module, *(f"{statement.module}.{alias.name}" for alias in statement.names))


def files_digest(paths: Iterable[Path]) -> str:
    """Return the SHA-256 over the names and the content of files, e.g. C sources that a linker compiles."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
