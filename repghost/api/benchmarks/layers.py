"""The layers of a bundle: timed where this machine runs it, counted elsewhere."""

from __future__ import annotations

from compile.bench.profile import profile_bundle, render_profile
from compile.bundle.manifest import bundle_target, check_bundle
from repghost.api.benchmarks.arguments import BenchArguments, Benchmark
from repghost.api.benchmarks.counted import count
from repghost.errors import option


def time_layers(wanted: BenchArguments) -> Benchmark:
    """Time each layer of a bundle; where this machine does not run it, count each layer."""
    path = wanted.only_bundle(option("per_layer"))
    target = bundle_target(check_bundle(path))
    if target.counted and not target.runs_here:
        return count(wanted)
    runs = wanted.inferences * wanted.rounds
    result = profile_bundle(path, wanted.only_variant, runs, wanted.weights, wanted.keep, wanted.say)
    return Benchmark(result, render_profile(result))
