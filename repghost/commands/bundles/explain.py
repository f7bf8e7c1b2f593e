"""`repghost explain`: the layers of a QDQ file or bundle, with costs, arithmetic, and the reason for each in float."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repghost.errors import UsageError, unknown_value
from repghost.terminal import say, say_page, shell_command

if TYPE_CHECKING:
    from compile.passes.layers import Layer


@click.command("explain", short_help="Show each layer of a quantized or compiled network.")
@click.argument("file", type=click.Path(path_type=Path), metavar="BUNDLE|FILE.qdq.onnx")
@click.option("--variant", help="The instruction set of a bundle to show.  [default: its fastest]")
@click.option(
    "--preprocess",
    type=click.Path(path_type=Path),
    help="JSON, for a file that does not say how pictures are prepared.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: Path, variant: str | None, preprocess: Path | None, as_json: bool) -> None:
    """List the layers of a network: operator, shapes, multiply-adds, bytes of weights and arithmetic.

    For a bundle the kernel of each layer is named too; the end of its name is the instruction set. In a QDQ file a
    layer that cannot be computed in integers is shown as float, with the reason below it. Exit code 2: there is one, so
    the file cannot be compiled.
    """
    if file.is_dir():
        if preprocess is not None:
            raise UsageError(f"--preprocess {preprocess} has no effect: a bundle says how pictures are prepared.")
        _explain_bundle(file, variant, as_json)
    elif variant is not None:
        raise UsageError(f"--variant {variant} needs the folder of a bundle, not {file}: a QDQ file is not compiled.")
    else:
        _explain_file(file, preprocess, as_json)


def _explain_bundle(path: Path, variant: str | None, as_json: bool) -> None:
    from compile.bundle.layers import bundle_layers
    from compile.bundle.manifest import ENGINE_TARGETS, check_bundle

    bundle = check_bundle(path)
    if bundle.target_name in ENGINE_TARGETS:
        raise UsageError(f"{path} is for {bundle.target_name}; its promise.txt says what each layer has to become.")
    variants = [str(name) for name in bundle.manifest["variants"]]
    if variant is not None and variant not in variants:
        raise unknown_value("variant of this bundle", variant, variants)
    chosen = variant or variants[-1]
    rows = bundle_layers(bundle, chosen)
    precision, target = bundle.manifest["precision"], bundle.target_name
    if as_json:
        _print_json(path, bundle.manifest["program_digest"], rows, target=target, precision=precision, variant=chosen)
        return
    _print_table(rows, bundle.manifest["program_digest"])
    others = ", ".join(name for name in variants if name != chosen)
    say(f"target {target}, instruction set {chosen}" + (f"; also in this bundle: {others}" if others else ""))
    if any(row.is_float for row in rows):
        say(f"The bundle was built in {precision}, so its layers are float; PRECISION=int8 builds the integers.")
    else:
        say("Every layer is an integer operator, with the same result on every machine.")
    say(f"Next: {shell_command('repghost', 'bench', path, '--per-layer')}")


def _explain_file(file: Path, preprocess: Path | None, as_json: bool) -> None:
    from compile.frontend.qdq_file import read_qdq_as_given
    from compile.passes import explain
    from compile.passes.layers import layers

    graph = read_qdq_as_given(file, preprocess)
    rows = layers(graph, explain(graph))
    if as_json:
        _print_json(file, graph.digest, rows)
    else:
        _print_table(rows, graph.digest)
    count = sum(bool(row.reason) for row in rows)
    if count:
        raise UsageError(
            f"{file}: {count} of {len(rows)} layers cannot be computed in integers, so this file cannot be compiled as "
            "it is. Change the layers that are named where the network is exported."
        )
    if not as_json:
        option = f" --preprocess {shlex.quote(str(preprocess))}" if preprocess else ""
        say(
            "Every layer is an integer operator. Next: "
            f"repghost compile --target arm64 --weights {shlex.quote(str(file))} --data DIR{option}"
        )


def _print_table(rows: Sequence[Layer], digest: str) -> None:
    from compile.passes.layers import format_table

    say_page(format_table(rows))
    say(f"program digest {digest}")


def _print_json(file: Path, digest: str, rows: Sequence[Layer], **more: Any) -> None:
    document = {"file": str(file), "program_digest": digest, **more, "layers": [asdict(row) for row in rows]}
    click.echo(json.dumps(document, indent=2))
