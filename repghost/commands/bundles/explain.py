"""`repghost explain`: the layers of a QDQ file or bundle, with costs, arithmetic, and the reason for each in float."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from calib.importer.names import is_named
from repghost.errors import UsageError, unknown_value
from repghost.terminal import say, say_page, shell_command

if TYPE_CHECKING:
    from compile.passes.layers import Layer


@click.command("explain", short_help="Show each layer of a quantized or compiled network.")
@click.argument("file", type=click.Path(path_type=Path), metavar="BUNDLE|FILE.onnx|timm:NAME")
@click.option("--variant", help="The instruction set of a bundle to show.  [default: its fastest]")
@click.option(
    "--preprocess",
    type=click.Path(path_type=Path),
    help="JSON, for a file that does not say how pictures are prepared.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: Path, variant: str | None, preprocess: Path | None, as_json: bool) -> None:
    """List the layers of a network: operator, shapes, multiply-adds, bytes of weights and arithmetic.

    A float network, an ONNX file or timm:NAME or torchvision:NAME with random weights, is quantized on noise first, to
    see what its layers become. For a bundle the kernel of each layer is named too; the end of its name is the
    instruction set. In a QDQ file a layer that cannot be computed in integers is shown as float, with the reason below
    it. Exit code 2: there is one, so the network cannot be compiled.
    """
    if file.is_dir():
        if preprocess is not None:
            raise UsageError(f"--preprocess {preprocess} has no effect: a bundle says how pictures are prepared.")
        _explain_bundle(file, variant, as_json)
    elif variant is not None:
        raise UsageError(f"--variant {variant} needs the folder of a bundle, not {file}: a QDQ file is not compiled.")
    elif is_named(str(file)) or not _is_quantized(file):
        _explain_float(str(file), preprocess, as_json)
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


def _is_quantized(file: Path) -> bool:
    from calib.importer.onnx_file import is_quantized

    return is_quantized(file)


def _explain_float(network: str, preprocess: Path | None, as_json: bool) -> None:
    """Show what the layers of a float network become when it is quantized."""
    from compile.stages.trial import quantized_on_noise

    with TemporaryDirectory(prefix="repghost-explain-") as folder:
        path = Path(folder) / "trial.qdq.onnx"
        path.write_bytes(quantized_on_noise(network, preprocess, say))
        rows, digest = _file_layers(path, None)
    if as_json:
        _print_json(Path(network), digest, rows)
    else:
        _print_table(rows, digest)
    _refuse_float_layers(network, rows)
    if not as_json:
        given = shell_command("repghost", "quantize", network, "--data", "DIR", "-o", "model.qdq.onnx")
        say(f"Every layer becomes an integer operator. Next: {given}")


def _explain_file(file: Path, preprocess: Path | None, as_json: bool) -> None:
    rows, digest = _file_layers(file, preprocess)
    if as_json:
        _print_json(file, digest, rows)
    else:
        _print_table(rows, digest)
    _refuse_float_layers(str(file), rows)
    if not as_json:
        option = f" --preprocess {shlex.quote(str(preprocess))}" if preprocess else ""
        say(
            "Every layer is an integer operator. Next: "
            f"repghost compile --target arm64 --weights {shlex.quote(str(file))} --data DIR{option}"
        )


def _file_layers(file: Path, preprocess: Path | None) -> tuple[tuple[Layer, ...], str]:
    """Return the layers of a QDQ file and its program digest."""
    from compile.frontend.qdq_file import read_qdq_as_given
    from compile.passes import explain
    from compile.passes.layers import layers

    graph = read_qdq_as_given(file, preprocess)
    return layers(graph, explain(graph)), graph.digest


def _refuse_float_layers(network: str, rows: Sequence[Layer]) -> None:
    """Raise when a layer cannot be computed in integers."""
    count = sum(bool(row.reason) for row in rows)
    if count:
        raise UsageError(
            f"{network}: {count} of {len(rows)} layers cannot be computed in integers, so it cannot be compiled as "
            "it is. Change the layers that are named where the network is exported."
        )


def _print_table(rows: Sequence[Layer], digest: str) -> None:
    from compile.passes.layers import format_table

    say_page(format_table(rows))
    say(f"program digest {digest}")


def _print_json(file: Path, digest: str, rows: Sequence[Layer], **more: Any) -> None:
    document = {"file": str(file), "program_digest": digest, **more, "layers": [asdict(row) for row in rows]}
    click.echo(json.dumps(document, indent=2))
