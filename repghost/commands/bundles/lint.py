"""`repghost lint`: check a Q/DQ ONNX file against the rules of another runtime, without that runtime."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from repghost.errors import UsageError, unknown_value
from repghost.terminal import say

RUNTIMES = ("tensorrt",)


@dataclass(frozen=True)
class LintRequest:
    """What the file is meant for, each option under its own name."""

    jetpack: str
    as_float: bool
    dla: bool
    board: str | None


@click.command("lint", short_help="Check a Q/DQ ONNX file against the rules of another runtime.")
@click.argument("file", type=click.Path(path_type=Path), metavar="MODEL.onnx")
@click.option("--for", "runtime", required=True, help="Whose rules: tensorrt.")
@click.option("--jetpack", default="6", show_default=True, help="Whose TensorRT has to read it: 5, 6 or 7.")
@click.option("--float", "as_float", is_flag=True, help="The file is float on purpose; int8 is not asked for.")
@click.option("--dla", is_flag=True, help="The file is meant for the deep learning accelerator.")
@click.option("--board", help="The Jetson it is for, e.g. orin-nano; refused where the JetPack does not run on it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(file: Path, runtime: str, as_json: bool, **wanted: Any) -> None:
    """Name each node of MODEL.onnx that breaks a rule, with the reason. Exit code 2: a rule is broken.

    Only onnx and numpy are used; the device and its software are not needed.
    """
    if runtime not in RUNTIMES:
        raise unknown_value("runtime", runtime, RUNTIMES)
    from compile.tensorrt.jetpack import check_board, check_dla, find_board, find_jetpack
    from compile.tensorrt.lint.check import lint_file

    request = LintRequest(**wanted)
    row = find_jetpack(request.jetpack)
    if request.board is not None:
        module = find_board(request.board)
        check_board(module, row)
        if request.dla:
            check_dla(module)
    result = lint_file(file, row, not request.as_float and not request.dla, request.dla)
    if as_json:
        click.echo(json.dumps({"file": str(file), "for": runtime, "jetpack": request.jetpack, **result.to_dict()}))
    else:
        for breach in result.breaches:
            say(str(breach))
    count = len(result.breaches)
    if count:
        raise UsageError(f"{file}: {count} breach{'es' * (count > 1)} of TensorRT's rules for JetPack {row.name}.")
    if not as_json:
        say(f"clean: {len(result.int8_layers)} of {result.layers} layers in int8, JetPack {row.name}")
