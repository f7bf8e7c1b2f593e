"""Bundles and other runtimes, timed in turns on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from compile.bench.compare import Entry, Settings, run_bench
from compile.bench.compare_page import render_bench
from compile.bench.peers import parse_peers
from compile.bench.prepare_inputs import prepare
from compile.bench.processes import link_packages
from compile.bundle.manifest import check_bundle
from compile.machine.facts import cpu_flags
from repghost.api.benchmarks.arguments import BenchArguments, Benchmark
from repghost.errors import UsageError, unknown_value

ALL = "all"  # the other runtimes that are compared with by default


def compare(wanted: BenchArguments) -> Benchmark:
    """Time bundles and other runtimes in turns on this machine."""
    chosen = parse_peers(wanted.against or ALL)
    settings = Settings(
        threads=wanted.threads,
        rounds=wanted.rounds,
        inferences=wanted.inferences,
        warmup=wanted.warmup,
        precisions=wanted.precision,
        python=wanted.python,
    )
    entries = _entries(wanted.paths, wanted.variants)
    with tempfile.TemporaryDirectory(prefix="repghost-bench-") as name:
        folder = Path(name)
        link_packages(folder)
        prepared = prepare(entries[0].bundle, folder, wanted.weights, cpu_flags())
        result = run_bench(entries, chosen, prepared, settings, wanted.say)
    return Benchmark(result, render_bench(result))


def _entries(paths: tuple[Path, ...], variants: tuple[str, ...]) -> list[Entry]:
    """Return the builds of bundles that are compared, the first one first.

    Raises:
        UsageError: when they are about different images or classes, or have no such instruction set.
    """
    checked = [check_bundle(path) for path in paths]
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
