"""Executed instructions of one inference, counted under emulation; exact, and the same on every machine.

The cycles that stand beside them are modelled from the executed blocks, see `compile.cycles`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compile.bench.counter_build import GUEST, PLUGIN, InstructionCounter, start_counter
from compile.bench.profile import make_profiling_bundle
from compile.bundle.layers import bundle_layers
from compile.bundle.manifest import Bundle, bundle_target, check_bundle
from compile.cycles.model import Modelled, model_cycles
from compile.cycles.stretch import Stretch, read_stretches
from compile.machine.emulator import TOOLS
from compile.machine.execute import run_program
from compile.storage import formats
from compile.targets.table import ARMV7, COUNTED, TARGETS, Target
from repghost.errors import IntegrityError, ToolMissingError, UsageError, unknown_value

FORMAT, VERSION = formats.COUNT
COUNTS = "counts.jsonl"
WHOLE, FIRST_STEP = 1, 2  # of compile/bench/counter/marks.h


@dataclass(frozen=True)
class CountedCpu:
    """A core that can be counted on."""

    name: str
    emulated: str  # for qemu
    has: str  # what decides which code runs
    target: str = COUNTED.name


# The newest features are turned off in "max": the C library would use them, and the code that is counted does not.
CPUS = {
    cpu.name: cpu
    for cpu in (
        CountedCpu("cortex-a53", "cortex-a53", "plain NEON, in order"),
        CountedCpu("cortex-a72", "cortex-a72", "plain NEON"),
        CountedCpu("cortex-a76", "cortex-a76", "dot-product and half precision"),
        CountedCpu("max", "max,sve=off,sme=off,pauth=off", "i8mm, dot-product and half precision"),
        CountedCpu("cortex-a7", "cortex-a7", "NEON of 32 bits, in order", ARMV7.name),
        CountedCpu("cortex-a15", "cortex-a15", "NEON of 32 bits", ARMV7.name),
    )
}
DEFAULT_CPU = "cortex-a76"  # of the target that is counted most
DEFAULT_CPUS = {COUNTED.name: DEFAULT_CPU, ARMV7.name: "cortex-a7"}


@dataclass(frozen=True)
class Counted:
    """What a stretch of execution took."""

    stretch: Stretch
    modelled: Modelled  # cycles by core

    @property
    def total(self) -> int:
        """All executed instructions."""
        return self.stretch.total

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "total": self.total,
            "instructions": dict(self.stretch.instructions),
            "modelled_cycles": {core: round(cycles.total, 1) for core, cycles in self.modelled.items()},
            "cycles_spent_on": {core: cycles.to_dict()["spent_on"] for core, cycles in self.modelled.items()},
            "lines_missed": {str(size): count for size, count in self.stretch.misses.items()},
        }


@dataclass(frozen=True)
class CountRun:
    """One counted inference."""

    variant: str  # the instruction set
    workspace_bytes: int
    whole: Counted
    steps: tuple[Counted, ...]  # of a profiling build; none otherwise


def cpus_of(target: Target) -> list[CountedCpu]:
    """Return the cores that bundles of a target are counted on."""
    return [cpu for cpu in CPUS.values() if cpu.target == target.name]


def find_cpu(name: str) -> CountedCpu:
    """Return the row called `name`.

    Raises:
        UsageError: when there is none.
    """
    if name not in CPUS:
        raise unknown_value("core to count on", name, CPUS)
    return CPUS[name]


@dataclass(frozen=True)
class CountRequest:
    """What is counted.

    Attributes:
        bundle: its folder; with `per_layer` in the folder of its run, as for `compile.bench.profile.profile_bundle`.
        cpu: the core that is emulated; None: the usual one of the bundle's target.
        variant: the instruction set; None: the best one of that core.
        per_layer: whether every layer is counted too, which needs a profiling build.
        weights: with `per_layer`: see `compile.bench.profile.profile_bundle`.
        keep: with `per_layer`: where to leave that build.
    """

    bundle: Path
    cpu: CountedCpu | None = None
    variant: str | None = None
    per_layer: bool = False
    weights: Path | None = None
    keep: Path | None = None


def count_bundle(request: CountRequest, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Count the instructions of one inference of a bundle and return the result as JSON values.

    Args:
        request: what is counted.
        say: called with a line before each step that takes time.

    Raises:
        UsageError: when bundles of its target are not counted, or not on this core.
        ToolMissingError: when there is no QEMU with plugins.
        IntegrityError: when the bundle is not as it was written.
    """
    bundle = check_bundle(request.bundle)
    target = bundle_target(bundle)
    if not target.counted:
        able = ", ".join(row.name for row in TARGETS.values() if row.counted)
        raise UsageError(f"{request.bundle} is for {target.name}; instructions are counted of bundles for: {able}.")
    cpu = request.cpu or CPUS[DEFAULT_CPUS[target.name]]
    if cpu.target != target.name:
        raise UsageError(
            f"{request.bundle} is for {target.name}, which {cpu.name} is not counted for; allowed: "
            f"{', '.join(it.name for it in cpus_of(target))}."
        )
    counter = start_counter(TOOLS, target)
    if counter.why_not_modelled:
        say(f"cycles are not modelled: {counter.why_not_modelled}")
    if not request.per_layer:
        return count_result(bundle, counter, cpu, run_counted(bundle, counter, cpu, request.variant))
    say("building the profiling bundle")
    with tempfile.TemporaryDirectory(prefix="repghost-profile-") as folder:
        made = make_profiling_bundle(bundle, target, request.keep or Path(folder) / "bundle", request.weights)
        run = run_counted(made, counter, cpu, request.variant)
    # The whole is that of the bundle itself; both are the same code, so they are counted alike.
    return count_result(bundle, counter, cpu, run)


