"""The processor, clock and kernel of the machine that measures."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

# Of the flags in /proc/cpuinfo, those that decide which code runs.
X86_FLAGS = ("avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_int8")
ARM_FLAGS = ("asimd", "asimddp", "i8mm", "fphp", "bf16")


def describe_machine() -> dict[str, Any]:
    """Return the processor, clock and kernel of this machine, as JSON values."""
    return {
        "core": core_name(),
        "cores": os.cpu_count(),
        "flags": [flag for flag in X86_FLAGS + ARM_FLAGS if flag in cpu_flags()],
        "clock": clock_policy(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def cpu_flags() -> frozenset[str]:
    """Return the features the kernel reports of the first core; none where it reports none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


UNREPORTED = "not reported by the kernel"


def core_name() -> str:
    """Return the kernel's name of the first core."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
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
