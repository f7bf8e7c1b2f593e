"""`repghost lint`: check a Q/DQ ONNX file against the rules of another runtime, without that runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from repghost.terminal import say_page


@click.command("lint", short_help="Check a Q/DQ ONNX file against the rules of another runtime.")
@click.argument("file", type=click.Path(path_type=Path), metavar="MODEL.onnx")
@click.option("--for", "runtime", required=True, help="Whose rules: tensorrt.")
@click.option("--jetpack", default="6", show_default=True, help="Whose TensorRT has to read it: 5, 6 or 7.")
@click.option("--float", "as_float", is_flag=True, help="The file is float on purpose; int8 is not asked for.")
@click.option("--dla", is_flag=True, help="The file is meant for the deep learning accelerator.")
@click.option("--board", help="The Jetson it is for, e.g. orin-nano; refused where the JetPack does not run on it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(file: Path, as_json: bool, **wanted: Any) -> None:
    """Name each node of MODEL.onnx that breaks a rule, with the reason. Exit code 2: a rule is broken.

    Only onnx and numpy are used; the device and its software are not needed.
    """
    from repghost.api.linting import lint

    found = lint(file, **wanted)
    say_page(json.dumps(found.to_dict()) if as_json else repr(found))
    found.check()
