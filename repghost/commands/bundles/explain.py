"""`repghost explain`: the layers of a QDQ file or bundle, with costs, arithmetic, and the reason for each in float."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from repghost.commands.progress.notes import say_notes
from repghost.files import write_text_atomically
from repghost.terminal import say, say_page, shell_command

if TYPE_CHECKING:
    from repghost.api.explanation import Explanation


@click.command("explain", short_help="Show each layer of a quantized or compiled network.")
@click.argument("file", type=click.Path(path_type=Path), metavar="BUNDLE|FILE.onnx|timm:NAME")
@click.option("--variant", help="The instruction set of a bundle to show.  [default: its fastest]")
@click.option(
    "--preprocess",
    type=click.Path(path_type=Path),
    help="JSON, for a file that does not say how pictures are prepared.",
)
@click.option("--core", help="Of an arm64 bundle: show the cycles of each layer on this core, e.g. cortex-a55.")
@click.option("--weights", type=click.Path(path_type=Path), help="With --core: the float network, if not beside it.")
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw it as one page besides: the cost and the int8 error of each layer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    file: Path,
    variant: str | None,
    preprocess: Path | None,
    core: str | None,
    weights: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """List the layers of a network: operator, shapes, multiply-adds, bytes of weights and arithmetic.

    A float network, an ONNX file or timm:NAME or torchvision:NAME with random weights, is quantized on noise first, to
    see what its layers become. For a bundle the kernel of each layer is named too; the end of its name is the
    instruction set. In a QDQ file a layer that cannot be computed in integers is shown as float, with the reason below
    it. Exit code 2: there is one, so the network cannot be compiled.

    With --core each layer of an arm64 bundle is counted under emulation and priced by LLVM's scheduling model of that
    core: its cycles, the least they could be, and what it waits for.

    With --html the network is drawn block by block, each layer with its cost (cycles with --core, multiply-adds
    otherwise) and, where the report.json of the run lies beside the file or the bundle, with its error in int8.
    """
    from repghost.api.explanation import BUNDLE, explain

    found = explain(file, variant=variant, preprocess=preprocess, core=core, weights=weights)
    say_notes(found.notes)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
    else:
        say_page(repr(found))
    if html is not None:
        write_text_atomically(html, found.to_html())
        say(f"written: {html}", err=as_json)
    found.check()
    if not as_json:
        say(*(_of_bundle(found) if found.kind == BUNDLE else [_next(found, preprocess)]))


def _of_bundle(found: Explanation) -> list[str]:
    """Return what to say of a bundle's layers."""
    target, chosen = found.about["target"], found.about["variant"]
    others = ", ".join(name for name in found.about["variants"] if name != chosen)
    lines = [f"target {target}, instruction set {chosen}" + (f"; also in this bundle: {others}" if others else "")]
    if any(row.is_float for row in found.layers):
        precision = found.about["precision"]
        lines.append(
            f"The bundle was built in {precision}, so its layers are float; repghost compile --precision int8 builds "
            "the integers."
        )
    else:
        lines.append("Every layer is an integer operator, with the same result on every machine.")
    return [*lines, f"Next: {shell_command('repghost', 'bench', found.source, '--per-layer')}"]


def _next(found: Explanation, preprocess: Path | None) -> str:
    """Return what can be done with a network all of whose layers become integers."""
    if found.kind == "float":
        given = shell_command("repghost", "quantize", found.source, "--data", "DIR", "-o", "model.qdq.onnx")
        return f"Every layer becomes an integer operator. Next: {given}"
    option = f" --preprocess {shlex.quote(str(preprocess))}" if preprocess else ""
    return (
        "Every layer is an integer operator. Next: "
        f"repghost compile --target arm64 --weights {shlex.quote(found.source)} --data DIR{option}"
    )
