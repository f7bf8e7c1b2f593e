"""Docstrings name the arguments and attributes that exist; parsed, not imported."""

from __future__ import annotations

import ast
import re

from tests.test_imports import PATHS, TREES

SECTION = re.compile(r"^(?:Args|Attributes):\n((?:[ ]{4}.*\n?|\n)+)", re.MULTILINE)
ENTRY = re.compile(r"^[ ]{4}(\w+):", re.MULTILINE)


def parameters(function: ast.FunctionDef) -> set[str]:
    arguments = function.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
    return {argument.arg for argument in every if argument is not None}


def members(definition: ast.ClassDef) -> set[str]:
    """Fields, methods, what `__init__` takes, and what methods put into self."""
    functions = [node for node in definition.body if isinstance(node, ast.FunctionDef)]
    names = {str(ast.unparse(node.target)) for node in definition.body if isinstance(node, ast.AnnAssign)}
    names |= {function.name for function in functions}
    names |= {name for function in functions if function.name == "__init__" for name in parameters(function)}
    return names | {node.attr for node in ast.walk(definition) if isinstance(node, ast.Attribute)}


def unknown_names(tree: ast.Module) -> list[str]:
    """What docstrings describe and code does not have."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            known = parameters(node) if isinstance(node, ast.FunctionDef) else members(node)
            described = SECTION.findall(ast.get_docstring(node) or "")
            found += [f"{node.name}: {name}" for section in described for name in ENTRY.findall(section)
                      if name not in known]  # fmt: skip
    return found


def test_what_a_docstring_describes_is_there() -> None:
    assert {module: names for module in PATHS if (names := unknown_names(TREES[module]))} == {}


def test_a_name_that_is_gone_is_found() -> None:
    source = 'def f(new: int) -> None:\n    """Do.\n\n    Args:\n        old: a number.\n    """\n'
    assert unknown_names(ast.parse(source)) == ["f: old"]
