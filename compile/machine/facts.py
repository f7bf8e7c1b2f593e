"""The processor, clock and kernel of the machine that measures."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from compile.targets.features import FEATURES

UNREPORTED = "not reported by the kernel"


def describe_machine() -> dict[str, Any]:
    """Return the processor, clock and kernel of this machine, as JSON values."""
    flags = cpu_flags()
    return {
        "core": core_name(),
        "cores": os.cpu_count(),
        "flags": [flag for feature in FEATURES for flag in feature.reported if flag in flags],
        "clock": clock_policy(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def cpu_flags() -> frozenset[str]:
    """Return the features the kernel reports of the first core; none where it reports none."""
    for line in _cpuinfo():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def _cpuinfo() -> list[str]:
    """Return the lines of /proc/cpuinfo; none where there is no such file."""
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def core_name() -> str:
    """Return the kernel's name of the first core."""
    lines = _cpuinfo()
    for key in ("model name", "CPU part"):
        for line in lines:
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return platform.machine()


def clock_policy() -> str:
    """Return the frequency governor, or that the kernel does not say."""
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    try:
        return f"governor {governor.read_text().strip()}"
    except OSError:
        return UNREPORTED
