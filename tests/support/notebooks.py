"""Notebooks of docs/, run as their cells stand: one namespace, and the last expression of a cell shown as HTML."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any


def run_notebook(path: Path) -> dict[str, Any]:
    """Run every code cell and return the namespace; what a cell ends in is shown, as a notebook would."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{path.name}:{cell['id']}", "exec"), names)
        if last is not None:
            assert isinstance(last, ast.Expr)
            show(eval(compile(ast.Expression(last.value), f"{path.name}:{cell['id']}", "eval"), names))
    return names


def show(value: object) -> None:
    """Make what a notebook shows of a value: HTML, an image, or text."""
    for way in ("_repr_html_", "_repr_png_", "__repr__"):
        made = getattr(value, way, None)
        if made is not None and made():
            return
    raise AssertionError(f"nothing is shown of {type(value).__name__}")
