"""`repghost sensitivity`: which layers int8 hurts, and what each would cost in float."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repghost.commands.options.calibration import Calibration, open_calibration, progress_bar
from repghost.commands.options.quant_options import CalibrationRequest, calibration_options
from repghost.errors import UsageError
from repghost.sizes import reported
from repghost.terminal import say
from repghost.untrusted import parse_json, read_bounded

if TYPE_CHECKING:
    from calib.analysis.sensitivity import Sensitivity
    from calib.settings.config import QuantConfig

MEASURED_PIXELS = 1 << 19  # of the images that measure: 128 at 64 pixels
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
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every row as JSON.")
@click.option("--svg", "svg_path", type=click.Path(path_type=Path), help="Write a figure.")
@click.option("--all", "everything", is_flag=True, help=f"Print every layer, not the first {SHOWN}.")
def command(
    request: CalibrationRequest,
    profiles: tuple[Path, ...],
    json_path: Path | None,
    svg_path: Path | None,
    everything: bool,
) -> None:
    """Quantize one tensor or one layer of NETWORK at a time, and say how much the answers change.

    The change is the Kullback-Leibler divergence of the class probabilities from those of the float network; it needs
    no labels. What float would cost is shown beside it, as the layer's share of the network's multiply-adds. With two
    profiles, each layer also shows how much longer it takes in float on the machine that was measured; two conversions
    come on top.
    """
    from calib.analysis.sensitivity_page import float_prices, make_rows, to_dict, to_svg, to_table
    from repghost.files import write_text_atomically
    from repghost.tables import text_lines

    if len(profiles) not in (0, 2):
        raise UsageError(f"--profile is given twice, for the int8 and for the fp32 bundle; not {len(profiles)} times.")
    config = request.settings()
    prices = float_prices(*(_read_profile(path) for path in profiles)) if profiles else {}
    opened = open_calibration(request)
    entries, work, measured = _measure(opened, config)
    rows = make_rows(entries, work, prices)
    size = reported(opened.preprocess.size)
    about = {
        "model": opened.network.name,
        "checkpoint_sha256": opened.network.digest,
        "pictures": measured,
        "size": size,
        "config": config.to_dict(),
    }
    if json_path is not None:
        write_text_atomically(json_path, json.dumps(to_dict(rows, about), indent=2) + "\n")
    if svg_path is not None:
        title = f"{opened.network.name}, {size} px: change of the answers by one layer in int8"
        write_text_atomically(svg_path, to_svg(rows, title))
    shown = rows if everything else rows[:SHOWN]
    for line in text_lines(to_table(shown)):
        say(line)
    outputs, weights = sum(row.activation or 0.0 for row in rows), sum(row.weight or 0.0 for row in rows)
    say(
        f"divergence in nats, mean over {measured} pictures; the sum over all {len(rows)} rows: outputs {outputs:.2e}, "
        f"weights {weights:.2e}"
    )


def _measure(opened: Calibration, config: QuantConfig) -> tuple[tuple[Sensitivity, ...], dict[str, float], int]:
    """Return the sensitivities under the scales `repghost quantize` would choose, the work, and how many images."""
    from calib.analysis.sensitivity import measure_sensitivity
    from calib.ptq.apply import batches, quantize_graph
    from repghost.graph.macs import shares_of_work

    images, preprocess = opened.prepared.images, opened.preprocess
    with progress_bar(len(images), "calibrate", "picture") as bar:
        graph, spec = quantize_graph(opened.network.graph, images, preprocess, config, bar.update)
    work = shares_of_work(graph, preprocess.size)
    few = images[: max(1, MEASURED_PIXELS // preprocess.pixels)]
    with progress_bar(len(few), "measure", "picture") as bar:
        return measure_sensitivity(graph, spec, batches(few, preprocess), bar.update), work, len(few)


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
