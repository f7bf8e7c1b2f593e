"""`--bench`: percentiles, the curve over time, the cores, and what the machine did."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest


def run(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(bundle / "repghost-run"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def bench(bundle: Path, *arguments: str) -> dict[str, Any]:
    done = run(bundle, "--bench", *arguments)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def core_list(cores: list[int]) -> str:
    """The kernel's way to write a set: 0-3,6."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and runs[-1][-1] == core - 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def test_percentiles_are_in_order(host_bundle: Path) -> None:
    result = bench(host_bundle, "--runs", "200", "--warmup", "5", "--threads", "2")
    figures = [result[name] for name in ("min_ms", "median_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms")]
    assert figures == sorted(figures)
    assert figures[0] > 0
    assert (result["runs"], result["warmup"], result["threads"]) == (200, 5, 2)
    assert result["cores"] == core_list(sorted(os.sched_getaffinity(0)))
    assert "curve" not in result


def test_what_the_machine_did_is_told(host_bundle: Path) -> None:
    result = bench(host_bundle, "--runs", "5")
    for state in (result["before"], result["after"]):
        assert set(state) == {"clock_khz", "temperature_c"}
        assert state["clock_khz"] is None or state["clock_khz"] > 100_000
        assert state["temperature_c"] is None or 0 < state["temperature_c"] < 150
    clocks = [result["before"]["clock_khz"], result["after"]["clock_khz"]]
    assert result["throttled"] == (None if None in clocks else clocks[1] < 0.9 * clocks[0])


@pytest.mark.slow
def test_a_sustained_measurement_has_a_curve(host_bundle: Path) -> None:
    result = bench(host_bundle, "--seconds", "2", "--warmup", "0")
    curve = result["curve"]
    assert len(curve) == 2
    assert 0 <= curve[0]["from_s"] < 0.5
    assert curve[1]["from_s"] >= 1
    assert sum(part["runs"] for part in curve) == result["runs"]
    for part in curve:
        assert result["min_ms"] <= part["median_ms"] <= result["max_ms"]
        assert set(part["state"]) == {"clock_khz", "temperature_c"}


def test_one_core_can_be_chosen(host_bundle: Path) -> None:
    core = max(os.sched_getaffinity(0))
    assert bench(host_bundle, "--cores", str(core), "--runs", "3")["cores"] == str(core)
    every = core_list(sorted(os.sched_getaffinity(0)))
    assert bench(host_bundle, "--cores", every, "--runs", "3")["cores"] == every


@pytest.mark.parametrize(
    "cores", ["", "x", "1-", "-1", "3-2", "0,", "0,,1", "0;1", "1023", "99999999999999999999", "0-1023"]
)
def test_wrong_cores_are_named(host_bundle: Path, cores: str) -> None:
    done = run(host_bundle, "--bench", "--cores", cores)
    assert done.returncode == 2
    assert "--cores" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("seconds", ["0", "3601", "1.5"])
def test_wrong_seconds_are_named(host_bundle: Path, seconds: str) -> None:
    done = run(host_bundle, "--bench", "--seconds", seconds)
    assert done.returncode == 2
    assert "--seconds takes a whole number from 1 to 3600" in done.stderr
