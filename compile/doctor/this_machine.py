"""What this machine has of the tools that a run uses, and the command that installs what is missing."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from compile.doctor.board import diagnose_here
from compile.doctor.findings import Finding
from compile.link.zig import zig_version
from compile.machine.emulator import TOOLS, find_emulator, install_hint
from compile.storage.stage_cache import versions
from compile.targets.table import COUNTED, host_target
from repghost import bundled
from repghost.errors import RepGhostError, requirement
from repghost.terminal import shell_command

OLDEST_PYTHON = (3, 11)
PACKAGES = ("torch", "torchvision", "apache-tvm", "ziglang", "numpy", "onnx", "pillow", "safetensors", "click", "tqdm")


def diagnose() -> list[Finding]:
    """Look for everything a run uses; nothing is changed."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        _linker,
        _host,
        _emulator,
        _bundled,
        diagnose_here,
    ]
    return [finding for check in checks for finding in check()]


def _python() -> Iterator[Finding]:
    wanted = ".".join(str(part) for part in OLDEST_PYTHON)
    good = sys.version_info[:2] >= OLDEST_PYTHON
    remedy = "" if good else f"install Python {wanted} or newer, and this package for it"
    yield Finding("python", "ok" if good else "missing", platform.python_version(), remedy)


def _packages() -> Iterator[Finding]:
    for name, found in versions(*PACKAGES).items():
        good = found[:1].isdigit()
        yield Finding(
            name, "ok" if good else "missing", found, "" if good else shell_command("pip", "install", requirement(name))
        )


def _linker() -> Iterator[Finding]:
    try:
        yield Finding("linker", "ok", f"zig {zig_version()}")
    except RepGhostError as error:
        yield Finding("linker", "missing", str(error), "pip install ziglang")


def _host() -> Iterator[Finding]:
    target = host_target()
    machine = f"{platform.system()} on {platform.machine()}"
    if target:
        yield Finding("host", "ok", f"{machine}: host builds are for {target.name}")
    else:
        yield Finding("host", "absent", machine, "host builds and latency need Linux on x86-64 or aarch64")


def _emulator() -> Iterator[Finding]:
    if COUNTED.runs_here:
        yield Finding("emulator", "ok", f"not needed: {COUNTED.name} bundles run on this machine")
        return
    for tools in (TOOLS, Path("tools")):
        emulator = find_emulator(tools)
        if emulator:
            yield Finding("emulator", "ok", f"{emulator.version()}, C library in {emulator.sysroot}")
            return
    yield Finding(
        "emulator",
        "absent",
        f"{COUNTED.name} bundles are built but not verified",
        f"{install_hint()}, or: repghost doctor --fetch",
    )


def _bundled() -> Iterator[Finding]:
    for name, path in (("pictures", bundled.DATA), ("weights", bundled.WEIGHTS)):
        there = path.exists()
        yield Finding(name, "ok" if there else "absent", str(path), "" if there else "install the package again")
