"""`repghost bench`: a bundle against other runtimes on this machine, time by layer, or executed instructions."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from repghost.commands.ssh_options import connect, ssh_options
from repghost.errors import RepGhostError, UsageError, unknown_value

if TYPE_CHECKING:
    from compile.bench import Entry
    from compile.deploy.connection import Connection


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
@click.option("--hold", is_flag=True, help="Measure the other runtimes held to AVX2 besides.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the result as JSON too.")
@click.option("--per-layer", is_flag=True, help="Measure each layer of one bundle instead.")
@click.option("--keep", type=click.Path(path_type=Path), help="With --per-layer: where to leave the profiling bundle.")
@click.option("--count", is_flag=True, help="Count the executed instructions of an arm64 bundle under emulation.")
@click.option("--cpu", help="With --count: cortex-a53, cortex-a72, cortex-a76 or max.  [default: cortex-a76]")
@click.option("--seconds", type=click.IntRange(1, 3600), help="With --on: measure so long, and keep the curve.")
@click.option("--cores", metavar="LIST", help="With --on: stay on these cores of the board, e.g. 4-7 or 0,2.")
@click.option("--on", "boards", metavar="BOARD[,BOARD...]", help="Measure on these boards, as [user@]host, over ssh.")
@click.option("--bars", is_flag=True, help="Build and measure what docs/performance.md shows, and write it.")
@click.option("--counts", is_flag=True, help="Build and count what docs/performance.md shows of arm64, and write it.")
@click.option("--output", "-o", default="build", type=click.Path(path_type=Path), help="With --bars: of the builds.")
@click.option("--docs", default="docs", type=click.Path(path_type=Path), help="With --bars: the folder to write.")
@ssh_options
def command(
    bundles: tuple[Path, ...],
    against: str | None,
    precision: str | None,
    variants: tuple[str, ...],
    threads: str,
    rounds: int,
    inferences: int,
    warmup: int,
    weights: Path | None,
    python: Path | None,
    hold: bool,
    json_file: Path | None,
    per_layer: bool,
    keep: Path | None,
    count: bool,
    cpu: str | None,
    bars: bool,
    counts: bool,
    output: Path,
    docs: Path,
    seconds: int | None,
    cores: str | None,
    boards: str | None,
    ssh_config: Path | None,
    port: int | None,
    connect_limit: int,
) -> None:
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
    if boards is not None and bundles and not bars:
        names = [name.strip() for name in boards.split(",")]
        run = (parse_threads(threads), rounds * inferences, warmup * inferences, variants, seconds, cores)
        _on_boards(bundles, [connect(name, ssh_config, port, connect_limit) for name in names], run, json_file)
        return
    if seconds is not None or cores is not None:
        raise UsageError("--seconds and --cores belong to --on; on this machine: repghost-run --bench --seconds N.")
    if bars + counts + bool(bundles) != 1:
        raise UsageError("give the folder of a bundle, e.g. build/<model>/host/int8, --bars or --counts; not both.")
    if counts:
        from compile.counts import run_counts

        run_counts(output, docs, _tell)
        click.echo(f"written: {docs / 'performance.json'} and {docs / 'performance.md'}")
        return
    if count and against is not None:
        _count_others(bundles, against, cpu, weights, python, json_file)
        return
    if count or (per_layer and cpu is not None):
        _count(bundles, variants, cpu, per_layer, weights, json_file, keep)
        return
    if cpu is not None:
        raise UsageError(f"--cpu {cpu} belongs to --count; add it, or leave --cpu out.")
    if per_layer:
        _per_layer(bundles, variants, inferences * rounds, weights, json_file, keep)
        return
    if keep is not None:
        raise UsageError("--keep belongs to --per-layer; add it, or leave --keep out.")
    from compile.bench import Settings
    from compile.peers import parse_peers

    chosen = parse_peers(against or "all")
    settings = Settings(
        threads=parse_threads(threads),
        rounds=rounds,
        inferences=inferences,
        warmup=warmup,
        precisions=parse_precision_names(precision),
        python=None if python is None else python.absolute(),
        hold=hold,
    )
    if python is not None and not python.is_file():
        raise UsageError(f"{python} is no file; give an interpreter, e.g. peers/bin/python.")
    if bars:
        from compile.bars import run_bars

        run_bars(output, docs, settings, _tell)
        click.echo(f"written: {docs / 'performance.json'} and {docs / 'performance.md'}")
        return

    from compile.bench import run_bench
    from compile.bench_case import prepare
    from compile.bench_page import render_bench
    from compile.contender import link_packages
    from compile.machine import cpu_flags
    from repghost.files import write_text_atomically

    entries = _entries(bundles, variants)
    with tempfile.TemporaryDirectory(prefix="repghost-bench-") as name:
        folder = Path(name)
        link_packages(folder)
        prepared = prepare(entries[0].bundle, folder, weights, cpu_flags())
        result = run_bench(entries, chosen, prepared, settings, _tell)
    if json_file is not None:
        write_text_atomically(json_file, json.dumps(result, indent=2) + "\n")
    click.echo(render_bench(result))


def _on_boards(
    bundles: tuple[Path, ...],
    connections: list[Connection],
    run: tuple[tuple[int, ...], int, int, tuple[str, ...], int | None, str | None],
    json_file: Path | None,
) -> None:
    from compile.deploy.measure import BoardRun, measure_on_boards, result_code
    from compile.deploy.record import add_to_reports
    from repghost.files import write_text_atomically

    threads, runs, warmup, variants, seconds, cores = run
    if len(variants) > 1:
        raise UsageError("--on measures one instruction set at a time; give one --variant, or none for the best.")
    wanted = BoardRun(threads, runs, warmup, variants[0] if variants else None, seconds, cores)
    result = measure_on_boards(bundles, connections, wanted, click.echo)
    if json_file is not None:
        write_text_atomically(json_file, json.dumps(result, indent=2) + "\n")
    for folder in add_to_reports(result):
        click.echo(f"written: {folder / 'report.md'}")
    failed = [entry for entry in result["results"] if not entry["measured"]]
    if failed:
        error = RepGhostError(f"{len(failed)} of {len(result['results'])} measurements failed; see above.")
        error.exit_code = result_code(result)
        raise error


def _tell(line: str) -> None:
    click.echo(line, err=True)


def parse_threads(text: str) -> tuple[int, ...]:
    """Return the numbers of a comma-separated list.

    Raises:
        UsageError: for anything but whole numbers from 1 to 64.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= 64 for part in parts):
        raise UsageError(f"--threads takes whole numbers from 1 to 64, e.g. 1,2, not {text!r}.")
    return tuple(dict.fromkeys(int(part) for part in parts))


