"""Counting bundles under emulation; what was counted or replayed once is not repeated for the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.bench.count import CountedCpu, count_result, run_counted
from compile.bench.counter_build import build_counter, find_counting_emulator
from compile.bundle.manifest import Bundle
from compile.machine.emulator import Emulator
from compile.machine.replay import verify_bundle
from compile.storage.files import sha256
from compile.storage.measurements import Measurements
from compile.storage.stage_cache import StageCache

Say = Callable[[str], None]


@dataclass(frozen=True)
class Counting:
    """What counting takes.

    Attributes:
        emulator: takes plugins.
        files: from `build_counter`.
        store: keeps what was counted.
    """

    emulator: Emulator
    files: dict[str, bytes]
    store: Measurements


def start_counting(output: Path) -> Counting:
    """Return the emulator and the counter, which is kept with what is counted in the folder of builds.

    Raises:
        ToolMissingError: when there is no QEMU with plugins.
    """
    folder, emulator = output / ".cache", find_counting_emulator()
    return Counting(emulator, build_counter(emulator, StageCache(folder)), Measurements(folder))


def verified(bundle: Bundle, counting: Counting) -> list[dict[str, Any]]:
    """Return how the recorded images were replayed.

    Raises:
        IntegrityError: when an image does not match.
    """
    key = {
        "model": sha256(bundle.read("model.so")),
        "vectors": sha256(bundle.read("vectors.bin")),
        "emulator": counting.emulator.version(),
    }

    def replay() -> list[dict[str, Any]]:
        return [it.to_dict() for it in verify_bundle(bundle.path, emulator=counting.emulator).replays]

    return list(counting.store.record("replayed", key, replay))


def counted(bundle: Bundle, cpu: CountedCpu, counting: Counting) -> dict[str, Any]:
    """Return the result of `compile.bench.count.count_result` for a core."""
    key = {
        "model": sha256(bundle.read("model.so")),
        "cpu": cpu.emulated,
        "counter": {name: sha256(content) for name, content in sorted(counting.files.items())},
        "emulator": counting.emulator.version(),
        "bundle": bundle.digest,
    }

    def count() -> dict[str, Any]:
        return count_result(bundle, counting.emulator, cpu, run_counted(bundle, counting.emulator, cpu, counting.files))

    return dict(counting.store.record("count", key, count))
