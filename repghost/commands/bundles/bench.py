"""`repghost bench`: a bundle against other runtimes on this machine, time by layer, or executed instructions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from repghost.commands.options.bench_request import BenchRequest
from repghost.commands.options.ssh_options import ssh_options
from repghost.errors import UsageError


@click.command("bench", short_help="Measure a bundle against other runtimes, or layer by layer.")
@click.argument("bundles", nargs=-1, type=click.Path(path_type=Path), metavar="[BUNDLE...]")
@click.option("--against", help="Runtimes: onnxruntime,openvino,ncnn,mnn,litert.  [default: all; none with --count]")
@click.option("--precision", help="Only these precisions of the other runtimes, e.g. fp32.  [default: all]")
@click.option("--variant", "variants", multiple=True, help="An instruction set of the bundles; may be repeated.")
@click.option("--threads", default="1", show_default=True, help="Numbers of threads, e.g. 1,2.")
@click.option("--rounds", default=30, show_default=True, type=click.IntRange(1, 10000), help="Turns of each runtime.")
@click.option("--inferences", default=10, show_default=True, type=click.IntRange(1, 10000), help="Timed in a turn.")
@click.option("--warmup", default=3, show_default=True, type=click.IntRange(0, 1000), help="Untimed before them.")
@click.option("--weights", type=click.Path(path_type=Path), help="The float network, if not beside the bundle.")
@click.option("--python", type=click.Path(path_type=Path), help="The interpreter that has the other runtimes.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the result as JSON too.")
@click.option("--per-layer", is_flag=True, help="Measure each layer of one bundle instead.")
@click.option("--keep", type=click.Path(path_type=Path), help="With --per-layer: where to leave the profiling bundle.")
@click.option("--count", is_flag=True, help="Count the executed instructions of an arm64 bundle under emulation.")
@click.option("--cpu", help="With --count: cortex-a53, cortex-a72, cortex-a76 or max.  [default: cortex-a76]")
@click.option("--seconds", type=click.IntRange(1, 3600), help="With --on: measure so long, and keep the curve.")
@click.option("--cores", metavar="LIST", help="With --on: stay on these cores of the board, e.g. 4-7 or 0,2.")
@click.option("--on", "boards", metavar="BOARD[,BOARD...]", help="Measure on these boards, as [user@]host, over ssh.")
@ssh_options
def command(**options: Any) -> None:
    """Measure bundles for this machine.

    The first BUNDLE is compared with every other build: further bundles, further instruction sets, and the runtimes
    of --against, which come from the extra [peers]. All of them run in turns in one run. The other runtimes get the
    float network and the QDQ file that the bundle was made from.

    With --on, each BUNDLE is copied to each board, proven there, measured by its own runner and removed again; the
    report of the run that built it then knows the latency. A board that fails does not disturb another.

    An arm64 bundle can be counted on any machine: --count gives the executed instructions of one inference under
    emulation, the same everywhere, and with --per-layer those of each layer. With --against it counts other runtimes
    instead, their own wheels in an emulated Python, which is fetched first (500 MB, Debian).
    """
    request = BenchRequest(**options)
    check_options(request)
    choose_mode(request)(request)


def check_options(request: BenchRequest) -> None:
    """Refuse options that belong to another way to measure.

    Raises:
        UsageError: naming the option and what it belongs to.
    """
    on_boards = request.boards is not None and bool(request.bundles)
    if on_boards:
        return
    if request.seconds is not None or request.cores is not None:
        raise UsageError("--seconds and --cores belong to --on; on this machine: repghost-run --bench --seconds N.")
    if not request.bundles:
        raise UsageError("give the folder of a bundle, e.g. build/<model>/host/int8.")
    if request.cpu is not None and not (request.count or request.per_layer):
        raise UsageError(f"--cpu {request.cpu} belongs to --count; add it, or leave --cpu out.")
    if request.keep is not None and not request.per_layer:
        raise UsageError("--keep belongs to --per-layer; add it, or leave --keep out.")


def choose_mode(request: BenchRequest) -> Callable[[BenchRequest], None]:
    """Return the way to measure: the first whose option was given."""
    from repghost.commands.bundles import bench_modes as modes

    rules = (
        (request.boards is not None and bool(request.bundles), modes.measure_on_boards),
        (request.count and request.against is not None, modes.count_others),
        (request.count or (request.per_layer and request.cpu is not None), modes.count_instructions),
        (request.per_layer, modes.time_layers),
    )
    return next((mode for asked, mode in rules if asked), modes.compare)
