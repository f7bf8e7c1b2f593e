"""Running the runner of a bundle: on this machine where it fits, under emulation where it does not."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.bundle.manifest import Bundle
from compile.machine.emulator import Emulator, find_emulator
from compile.targets.table import Target, Variant
from repghost.errors import IntegrityError, RepGhostError, ToolMissingError, UsageError
from repghost.processes import TOOL_LIMIT_S, run_limited
from repghost.untrusted import parse_json

TIME_LIMIT = 900  # seconds of one run; emulation is 20 to 50 times slower than the machine itself
RUNNER = "repghost-run"
UNSUPPORTED = 4  # the runner's exit code for a core that lacks an instruction set
INTEGRITY = 6


class UnsupportedVariantError(ToolMissingError):
    """The machine lacks the instruction set that was asked for."""


@dataclass(frozen=True)
class Machine:
    """A way to run the programs of a target."""

    name: str  # "this machine", or "qemu-aarch64 -cpu cortex-a53"
    prefix: tuple[str, ...]  # the words before the command line
    emulated: bool


def machine_for(target: Target, variant: Variant, emulator: Emulator | None = None) -> Machine:
    """Return how code of `target` can be run here, with the emulated core that suits the variant.

    Args:
        target: what the code was compiled for.
        variant: its instruction set.
        emulator: used on another machine than the target's; looked for by default.

    Raises:
        ToolMissingError: when this machine can run it neither itself nor under emulation.
    """
    if target.runs_here:
        return Machine("this machine", (), emulated=False)
    if target.form.started_by:
        return _started_by(target.form.started_by)
    if target.emulation is None:
        raise ToolMissingError(f"this machine cannot run {target.name} code; verify the bundle on the device itself.")
    emulator = emulator or find_emulator(emulation=target.emulation)
    if emulator is None:
        program, library = target.emulation.programs[0], target.emulation.debian
        raise ToolMissingError(
            f"no {program} with an {library} C library was found; 'repghost doctor' says what to do."
        )
    command = tuple(emulator.command(variant.emulated_cpu))
    return Machine(f"{emulator.program.name} -cpu {variant.emulated_cpu}", command, emulated=True)


def _started_by(program: str) -> Machine:
    """Return a machine that a program of this one is; it runs as fast here as anywhere."""
    found = shutil.which(program)
    if found is None:
        raise ToolMissingError(f"no {program} was found, which runs such bundles; install it and try again.")
    done = run_limited([found, "--version"], TOOL_LIMIT_S, name=program, advice="Install it again.")
    return Machine(f"{program} {done.stdout.strip()[:40]}", (found,), emulated=False)


def run_runner(bundle: Bundle, machine: Machine, arguments: list[str], limit: float = TIME_LIMIT) -> dict[str, Any]:
    """Run `repghost-run` of a checked bundle and return the JSON object it printed.

    Args:
        bundle: from `check_bundle`.
        machine: from `machine_for`.
        arguments: e.g. ["--verify"].
        limit: seconds until the run is stopped.

    Raises:
        IntegrityError: when a digest or a recorded image did not match.
        UnsupportedVariantError: when the machine lacks the instruction set.
        RepGhostError: when the runner crashed, hung or printed something else.
    """
    return run_program(_runner_command(bundle, machine, arguments), RUNNER, machine.name, limit)


def run_runner_lines(bundle: Bundle, machine: Machine, arguments: list[str]) -> list[dict[str, Any]]:
    """Run `repghost-run` and return every JSON object it printed; arguments and errors as `run_runner`."""
    output = _output_of(_runner_command(bundle, machine, arguments), RUNNER, machine.name, TIME_LIMIT, None)
    return [value for value in map(_object, output.split("\n")) if value is not None]


def _runner_command(bundle: Bundle, machine: Machine, arguments: list[str]) -> list[str]:
    command = [*machine.prefix, str((bundle.path / bundle.form.runner).absolute())]
    return [*command, "--bundle", str(Path(bundle.path).absolute()), *arguments]


def run_program(
    command: list[str], name: str, machine: str, limit: float = TIME_LIMIT, folder: Path | None = None
) -> dict[str, Any]:
    """Run a program that ends with the runner's exit codes and return the JSON object it printed.

    Args:
        command: the program, behind its emulator where it needs one, and its arguments.
        name: what messages call it.
        machine: what runs it, for messages.
        limit: seconds until the run is stopped.
        folder: where it runs.

    Raises:
        IntegrityError: when the program says that a digest or a recorded image did not match.
        UnsupportedVariantError: when the machine lacks the instruction set.
        ToolMissingError: when it cannot be started.
        RepGhostError: when it crashed, hung or printed something else.
    """
    return _last_object(_output_of(command, name, machine, limit, folder), name)


def _advice_to_start(program: str) -> str:
    """Return what to do about a file that is there and may not be executed."""
    if not Path(program).is_file() or os.access(program, os.X_OK):
        return ""
    if os.statvfs(program).f_flag & getattr(os, "ST_NOEXEC", 0):  # access asks the file system too
        return " Its file system is mounted with noexec: copy the bundle to another one."
    # as after a copy by a zip or a Windows machine
    return f" Make it executable: chmod +x {shlex.quote(program)}."


def _output_of(command: list[str], name: str, machine: str, limit: float, folder: Path | None) -> str:
    """Return what a program printed; the errors of `run_program`."""
    try:
        advice = "Try again when the machine has less to do."
        done = run_limited(command, limit, name=f"{name} on {machine}", advice=advice, folder=folder)
    except OSError as error:
        raise ToolMissingError(f"cannot start {command[0]}: {error.strerror}.{_advice_to_start(command[0])}") from error
    message = done.stderr.strip() or f"{name} ended with code {done.returncode} on {machine}"
    if done.returncode == INTEGRITY:
        raise IntegrityError(message)
    if done.returncode == UNSUPPORTED:
        raise UnsupportedVariantError(message)
    if done.returncode < 0:
        raise RepGhostError(f"{name} was ended by signal {-done.returncode} on {machine}.")
    if done.returncode:
        raise RepGhostError(message)
    return done.stdout


def _last_object(text: str, name: str = "repghost-run") -> dict[str, Any]:
    """Return the last line of `text` that is a JSON object; other lines, such as a banner, are ignored."""
    for line in reversed(text.splitlines()):
        value = _object(line)
        if value is not None:
            return value
    raise RepGhostError(f"{name} printed no result; it printed {text[:200]!r}.")


def _object(line: str) -> dict[str, Any] | None:
    """Return the JSON object of a line, None for any other line."""
    try:
        value = parse_json(line, "the line")
    except UsageError:
        return None
    return value if isinstance(value, dict) else None