def parse_precision_names(text: str | None) -> tuple[str, ...]:
    """Return the precisions named in a comma-separated list; none for None.

    Raises:
        UsageError: for a name no runtime has.
    """
    from compile.peers import PEERS

    known = dict.fromkeys(form.precision for peer in PEERS.values() for form in peer.forms)
    names = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    for name in names:
        if name not in known:
            raise unknown_value("precision", name, known)
    return names


def _entries(bundles: tuple[Path, ...], variants: tuple[str, ...]) -> list[Entry]:
    from compile.bench import Entry
    from compile.bundle import check_bundle

    checked = [check_bundle(path) for path in bundles]
    for bundle in checked[1:]:
        if bundle.manifest["input"] != checked[0].manifest["input"] or bundle.labels() != checked[0].labels():
            raise UsageError(f"{bundle.path} takes other pictures or knows other classes than {checked[0].path}.")
    entries = []
    for bundle in checked:
        known = [str(name) for name in bundle.manifest["variants"]]
        entries += [Entry(bundle, name) for name in variants if name in known] if variants else [Entry(bundle)]
        for name in variants:
            if name not in {variant for it in checked for variant in it.manifest["variants"]}:
                raise unknown_value(f"variant of {bundle.path}", name, known)
    return entries


def _per_layer(
    bundles: tuple[Path, ...],
    variants: tuple[str, ...],
    runs: int,
    weights: Path | None,
    json_file: Path | None,
    keep: Path | None,
) -> None:
    from compile.profile import profile_bundle, render_profile
    from repghost.files import write_text_atomically

    _check_one(bundles, variants, "--per-layer")
    if counts_layers(bundles[0]):
        _count(bundles, variants, None, True, weights, json_file, keep)
        return
    result = profile_bundle(bundles[0], variants[0] if variants else None, runs, weights, keep, click.echo)
    if json_file is not None:
        write_text_atomically(json_file, json.dumps(result, indent=2) + "\n")
    click.echo(render_profile(result))


def counts_layers(path: Path) -> bool:
    """Return whether the layers of a bundle are counted here, because this machine does not run it."""
    from compile.bundle import check_bundle
    from compile.execute import bundle_target
    from compile.targets import ARM64, host_target

    return bundle_target(check_bundle(path)) is ARM64 and host_target() is not ARM64


def _count(
    bundles: tuple[Path, ...],
    variants: tuple[str, ...],
    cpu: str | None,
    per_layer: bool,
    weights: Path | None,
    json_file: Path | None,
    keep: Path | None,
) -> None:
    from compile.count import DEFAULT_CPU, count_bundle, find_cpu
    from compile.count_page import render_count
    from repghost.files import write_text_atomically

    _check_one(bundles, variants, "--count")
    if keep is not None and not per_layer:
        raise UsageError("--keep belongs to --per-layer; add it, or leave --keep out.")
    variant = variants[0] if variants else None
    result = count_bundle(bundles[0], find_cpu(cpu or DEFAULT_CPU), variant, weights, per_layer, keep, _tell)
    if json_file is not None:
        write_text_atomically(json_file, json.dumps(result, indent=2) + "\n")
    click.echo(render_count(result))


def _count_others(
    bundles: tuple[Path, ...],
    against: str,
    cpu: str | None,
    weights: Path | None,
    python: Path | None,
    json_file: Path | None,
) -> None:
    from compile.count import DEFAULT_CPU, find_cpu
    from compile.count_page import render_peer_counts
    from compile.peer_counts import count_peers
    from compile.peers import parse_peers
    from repghost.files import write_text_atomically

    _check_one(bundles, (), "--count")
    where = None if python is None else python.absolute()
    result = count_peers(bundles[0], parse_peers(against), find_cpu(cpu or DEFAULT_CPU), weights, where, _tell)
    if json_file is not None:
        write_text_atomically(json_file, json.dumps(result, indent=2) + "\n")
    click.echo(render_peer_counts(result))


def _check_one(bundles: tuple[Path, ...], variants: tuple[str, ...], option: str) -> None:
    if len(bundles) != 1 or len(variants) > 1:
        raise UsageError(f"{option} takes one bundle and at most one instruction set at a time.")
