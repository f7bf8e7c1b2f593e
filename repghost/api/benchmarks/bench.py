"""How fast a bundle is: `repghost.bench`, on this machine, on boards, or in executed instructions."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from compile.bench.peers import PEERS
from repghost.api.benchmarks.all_widths import all_widths as measure_all_widths
from repghost.api.benchmarks.arguments import BenchArguments, Benchmark
from repghost.api.benchmarks.compare import compare
from repghost.api.benchmarks.counted import count as count_instructions
from repghost.api.benchmarks.counted import count_others
from repghost.api.benchmarks.layers import time_layers
from repghost.api.benchmarks.on_boards import on_boards
from repghost.api.bundles import CONNECT_LIMIT_S, BundleLike, Say, Ssh, as_path, as_paths, silent
from repghost.errors import UsageError, option, unknown_value

MOST_THREADS = 64
SIZE = 224  # pixels of the published widths


def bench(
    bundle: BundleLike | Sequence[BundleLike],
    on: str | Sequence[str] | None = None,
    *,
    against: str | None = None,
    precision: str | Sequence[str] | None = None,
    variants: Sequence[str] = (),
    threads: int | Sequence[int] = 1,
    rounds: int = 30,
    inferences: int = 10,
    warmup: int = 3,
    weights: str | os.PathLike[str] | None = None,
    python: str | os.PathLike[str] | None = None,
    per_layer: bool = False,
    keep: str | os.PathLike[str] | None = None,
    count: bool = False,
    cpu: str | None = None,
    seconds: int | None = None,
    cores: str | None = None,
    accuracy: str | os.PathLike[str] | None = None,
    images: int | None = None,
    class_map: str | os.PathLike[str] | None = None,
    val_share: float | None = None,
    all_widths: bool = False,
    output: str | os.PathLike[str] = "build",
    size: int = SIZE,
    ssh_config: str | os.PathLike[str] | None = None,
    port: int | None = None,
    connect_limit: int = CONNECT_LIMIT_S,
    say: Say = silent,
) -> Benchmark:
    """Measure bundles: against other runtimes on this machine, on boards, layer by layer, or in instructions.

    Args:
        bundle: a folder, what `repghost.compile` returned, or several of them; the first is compared with the others.
        on: boards as [user@]host: each bundle is proven and measured there, and the report of its run knows the
            latency.
        against: other runtimes, separated by commas, e.g. "onnxruntime"; None: all that are installed (none with
            `count`).
        precision: of the other runtimes, e.g. "fp32"; None: all.
        variants: instruction sets of the bundles; none: the best.
        threads: numbers of threads.
        rounds: turns of each runtime.
        inferences: timed in a turn.
        warmup: untimed before them.
        weights: the float network, where it does not lie beside the bundle.
        python: the interpreter that has the other runtimes.
        per_layer: measure each layer of one bundle instead.
        keep: with `per_layer`: where to leave the profiling bundle.
        count: count the executed instructions of an arm64 or armv7 bundle under emulation.
        cpu: with `count`: cortex-a53, cortex-a72, cortex-a76 (None) or max; of armv7 cortex-a7 (None) or cortex-a15.
        seconds: with `on`: measure so long, and keep the curve.
        cores: with `on`: stay on these cores of the board, e.g. "4-7".
        accuracy: with `on`: a set of labelled images, or a folder of classes, whose top-1 the board measures itself;
            the scores of int8 are compared with the numpy reference to the bit.
        all_widths: with `on`, and () in place of bundles: those of all published widths, of the runs in `output`, or
            of random weights; what a board measured before is not measured again.
        output: with `all_widths`: the folder that holds the runs.
        size: with `all_widths`: pixels of the input.
        images: with `accuracy`: how many, equally many of each class; None: all.
        class_map: with `accuracy`: a file with the class of each picture, for a set without class folders.
        val_share: with `accuracy`: of each class that is held out of a folder of classes without splits; None: a fifth.
        ssh_config: see `repghost.deploy`, as the next two.
        port: of the board's ssh server.
        connect_limit: seconds to wait for a board.
        say: called with a line for each step.

    Raises:
        UsageError: when bundles cannot be compared, or an argument belongs to another way to measure.
        ToolMissingError: when nothing could be compared, or this machine does not run the bundle.
        IntegrityError: when a bundle was changed.
    """
    wanted = BenchArguments(
        paths=as_paths(bundle),
        on=_names(on) or (),
        against=against,
        precision=_known_precisions(_names(precision) or ()),
        variants=tuple(variants),
        threads=_numbers(threads),
        rounds=rounds,
        inferences=inferences,
        warmup=warmup,
        weights=as_path(weights),
        python=_interpreter(as_path(python)),
        per_layer=per_layer,
        keep=as_path(keep),
        count=count,
        cpu=cpu,
        seconds=seconds,
        cores=cores,
        accuracy=as_path(accuracy),
        images=images,
        class_map=as_path(class_map),
        val_share=val_share,
        all_widths=all_widths,
        output=Path(output),
        size=size,
        ssh=Ssh(ssh_config, port, connect_limit),
        say=say,
    )
    _check(wanted)
    return _choose(wanted)(wanted)


def _check(wanted: BenchArguments) -> None:
    """Refuse arguments that belong to another way to measure.

    Raises:
        UsageError: naming the argument and what it belongs to.
    """
    if wanted.images is not None and (wanted.accuracy is None or wanted.images < 1):
        raise UsageError(f"{option('images')} is at least 1 and belongs to {option('accuracy')}.")
    for name in ("class_map", "val_share") if wanted.accuracy is None else ():
        if getattr(wanted, name) is not None:
            raise UsageError(f"{option(name)} belongs to {option('accuracy')}; give that too, or leave it out.")
    if wanted.on and not wanted.all_widths and not wanted.paths:
        raise UsageError(f"give a bundle's folder, e.g. build/<model>/arm64/int8, or {option('all_widths', True)}.")
    if wanted.on:
        return
    if wanted.all_widths:
        raise UsageError(f"{option('all_widths')} belongs to {option('on')}: name a board.")
    if wanted.accuracy is not None:
        raise UsageError(
            f"{option('accuracy')} belongs to {option('on')}; on this machine: repghost validate BUNDLE --data DIR."
        )
    if wanted.seconds is not None or wanted.cores is not None:
        raise UsageError(
            f"{option('seconds')} and {option('cores')} belong to {option('on')}; on this machine: repghost-run "
            "--bench --seconds N."
        )
    if not wanted.paths:
        raise UsageError("give the folder of a bundle, e.g. build/<model>/host/int8.")
    if wanted.cpu is not None and not (wanted.count or wanted.per_layer):
        raise UsageError(
            f"{option('cpu', wanted.cpu)} belongs to {option('count')}; add it, or leave {option('cpu')} out."
        )
    if wanted.keep is not None and not wanted.per_layer:
        raise UsageError(f"{option('keep')} belongs to {option('per_layer')}; add it, or leave {option('keep')} out.")


def _choose(wanted: BenchArguments) -> Callable[[BenchArguments], Benchmark]:
    """Return the way to measure: the first whose argument was given."""
    rules = (
        (bool(wanted.on) and wanted.all_widths, measure_all_widths),
        (bool(wanted.on), on_boards),
        (wanted.count and wanted.against is not None, count_others),
        (wanted.count or (wanted.per_layer and wanted.cpu is not None), count_instructions),
        (wanted.per_layer, time_layers),
    )
    return next((way for asked, way in rules if asked), compare)


def _names(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return names that were given one by one, or in a text separated by commas."""
    if given is None:
        return None
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(name.strip() for name in parts)


def _numbers(threads: int | Sequence[int]) -> tuple[int, ...]:
    """Return numbers of threads.

    Raises:
        UsageError: for anything but whole numbers from 1 to 64.
    """
    given = (threads,) if isinstance(threads, int) else tuple(threads)
    if not given or not all(type(number) is int and 1 <= number <= MOST_THREADS for number in given):
        raise UsageError(f"threads are whole numbers from 1 to {MOST_THREADS}, e.g. 1 or [1, 2], not {threads!r:.80}.")
    return tuple(dict.fromkeys(given))


def _known_precisions(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the precisions of other runtimes.

    Raises:
        UsageError: for a name no runtime has.
    """
    known = dict.fromkeys(form.precision for peer in PEERS.values() for form in peer.forms)
    names = tuple(name for name in names if name)
    for name in names:
        if name not in known:
            raise unknown_value("precision", name, known)
    return names


def _interpreter(python: Path | None) -> Path | None:
    """Return the Python that has the other runtimes, as a path that holds in every folder.

    Raises:
        UsageError: when there is no such file.
    """
    if python is not None and not python.is_file():
        raise UsageError(f"{python} is no file; give an interpreter, e.g. peers/bin/python.")
    return None if python is None else python.absolute()
