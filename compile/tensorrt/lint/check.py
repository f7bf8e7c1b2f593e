"""`repghost lint --for tensorrt`: what TensorRT would refuse or not fuse, found with onnx and numpy alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.tensorrt.jetpack import JetPack
from compile.tensorrt.lint.dla import dla_breaches
from compile.tensorrt.lint.graph import WEIGHTED, Breach, LintGraph, read_graph
from compile.tensorrt.lint.rules import FLOAT_RULES, INT8_RULES
from repghost.errors import UsageError


@dataclass(frozen=True)
class LintResult:
    """What was found in a file."""

    breaches: tuple[Breach, ...]
    int8_layers: tuple[str, ...]
    layers: int  # with weights

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        breaches = [dict(vars(breach)) for breach in self.breaches]
        return {"clean": not breaches, "int8": len(self.int8_layers), "layers": self.layers, "breaches": breaches}


def lint_graph(graph: LintGraph, jetpack: JetPack, int8: bool = True, dla: bool = False) -> LintResult:
    """Return every breach of a graph.

    Args:
        graph: from `read_graph` or `index_graph`.
        jetpack: whose TensorRT has to read it.
        int8: int8 is asked for; otherwise only what concerns every file is looked at.
        dla: it is meant for DLA.
    """
    rules = (*FLOAT_RULES, *(INT8_RULES if int8 else ()))
    found = [breach for rule in rules for breach in rule(graph, jetpack)]
    found += dla_breaches(graph) if dla else ()
    return LintResult(tuple(found), graph.int8_layers(), sum(1 for _ in graph.nodes(*WEIGHTED)))


def lint_file(path: Path, jetpack: JetPack, int8: bool = True, dla: bool = False) -> LintResult:
    """Read a file and return every breach (arguments as `lint_graph`).

    Raises:
        UsageError: when the file cannot be read, or a float file is linted for DLA as int8.
    """
    try:
        return lint_graph(read_graph(path), jetpack, int8, dla)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
