"""`repghost explain`: every layer of a QDQ file, what it costs, and why it cannot be computed in integers if so."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click


@click.command("explain", short_help="Show each layer of a quantized network.")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.qdq.onnx")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: Path, as_json: bool) -> None:
    """List the layers of a quantized network: operator, shapes, multiply-adds, bytes of weights and arithmetic.

    A layer that cannot be computed in integers is shown as float, with the reason below it.
    """
    from compile.frontend import read_qdq
    from compile.layers import format_table, layers
    from compile.passes import explain

    graph = read_qdq(file)
    rows = layers(graph, explain(graph))
    if as_json:
        document = {"file": str(file), "program_digest": graph.digest, "layers": [asdict(row) for row in rows]}
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(format_table(rows))
    click.echo(f"program digest {graph.digest}")
    if any(row.reason for row in rows):
        click.echo("As it is, this file cannot be compiled to integers: change the layers above where it is exported.")
    else:
        click.echo("Every layer is an integer operator. Next: repghost compile --target arm64 --weights CKPT")
