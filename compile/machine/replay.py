"""Verifying a bundle: its digests first, then its recorded images with every instruction set that can run here."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from compile.bundle.host_model import check_interface
from compile.bundle.manifest import Bundle, bundle_target, check_bundle
from compile.bundle.verification import Replay, Skipped, Verification
from compile.link.by_form import check_programs
from compile.machine.emulator import Emulator
from compile.machine.execute import RUNNER, Machine, UnsupportedVariantError, machine_for, run_runner
from compile.storage.typed_json import check_types
from compile.targets.table import Target, Variant
from repghost.errors import IntegrityError, ToolMissingError, UsageError


def verify_bundle(
    path: Path,
    variants: tuple[str, ...] = (),
    vectors: Path | None = None,
    emulator: Emulator | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Verification:
    """Check the digests and program headers of a bundle, then replay its recorded images.

    Args:
        path: the folder of the bundle.
        variants: the instruction sets to run; all of the bundle's by default.
        vectors: another vectors file to replay.
        emulator: used on another machine than the target's; looked for by default.
        say: called with a line for each result.

    Raises:
        UsageError: for a bundle whose engine is built on the board (`compile.tensorrt.verify` checks those).
        IntegrityError: when a digest, a program header or a recorded image does not match.
        ToolMissingError: when not one instruction set can be run here.
    """
    bundle = check_bundle(path)
    target = bundle_target(bundle)
    check_interface(bundle)
    try:
        models = [bundle.read(name) for name in target.form.models if name in bundle.manifest["files"]]
        check_programs(models, bundle.read(target.form.runner), target)
        wanted = [target.variant(name) for name in variants or tuple(bundle.manifest["variants"])]
    except UsageError as error:
        raise (UsageError if variants else IntegrityError)(f"{path}: {error}") from error
    replays, skipped = [], []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each replay is a process of its own
        for result in pool.map(lambda variant: _replay_or_skip(bundle, target, variant, emulator, vectors), wanted):
            if isinstance(result, Replay):
                replays.append(result)
                say(_line(result))
            else:
                skipped.append(result)
                say(f"{result.variant}: not run here: {result.reason}")
    if not replays:
        raise ToolMissingError(f"{path}: the digests match, but no vector was replayed. {skipped[0].reason}")
    return Verification(bundle, tuple(replays), tuple(skipped))


@dataclass(frozen=True)
class _Answer:
    """What is read of the runner's answer."""

    pictures: int
    tolerance: float
    largest_difference: float | None = None


def _replay_or_skip(
    bundle: Bundle, target: Target, variant: Variant, emulator: Emulator | None, vectors: Path | None
) -> Replay | Skipped:
    try:
        return _replay(bundle, variant, machine_for(target, variant, emulator), vectors)
    except UnsupportedVariantError:
        return Skipped(variant.name, f"this core cannot run {variant.name}")
    except ToolMissingError as error:
        return Skipped(variant.name, str(error))


def _replay(bundle: Bundle, variant: Variant, machine: Machine, vectors: Path | None) -> Replay:
    # Under emulation the core is chosen to fit, so the runner has to choose the same variant by itself.
    arguments = ["--verify"] if machine.emulated else ["--verify", "--variant", variant.name]
    if vectors:
        arguments += ["--vectors", str(Path(vectors).absolute())]
    result = run_runner(bundle, machine, arguments)
    if result.get("variant") != variant.name or result.get("ok") is not True:
        raise IntegrityError(
            f"{machine.name} should have run {variant.name} without a mismatch, but says {str(result)[:200]}."
        )
    answer = check_types(result, _Answer, f"the answer of {RUNNER} on {machine.name}")
    return Replay(
        variant=variant.name,
        machine=machine.name,
        emulated=machine.emulated,
        pictures=answer.pictures,
        tolerance=answer.tolerance,
        largest_difference=float("nan") if answer.largest_difference is None else answer.largest_difference,
    )


def _line(replay: Replay) -> str:
    if replay.tolerance:
        how = f"equal within {replay.tolerance:.2g} (largest difference {replay.largest_difference:.2g})"
    else:
        how = "equal to the bit"
    return f"{replay.variant}: {replay.pictures} pictures {how}, on {replay.machine}"
