"""`repghost sensitivity`: which layers int8 hurts, and what each would cost in float or with 16-bit activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from repghost.commands.options.calibration import tell_quantized
from repghost.commands.options.json_option import json_option, write_json
from repghost.commands.options.quant_options import CalibrationRequest, calibration_options
from repghost.errors import UsageError
from repghost.terminal import say
from repghost.untrusted import parse_json, read_bounded

SHOWN = 20
MAX_PROFILE_BYTES = 16 << 20


@click.command("sensitivity", short_help="Say which layers int8 hurts, and what each would cost in float.")
@calibration_options
@click.option(
    "--profile",
    "profiles",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Twice: of the int8 and the fp32 bundle, from `repghost bench BUNDLE --per-layer --json FILE`.",
)
@json_option
@click.option("--svg", "svg_path", type=click.Path(path_type=Path), help="Write a figure.")
@click.option("--all", "everything", is_flag=True, help=f"Print every layer, not the first {SHOWN}.")
def command(
    request: CalibrationRequest,
    profiles: tuple[Path, ...],
    json_file: Path | None,
    svg_path: Path | None,
    everything: bool,
) -> None:
    """Quantize one tensor or one layer of NETWORK at a time, and say how much the answers change.

    The change is the Kullback-Leibler divergence of the class probabilities from those of the float network; it needs
    no labels. What float would cost is shown beside it, as the layer's share of the network's multiply-adds. With two
    profiles, each layer also shows how much longer it takes in float on the machine that was measured; two conversions
    come on top.

    For CPUs each layer that could read 16-bit activations shows how much nearer the answers of the int8 network come to
    the float network's when it alone does, and by how much the instructions of the network grow, as an estimate.
    """
    from repghost.api.quantization import quantize
    from repghost.api.sensitivity import float_prices

    if len(profiles) not in (0, 2):
        raise UsageError(f"--profile is given twice, for the int8 and for the fp32 bundle; not {len(profiles)} times.")
    prices = float_prices(*(_read_profile(path) for path in profiles)) if profiles else {}
    made = quantize(request.checkpoint, request.images_of_set(), **request.options())
    tell_quantized(made, request)
    found = made.sensitivity(prices=prices)
    if svg_path is not None:
        found.save(svg_path)
    if write_json(found.to_dict(), json_file):
        return
    for line in found.lines(everything):
        say(line)
    rows, pictures = found.rows, found.about["pictures"]
    outputs, weights = sum(row.activation or 0.0 for row in rows), sum(row.weight or 0.0 for row in rows)
    say(
        f"divergence in nats, mean over {pictures} pictures; the sum over all {len(rows)} rows: outputs {outputs:.2e}, "
        f"weights {weights:.2e}"
    )
    if "divergence" in found.about:
        say(
            f"all of int8: {found.about['divergence']:.2e}; a gain is what is lost of that when the layer alone reads "
            '16 bits ({"activations": "int16"} in a config), its cost an estimate of the instructions it adds'
        )


def _read_profile(path: Path) -> dict[str, Any]:
    values = parse_json(read_bounded(path, MAX_PROFILE_BYTES), str(path), MAX_PROFILE_BYTES)
    layers = values.get("layers") if isinstance(values, dict) else None
    if not isinstance(layers, list) or not all(
        isinstance(layer, dict) and "name" in layer and isinstance(layer.get("min_us"), int | float) for layer in layers
    ):
        raise UsageError(
            f"{str(path)!r} is not a profile. Write one with `repghost bench BUNDLE --per-layer --json FILE`."
        )
    return dict(values)
