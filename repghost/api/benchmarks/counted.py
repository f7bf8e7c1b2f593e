"""Executed instructions of one inference under emulation: of a bundle, or of other runtimes."""

from __future__ import annotations

from compile.bench.count import DEFAULT_CPU, DEFAULT_CPUS, CountRequest, count_bundle, find_cpu
from compile.bench.count_page import render_count, render_peer_counts
from compile.bench.count_peers import count_peers
from compile.bench.peers import parse_peers
from compile.bundle.manifest import bundle_target, check_bundle
from repghost.api.benchmarks.arguments import BenchArguments, Benchmark
from repghost.errors import option


def count(wanted: BenchArguments) -> Benchmark:
    """Count the instructions of one inference under emulation."""
    path, cpu = wanted.only_bundle(option("count")), None if wanted.cpu is None else find_cpu(wanted.cpu)
    asked = CountRequest(path, cpu, wanted.only_variant, wanted.per_layer, wanted.weights, wanted.keep)
    result = count_bundle(asked, wanted.say)
    return Benchmark(result, render_count(result))


def count_others(wanted: BenchArguments) -> Benchmark:
    """Count the instructions of other runtimes, their own wheels in an emulated Python."""
    path = wanted.only_bundle(option("count"))
    usual = DEFAULT_CPUS.get(bundle_target(check_bundle(path)).name, DEFAULT_CPU)
    cpu = find_cpu(wanted.cpu or usual)
    result = count_peers(path, parse_peers(wanted.against or ""), cpu, wanted.weights, wanted.python, wanted.say)
    return Benchmark(result, render_peer_counts(result))
