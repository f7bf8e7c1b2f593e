"""Our builds beside every other runtime of this machine, in turns: measured once for the same bundles and settings."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.first_inference import measure_first_inference
from benchmarks.shared.bundles import fresh_bundles, random_folder
from benchmarks.shared.goals import SIZE
from compile.bench.compare import Entry, Settings, run_bench
from compile.bench.peers import PEERS
from compile.bench.prepare_inputs import prepare
from compile.bench.processes import link_packages
from compile.bundle.host_model import load
from compile.bundle.manifest import Bundle
from compile.machine.facts import cpu_flags, describe_machine
from compile.storage.code_key import code_digest
from compile.storage.measurements import Measurements
from compile.subject.request import Request
from compile.subject.subject import RANDOM
from compile.targets.precisions import FP32, INT8
from compile.targets.table import HOST
from repghost.errors import UsageError

Say = Callable[[str], None]


def build_for_host(name: str, output: Path, store: Measurements, say: Say, **network: str) -> list[Bundle]:
    """Return the int8 and the fp32 bundle of a network of random weights for this machine.

    Args:
        name: of the network's folder, without size and weights.
        output: the folder of builds.
        store: remembers what this version of the code made.
        say: is given one line per stage.
        network: what asks for it: width=... or model=...
    """
    request = Request(
        target=HOST,
        precisions=(INT8, FP32),
        weights=RANDOM,
        size=SIZE,
        output=output,
        fetch=False,
        jobs=os.cpu_count() or 1,
        **network,  # type: ignore[arg-type]
    )
    return fresh_bundles(request, random_folder(name, SIZE), store, say)


def compare_on_host(bundles: Sequence[Bundle], settings: Settings, store: Measurements, say: Say) -> dict[str, Any]:
    """Return the result of `run_bench` for every instruction set of the bundles, and their first answers.

    Args:
        bundles: of one network, for this machine.
        settings: how to compare.
        store: of earlier measurements; a run that was stopped goes on after the last whole one.
        say: is given one line per step.
    """
    key = {
        "bundles": [bundle.digest for bundle in bundles],
        "core": describe_machine()["core"],
        "settings": {name: str(value) for name, value in asdict(settings).items()},
        "code": code_digest("compile.bench.compare", *(peer.module for peer in PEERS.values())),
    }
    return dict(store.record("compared", key, lambda: _compare(bundles, settings, say)))


def _compare(bundles: Sequence[Bundle], settings: Settings, say: Say) -> dict[str, Any]:
    flags = cpu_flags()
    entries = [Entry(bundle, variant) for bundle in bundles for variant in usable_variants(bundle)]
    with tempfile.TemporaryDirectory(prefix="repghost-host-") as name:
        folder = Path(name)
        link_packages(folder)
        prepared = prepare(bundles[0], folder, None, flags)
        result = run_bench(entries, tuple(PEERS.values()), prepared, settings, say)
    first = {str(bundle.manifest["precision"]): measure_first_inference(bundle) for bundle in bundles}
    return {**result, "first_answer": first}


def usable_variants(bundle: Bundle) -> list[str]:
    """Return the instruction sets of a bundle that this machine has, the plainest first."""
    model, found = load(bundle.path), []
    for name in bundle.manifest["variants"]:
        try:
            model.select(name)
        except UsageError:
            continue
        found.append(str(name))
    return found
