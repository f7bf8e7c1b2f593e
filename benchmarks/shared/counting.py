"""Counting bundles under emulation; what was counted or replayed once is not repeated for the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.bench.count import CountedCpu, count_result, run_counted
from compile.bench.counter_build import InstructionCounter, start_counter
from compile.bundle.manifest import Bundle
from compile.machine.emulator import TOOLS
from compile.machine.replay import verify_bundle
from compile.storage.code_key import code_digest
from compile.storage.files import sha256
from compile.storage.measurements import Measurements
from compile.targets.table import COUNTED, Target
from repghost.errors import ToolMissingError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Counting:
    """What counting takes.

    Attributes:
        counter: from `start_counter`.
        store: keeps what was counted.
    """

    counter: InstructionCounter
    store: Measurements


def start_counting(output: Path, target: Target = COUNTED) -> Counting:
    """Return the counter; it is fetched and built where it is not there.

    Raises:
        ToolMissingError: when there is no QEMU with plugins, or nothing prices cycles of a target
            whose cycles are modelled.
    """
    counter = start_counter(TOOLS, target)
    if counter.llvm is None and target is COUNTED:
        raise ToolMissingError(f"cycles cannot be modelled: {counter.why_not_modelled}")
    return Counting(counter, Measurements(output / ".cache"))


def verified(bundle: Bundle, counting: Counting) -> list[dict[str, Any]]:
    """Return how the recorded images were replayed.

    Raises:
        IntegrityError: when an image does not match.
    """
    key = {
        "model": sha256(bundle.read("model.so")),
        "vectors": sha256(bundle.read("vectors.bin")),
        "emulator": counting.counter.emulator.version(),
    }

    def replay() -> list[dict[str, Any]]:
        return [it.to_dict() for it in verify_bundle(bundle.path, emulator=counting.counter.emulator).replays]

    return list(counting.store.record("replayed", key, replay))


def counted(bundle: Bundle, cpu: CountedCpu, counting: Counting) -> dict[str, Any]:
    """Return the result of `compile.bench.count.count_result` for a core."""
    key = {
        "model": sha256(bundle.read("model.so")),
        "cpu": cpu.emulated,
        "counter": {name: sha256(content) for name, content in sorted(counting.counter.files.items())},
        "emulator": counting.counter.emulator.version(),
        "bundle": bundle.digest,
        "cycles": code_digest("compile.cycles.model"),
    }

    def count() -> dict[str, Any]:
        return count_result(bundle, counting.counter, cpu, run_counted(bundle, counting.counter, cpu))

    return dict(counting.store.record("count", key, count))
