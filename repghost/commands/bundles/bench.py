"""`repghost bench`: a bundle against other runtimes on this machine, time by layer, or executed instructions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from repghost.commands.options.data_options import class_map_option, val_share_option
from repghost.commands.options.earlier import Renamed
from repghost.commands.options.json_option import STDOUT, json_option, write_json
from repghost.commands.options.ssh_options import SshOptions, ssh_options
from repghost.errors import UsageError
from repghost.terminal import say_page, say_progress
from repghost.untrusted import parse_int


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
@json_option
@click.option("--per-layer", is_flag=True, help="Measure each layer of one bundle instead.")
@click.option(
    "--keep-bundle",
    "keep",
    cls=Renamed,
    earlier=("--keep",),
    type=click.Path(path_type=Path),
    help="With --per-layer: where to leave the profiling bundle.",
)
@click.option("--count", is_flag=True, help="Count the executed instructions of a bundle for ARM under emulation.")
@click.option(
    "--cpu",
    help="With --count: cortex-a53, -a72, -a76 (the default) or max; of armv7 cortex-a7 or -a15.",
)
@click.option("--seconds", type=click.IntRange(1, 3600), help="With --on: measure so long, and keep the curve.")
@click.option("--cores", metavar="LIST", help="With --on: stay on these cores of the board, e.g. 4-7 or 0,2.")
@click.option("--accuracy", metavar="DIR", type=click.Path(path_type=Path),
              help="With --on: measure top-1 there, on a set of pictures or a folder of classes.")  # fmt: skip
@click.option("--images", type=click.IntRange(1), help="With --accuracy: so many, balanced.  [default: all]")
@class_map_option
@val_share_option
@click.option("--all-widths", is_flag=True,
              help="With --on, without bundles: every published width; goes on where it stopped.")  # fmt: skip
@click.option("--output", "-o", default="build", show_default=True, type=click.Path(path_type=Path),
              help="With --all-widths: the folder of the runs.")  # fmt: skip
@click.option("--size", default=224, show_default=True, type=click.IntRange(8, 4096),
              help="With --all-widths: pixels of the input.")  # fmt: skip
@click.option("--on", metavar="BOARD[,BOARD...]", help="Measure on these boards, as [user@]host, over ssh.")
@ssh_options
def command(bundles: tuple[Path, ...], json_file: Path | None, ssh: SshOptions, **options: Any) -> None:
    """Measure bundles for this machine.

    The first BUNDLE is compared with every other build: further bundles, further instruction sets, and the runtimes
    of --against, which come from the extra [peers]. All of them run in turns in one run. The other runtimes get the
    float network and the QDQ file that the bundle was made from. Beside a --variant that is not the best one of this
    machine, runtimes that have a switch for that are held to it, too.

    With --on, each BUNDLE is copied to each board, proven there, measured by its own runner and removed again; the
    report of the run that built it then knows the latency. A board that fails does not disturb another. With
    --accuracy the board classifies labelled pictures, too; they go there over the same ssh and leave nothing behind,
    and the scores of int8 have to be those of the numpy reference to the bit.

    --all-widths --on BOARD fills a whole table: the bundles of the runs in --output, and of random weights where a
    width has no run. What the board measured before is not repeated. 'repghost submit' makes a file to send of it.

    An arm64 bundle can be counted on any machine: --count gives the executed instructions of one inference under
    emulation, the same everywhere, and with --per-layer those of each layer. With --against it counts other runtimes
    instead, their own wheels in an emulated Python, which is fetched first (500 MB, Debian).
    """
    from repghost.api.benchmarks.bench import bench

    options |= {"threads": parse_threads(options["threads"])}
    tell = say_progress if options["on"] and json_file != STDOUT else _tell
    result = bench(bundles, say=tell, **options, **vars(ssh))
    if not write_json(result.to_dict(), json_file) and not options["on"]:
        say_page(repr(result))
    result.check()


def parse_threads(text: str) -> tuple[int, ...]:
    """Return the numbers of a comma-separated list.

    Raises:
        UsageError: for anything but whole numbers from 1 to 64.
    """
    numbers = [parse_int(part.strip(), 1, 64) for part in text.split(",")]
    found = [number for number in numbers if number is not None]
    if len(found) < len(numbers):
        raise UsageError(f"--threads takes whole numbers from 1 to 64, e.g. 1,2, not {text!r:.80}.")
    return tuple(dict.fromkeys(found))


def _tell(line: str) -> None:
    """Print a line of progress to stderr."""
    say_progress(line, err=True)
