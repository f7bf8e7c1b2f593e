"""Our builds beside every other runtime of this machine, in turns: measured once for the same bundles and settings."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.shared.bundles import fresh_bundles, random_folder
from benchmarks.shared.goals import SIZE
from compile.bench.compare import Entry, Settings, plainer_sets, run_bench
from compile.bench.peers import PEERS, Peer
from compile.bench.peers.inputs import PeerInputs
from compile.bench.prepare_inputs import Prepared, prepare
from compile.bench.processes import convert, limited_inputs, link_packages
from compile.bundle.host_model import load
from compile.bundle.manifest import Bundle
from compile.machine.debian_packages import move_unless_there
from compile.machine.facts import cpu_flags, describe_machine
from compile.storage.code_key import code_digest
from compile.storage.files import sha256
from compile.storage.measurements import Measurements
from compile.storage.stage_cache import key_digest
from compile.subject.request import Request
from compile.subject.subject import RANDOM
from compile.targets.precisions import FP32, INT8
from compile.targets.table import HOST
from repghost.errors import RepGhostError, UsageError
from repghost.files import temporary_folder

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


def compare_on_host(entries: Sequence[Entry], settings: Settings, store: Measurements, say: Say) -> dict[str, Any]:
    """Return the result of `run_bench` for builds of one network and every other runtime.

    Args:
        entries: bundles for this machine, with their instruction sets.
        settings: how to compare.
        store: of earlier measurements; a run that was stopped goes on after the last whole one.
        say: is given one line per step.
    """
    key = {
        "builds": [(entry.bundle.digest, entry.variant) for entry in entries],
        "core": describe_machine()["core"],
        "settings": {name: str(value) for name, value in asdict(settings).items()},
        "code": code_digest(
            "compile.bench.compare", "compile.bench.peers.worker", *(it.module for it in PEERS.values())
        ),
    }

    def compare() -> dict[str, Any]:
        return run_bench(entries, tuple(PEERS.values()), prepare_peers(entries, settings, store, say), settings, say)

    return dict(store.record("compared", key, compare))


def prepare_peers(
    entries: Sequence[Entry],
    settings: Settings,
    store: Measurements,
    say: Say,
    peers: Sequence[Peer] = tuple(PEERS.values()),
) -> Prepared:
    """Return what other runtimes start from, the network converted for each of them; converted once.

    Args:
        entries: as `compare_on_host` takes them, as the next three; what they are for does not matter.
        settings: how to compare.
        store: of earlier measurements.
        say: is given one line per step.
        peers: which runtimes; a store has those of its first call.
    """
    bundle = entries[0].bundle
    key = {  # not the digest of the bundle: another kernel makes no other network
        "network": [bundle.manifest[name] for name in ("program_digest", "model", "preprocess")],
        "images": sha256(bundle.read("vectors.bin")),
        "limits": plainer_sets(entries),
        "python": str(settings.python),
        "code": code_digest("compile.bench.prepare_inputs", *(peer.module for peer in PEERS.values())),
    }
    place = store.folder / f"peers-{key_digest(key)[:16]}"
    if not place.is_dir():
        with temporary_folder(place) as temporary:
            folder = temporary / "peers"
            link_packages(folder)
            inputs = prepare(bundle, folder, None, cpu_flags()).inputs
            for peer in peers:
                limits = [limit for limit in peer.limits if limit.variant in plainer_sets(entries)]
                for given in (inputs, *(limited_inputs(inputs, limit) for limit in limits)):
                    _convert(peer, given, settings.python, say)
            move_unless_there(folder, place)
    return prepare(bundle, place, None, cpu_flags())


def _convert(peer: Peer, inputs: PeerInputs, python: Path | None, say: Say) -> None:
    """Convert a network for each form of a runtime; what fails is tried again, and said, where it is measured."""
    for form in peer.forms:
        if form.only in ("", platform.machine()):
            say(f"converting for {peer.name} {form.name}")
            with suppress(RepGhostError):
                convert(peer, form, inputs, python)


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