def run_counted(bundle: Bundle, counter: InstructionCounter, cpu: CountedCpu, variant: str | None = None) -> CountRun:
    """Run the guest program on the model of a checked bundle and return what it executed.

    Args:
        bundle: from `check_bundle`, or a profiling build of it.
        counter: from `start_counter`.
        cpu: the core that is emulated.
        variant: the instruction set; the best one of that core by default.

    Raises:
        UnsupportedVariantError: when the core lacks the instruction set.
        RepGhostError: when the emulator or the program failed.
    """
    said, stretches = run_guest(bundle, counter, cpu, variant)
    code = None if _has_one_code(bundle) else cpu.name
    return _read_counts(said, stretches, counter, code)


def run_guest(
    bundle: Bundle, counter: InstructionCounter, cpu: CountedCpu, variant: str | None, *more: str
) -> tuple[dict[str, Any], dict[int, Stretch]]:
    """Return what the guest program said of a model, and what it executed by mark; arguments as for `run_counted`.

    Args:
        more: further arguments of the program.
    """
    if variant is not None and variant not in bundle.manifest["variants"]:
        raise unknown_value(f"variant of {bundle.path}", variant, bundle.manifest["variants"])
    with tempfile.TemporaryDirectory(prefix="repghost-count-") as name:
        folder = Path(name)
        contents = {**counter.files, "model.so": bundle.read("model.so"), "vectors.bin": bundle.read("vectors.bin")}
        for file, content in contents.items():
            (folder / file).write_bytes(content)
            (folder / file).chmod(0o755)
        plugin = ["-plugin", f"./{PLUGIN},out={COUNTS}"]  # a relative path: QEMU would end one at its first comma
        guest = [f"./{GUEST}", "./model.so", "./vectors.bin", variant or "", *more]
        command = [*counter.emulator.command(cpu.emulated), *plugin, *guest]
        said = run_program(command, "the counted program", cpu.name, folder=folder)
        lines = (folder / COUNTS).read_text().splitlines() if (folder / COUNTS).is_file() else []
    return said, read_stretches(lines)


def _has_one_code(bundle: Bundle) -> bool:
    """Return whether every core runs the same code of a bundle: float32 has one instruction set."""
    target = bundle_target(bundle)
    (first, *others) = (target.variant(name) for name in bundle.manifest["variants"])
    return not others and not first.requires


def _read_counts(
    said: dict[str, Any], stretches: dict[int, Stretch], counter: InstructionCounter, code: str | None
) -> CountRun:
    wanted = [WHOLE, *range(FIRST_STEP, FIRST_STEP + int(said["steps"]))]
    require_marks(wanted, stretches)
    whole, *steps = count_stretches([stretches[number] for number in wanted], counter, code)
    return CountRun(str(said["variant"]), int(said["workspace_bytes"]), whole, tuple(steps))


def require_marks(wanted: Sequence[int], stretches: Mapping[int, Stretch]) -> None:
    """Refuse an emulator that did not report every mark of the program.

    Raises:
        ToolMissingError: when one is absent.
    """
    absent = [number for number in wanted if number not in stretches]
    if absent:
        raise ToolMissingError(
            f"the emulator ran the program but reported nothing for {len(absent)} of its marks; its plugins do not "
            "report system calls. Try another version of qemu-user."
        )


def count_stretches(stretches: list[Stretch], counter: InstructionCounter, code: str | None) -> list[Counted]:
    """Return stretches of one program with their modelled cycles, without any where LLVM is missing.

    Args:
        stretches: from `read_stretches`.
        counter: from `start_counter`.
        code: the emulated core; None where every core runs the same code.
    """
    modelled: list[Modelled] = [{} for _ in stretches]
    if counter.llvm is not None:
        modelled = model_cycles(stretches, code, counter.llvm, counter.cache)
    return [Counted(stretch, cycles) for stretch, cycles in zip(stretches, modelled, strict=True)]


def count_result(bundle: Bundle, counter: InstructionCounter, cpu: CountedCpu, run: CountRun) -> dict[str, Any]:
    """Return one counted inference as JSON values, with its layers where they were counted.

    Args:
        bundle: whose model ran; carries the layers.
        counter: what counted it.
        cpu: the emulated core.
        run: from `run_counted`.

    Raises:
        IntegrityError: when there are more or fewer steps than layers.
    """
    rows = bundle_layers(bundle, run.variant) if run.steps else ()
    if len(rows) != len(run.steps):
        raise IntegrityError(f"{len(run.steps)} steps were counted, but {bundle.path} names {len(rows)} layers.")
    layers = [
        {**{key: value for key, value in asdict(row).items() if key != "reason"}, **step.to_dict()}
        for row, step in zip(rows, run.steps, strict=True)
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "bundle": bundle.digest,
        "model": bundle.manifest["model"]["name"],
        "precision": bundle.manifest["precision"],
        "size": bundle.size,
        "cpu": cpu.name,
        "variant": run.variant,
        "emulator": counter.emulator.version(),
        "model_bytes": len(bundle.read("model.so")),
        "workspace_bytes": run.workspace_bytes,
        "not_modelled": counter.why_not_modelled,
        "whole": run.whole.to_dict(),
        "layers": layers,
    }
