"""One function for each way in which `repghost bench` measures; each takes the request and prints its result."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from repghost.commands.options.bench_request import BenchRequest, parse_precision_names, parse_threads, tell
from repghost.errors import RepGhostError, UsageError, unknown_value
from repghost.terminal import say, say_page

if TYPE_CHECKING:
    from compile.bench.compare import Entry, Settings


def compare(request: BenchRequest) -> None:
    """Time bundles and other runtimes in turns on this machine."""
    from compile.bench.compare import run_bench
    from compile.bench.compare_page import render_bench
    from compile.bench.peers import parse_peers
    from compile.bench.prepare_inputs import prepare
    from compile.bench.processes import link_packages
    from compile.machine.facts import cpu_flags

    chosen, settings = parse_peers(request.against or "all"), settings_of(request)
    entries = entries_of(request.bundles, request.variants)
    with tempfile.TemporaryDirectory(prefix="repghost-bench-") as name:
        folder = Path(name)
        link_packages(folder)
        prepared = prepare(entries[0].bundle, folder, request.weights, cpu_flags())
        result = run_bench(entries, chosen, prepared, settings, tell)
    request.write(result)
    say_page(render_bench(result))


def settings_of(request: BenchRequest) -> Settings:
    """Return how often and with what the runtimes are timed."""
    from compile.bench.compare import Settings

    return Settings(
        threads=parse_threads(request.threads),
        rounds=request.rounds,
        inferences=request.inferences,
        warmup=request.warmup,
        precisions=parse_precision_names(request.precision),
        python=request.interpreter,
    )


def entries_of(bundles: tuple[Path, ...], variants: tuple[str, ...]) -> list[Entry]:
    """Return the builds of bundles that are compared, the first one first.

    Raises:
        UsageError: when they are about different images or classes, or have no such instruction set.
    """
    from compile.bench.compare import Entry
    from compile.bundle.manifest import check_bundle

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


def measure_on_boards(request: BenchRequest) -> None:
    """Prove and time bundles on boards, and add the latency to the reports of their runs.

    Raises:
        RepGhostError: with the code of the first failure, when a board failed; the others are measured all the same.
    """
    from compile.deploy import measure
    from compile.report.add_board_latency import add_to_reports

    names = [name.strip() for name in (request.boards or "").split(",")]
    boards = [request.ssh.connect(name) for name in names]
    threads = parse_threads(request.threads)
    if len(request.variants) > 1:
        raise UsageError("--on measures one instruction set at a time; give one --variant, or none for the best.")
    runs, warmup = request.rounds * request.inferences, request.warmup * request.inferences
    wanted = measure.BoardRun(threads, runs, warmup, request.only_variant, request.seconds, request.cores)
    result = measure.measure_on_boards(request.bundles, boards, wanted, say)
    request.write(result)
    for folder in add_to_reports(result):
        say(f"written: {folder / 'report.md'}")
    failed = [entry for entry in result["results"] if not entry["measured"]]
    if failed:
        error = RepGhostError(f"{len(failed)} of {len(result['results'])} measurements failed; see above.")
        error.exit_code = measure.result_code(result)
        raise error


def time_layers(request: BenchRequest) -> None:
    """Time each layer of a bundle; where this machine does not run it, count each layer."""
    from compile.bench.profile import profile_bundle, render_profile

    bundle = request.only_bundle("--per-layer")
    if counts_layers(bundle):
        count_instructions(request)
        return
    runs = request.inferences * request.rounds
    result = profile_bundle(bundle, request.only_variant, runs, request.weights, request.keep, say)
    request.write(result)
    say_page(render_profile(result))


def counts_layers(path: Path) -> bool:
    """Return whether the layers of a bundle are counted here, because this machine does not run it."""
    from compile.bundle.manifest import bundle_target, check_bundle

    target = bundle_target(check_bundle(path))
    return target.counted and not target.runs_here


def count_instructions(request: BenchRequest) -> None:
    """Count the instructions of one inference under emulation."""
    from compile.bench.count import DEFAULT_CPU, CountRequest, count_bundle, find_cpu
    from compile.bench.count_page import render_count

    bundle, cpu = request.only_bundle("--count"), find_cpu(request.cpu or DEFAULT_CPU)
    wanted = CountRequest(bundle, cpu, request.only_variant, request.per_layer, request.weights, request.keep)
    result = count_bundle(wanted, tell)
    request.write(result)
    say_page(render_count(result))


def count_others(request: BenchRequest) -> None:
    """Count the instructions of other runtimes, their own wheels in an emulated Python."""
    from compile.bench.count import DEFAULT_CPU, find_cpu
    from compile.bench.count_page import render_peer_counts
    from compile.bench.count_peers import count_peers
    from compile.bench.peers import parse_peers

    bundle, cpu = request.only_bundle("--count"), find_cpu(request.cpu or DEFAULT_CPU)
    peers = parse_peers(request.against or "")
    result = count_peers(bundle, peers, cpu, request.weights, request.interpreter, tell)
    request.write(result)
    say_page(render_peer_counts(result))
