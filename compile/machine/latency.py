"""Latency on this machine, measured by the runner of a host bundle; an emulated or modelled time is never called so."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.bundle.manifest import bundle_target, check_bundle
from compile.machine.execute import RUNNER, machine_for, run_runner
from compile.machine.facts import UNREPORTED, clock_policy, core_name
from compile.storage.typed_json import check_types
from repghost.errors import ToolMissingError


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference, batch 1."""

    median_ms: float
    p90_ms: float
    min_ms: float
    runs: int
    warmup: int
    threads: int
    variant: str
    core: str  # as the kernel names it
    clock: str  # what is known of the clock while measuring

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dict(vars(self))


@dataclass(frozen=True)
class _Times:
    """What is read of the runner's answer."""

    median_ms: float
    p90_ms: float
    min_ms: float
    variant: str


def measure_latency(path: Path, threads: int = 1, runs: int = 200, warmup: int = 20) -> Latency:
    """Measure one inference of a bundle on this machine, by the best instruction set that it has.

    Args:
        path: the folder of a host bundle.
        threads: how many threads share one inference.
        runs: measured inferences.
        warmup: inferences before them.

    Raises:
        ToolMissingError: when the bundle is for another kind of machine; an emulated time is no latency.
    """
    bundle = check_bundle(path)
    target = bundle_target(bundle)
    machine = machine_for(target, target.variants[0])
    if machine.emulated:
        raise ToolMissingError(
            f"{path} is for {target.name}: copy it to a device and run './repghost-run --bench' there."
        )
    arguments = ["--bench", "--runs", str(runs), "--warmup", str(warmup), "--threads", str(threads)]
    result = run_runner(bundle, machine, arguments)
    times = check_types(result, _Times, f"the answer of {RUNNER}")
    return Latency(
        median_ms=times.median_ms,
        p90_ms=times.p90_ms,
        min_ms=times.min_ms,
        runs=runs,
        warmup=warmup,
        threads=threads,
        variant=times.variant,
        core=f"{core_name()} ({os.cpu_count()} cores)",
        clock=_clock(result.get("after")),
    )


def _clock(state: object) -> str:
    """Return the clock after the measurement, where the runner saw one, and the governor."""
    khz = state.get("clock_khz") if isinstance(state, dict) else None
    policy = clock_policy()
    if not isinstance(khz, int):
        return policy
    return f"{khz / 1e6:.2f} GHz, " + (f"governor {policy}" if policy == UNREPORTED else policy)
