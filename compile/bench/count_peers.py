"""Executed instructions of other runtimes: their own wheels, in an emulated Python, under the same counter as ours.

What is counted is the call that runs the network, Python's part of it included: some thousand instructions.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.bench.count import COUNTS, WHOLE, Counted, CountedCpu, count_stretches
from compile.bench.counter_build import PLUGIN, InstructionCounter, start_counter
from compile.bench.emulated_python import WHEELS, EmulatedPython, fetch_emulated_python
from compile.bench.peers import Form, Peer
from compile.bench.prepare_inputs import VNNI, Prepared, prepare
from compile.bench.processes import ask, convert, link_packages
from compile.bench.statistics import agreement
from compile.bundle.manifest import Bundle, check_bundle
from compile.bundle.vectors import unpack_vectors
from compile.cycles.stretch import read_stretches
from compile.machine.emulator import TOOLS
from compile.storage import formats
from compile.targets.table import TARGETS
from repghost.errors import RepGhostError, ToolMissingError

IMAGES = 2  # whose predictions are compared; an emulated inference takes seconds
FORMAT, VERSION = formats.PEER_COUNTS
COUNT_LIMIT = 1800  # seconds of one runtime on one core
LOGITS = "logits.npy"


@dataclass(frozen=True)
class PeerCounter:
    """What counting another runtime takes.

    Attributes:
        instructions: the emulator, its plugin, and what prices cycles.
        emulated: the Python with the runtimes' wheels.
        cpu: the core that is emulated.
        python: the interpreter of this machine that has the runtimes' converters; None: this one.
    """

    instructions: InstructionCounter
    emulated: EmulatedPython
    cpu: CountedCpu
    python: Path | None = None


def count_peers(
    path: Path, peers: Sequence[Peer], cpu: CountedCpu, weights: Path | None = None, python: Path | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:  # fmt: skip
    """Count one inference of each form of each runtime and return the result as JSON values.

    Args:
        path: a bundle of the network, in the folder of its run.
        peers: rows of `compile.bench.peers.PEERS`.
        cpu: the core that is emulated.
        weights: the float network, where it is not beside the bundle.
        python: see `PeerCounter`.
        say: is given one line per runtime.

    Raises:
        ToolMissingError: when there is no QEMU with plugins, no Python for the core, or no runtime could be counted.
    """
    bundle = check_bundle(path)
    target = TARGETS[cpu.target]
    counter = PeerCounter(start_counter(TOOLS, target), fetch_emulated_python(TOOLS, target), cpu, python)
    results: list[dict[str, Any]] = []
    absent: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="repghost-peer-counts-") as name:
        folder = Path(name)
        link_packages(folder)
        prepared = prepare(bundle, folder, weights, VNNI)  # ARM cores do not saturate
        ours = unpack_vectors(bundle.read("vectors.bin")).logits  # what every build of the bundle gives
        for peer in peers:
            for form in peer.forms:
                say(f"counting {peer.name} {form.name} on {cpu.name}")
                try:
                    results.append(_count(peer, form, prepared, ours, counter))
                except RepGhostError as error:
                    absent.append({"name": f"{peer.name} {form.name}", "reason": str(error)})
    if not results:
        reasons = " ".join(f"{it['name']}: {it['reason']}" for it in absent)
        raise ToolMissingError(f"no other runtime could be counted. {reasons}")
    return _result(bundle, counter, results, absent)


def _result(
    bundle: Bundle, counter: PeerCounter, results: list[dict[str, Any]], absent: list[dict[str, str]]
) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": manifest["model"]["name"],
        "weights": manifest["model"].get("weights", {}),
        "size": bundle.size,
        "cpu": counter.cpu.name,
        "emulator": counter.instructions.emulator.version(),
        "results": results,
        "absent": absent,
    }


def _count(
    peer: Peer, form: Form, prepared: Prepared, ours: NDArray[np.float32], counter: PeerCounter
) -> dict[str, Any]:
    """Return what one runtime executed and how its predictions agree with the float network's, or numbers with ours."""
    if not WHEELS[counter.cpu.target].has(peer.version_of):
        raise RepGhostError(f"the package index has no wheel of {peer.version_of} for {counter.cpu.target}.")
    inputs = prepared.inputs
    if getattr(inputs, form.needs) is None:
        raise RepGhostError(prepared.why_absent(form.needs))
    settings, few = inputs.folder / "inputs.json", inputs.folder / "inputs-few.npy"
    file = convert(peer, form, inputs, counter.python)
    np.save(few, inputs.load_inputs()[:IMAGES])
    settings.write_text(replace(inputs, inputs=few).to_json())
    version, counted = _run(peer, form, file, settings, counter)
    logits = np.load(inputs.folder / LOGITS, allow_pickle=False)
    float_logits = None if prepared.float_logits is None else prepared.float_logits[:IMAGES]
    return {
        "runtime": peer.name,
        "form": form.name,
        "precision": form.precision,
        "made_by": form.made_by,
        "version": version,
        "whole": counted.to_dict(),
        "agreement": agreement(logits, ours[:IMAGES], float_logits, classes=not inputs.results),
    }


def _run(peer: Peer, form: Form, file: Path, settings: Path, counter: PeerCounter) -> tuple[str, Counted]:
    """Return the runtime's version and what one inference executed; its logits lie beside `settings`."""
    folder = settings.parent
    counts, logits, plugin = folder / COUNTS, folder / LOGITS, folder / PLUGIN
    plugin.write_bytes(counter.instructions.files[PLUGIN])
    for earlier in (counts, logits):
        earlier.unlink(missing_ok=True)
    plugin_path, counts_path = (str(path).replace(",", ",,") for path in (plugin, counts))  # as qemu reads commas
    options = ["-plugin", f"{plugin_path},out={counts_path}"]
    command = counter.emulated.command(
        counter.instructions.emulator, counter.cpu.emulated, folder / "packages", options
    )
    command += ["-m", "compile.bench.peers.counted", str(settings), peer.name, form.name, str(file), str(logits)]
    said = ask(command, dict(os.environ), COUNT_LIMIT, f"{peer.name} on {counter.cpu.name}")
    stretches = read_stretches(counts.read_text().splitlines() if counts.is_file() else [])
    if WHOLE not in stretches:
        raise RepGhostError(f"{peer.name} ran, but the emulator reported no count of it.")
    (counted,) = count_stretches([stretches[WHOLE]], counter.instructions, counter.cpu.name)
    return str(said["version"]), counted
