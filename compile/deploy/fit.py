"""Whether a bundle can work on a board, told before a byte is copied."""

from __future__ import annotations

from compile.bundle.manifest import Bundle
from compile.deploy.copy import RUNNER
from compile.deploy.probe import BoardFacts
from compile.link.elf import read_elf
from compile.targets.table import REFUSED, TARGETS, Target, static_target
from repghost.errors import DeviceUnreachableError, IntegrityError, UsageError, command

SPARE_BYTES = 1 << 20  # left free on the board, for the history and what the board itself writes


def expected_variant(target: Target, variants: list[str], facts: BoardFacts) -> str | None:
    """Return the instruction set the board will choose; None when it has none of them.

    Args:
        target: the row the bundle was made for.
        variants: the instruction sets in the bundle; one that the row does not know is never chosen.
        facts: the board; one that does not name its features is taken to have all.
    """
    chosen = None
    for variant in target.variants:
        has_all = not facts.features or all(feature.is_on(facts.features) for feature in variant.requires)
        if variant.name in variants and has_all:
            chosen = variant.name
    return chosen


def check_fit(bundle: Bundle, facts: BoardFacts, where: str) -> str:
    """Refuse a board that the bundle cannot run on, or that has no room for it.

    Args:
        bundle: from `check_bundle`.
        facts: from `probe`.
        where: what messages call the board.

    Returns:
        The instruction set that the board will use; empty for a bundle without instruction sets.

    Raises:
        UsageError: when the bundle is for another kind of machine.
        DeviceUnreachableError: when the board has no room, or cannot be written.
    """
    target = TARGETS.get(bundle.target_name)
    if target is None:
        raise IntegrityError(f"{bundle.path} is for {bundle.target_name!r}; this program knows {', '.join(TARGETS)}.")
    if facts.target_name not in {target.name, target.board_target or target.name}:
        raise UsageError(_other_machine(bundle, target, facts, where))
    if facts.bits not in (None, target.bits):
        raise UsageError(
            f"{where} has a 64-bit kernel but a {facts.bits}-bit system, which cannot start 64-bit programs. Install "
            "the 64-bit system of the board."
        )
    if RUNNER in bundle.manifest["files"]:
        _check_libc(bundle, facts, where)
    variant = ""
    if bundle.manifest["variants"]:
        variant = expected_variant(target, [str(name) for name in bundle.manifest["variants"]], facts) or ""
        if not variant:
            lacking = [feature.name for feature in target.variants[0].requires if not feature.is_on(facts.features)]
            raise UsageError(
                f"{where} ({facts.core or facts.machine}) has none of the instruction sets in {bundle.path}: "
                f"{', '.join(map(str, bundle.manifest['variants']))}. It lacks {', '.join(lacking)}."
            )
    check_room(bundle, facts, where)
    return variant


def _other_machine(bundle: Bundle, target: Target, facts: BoardFacts, where: str) -> str:
    """Say that a bundle is for another kind of machine, and which target is for this one."""
    start = f"{bundle.path} is for {target.name}, but {where} is {facts.machine} ({facts.system})"
    if facts.target_name not in TARGETS:
        why = REFUSED.get(facts.machine, f"bundles are made for {', '.join(TARGETS)}")
        return f"{start}, which nothing is built for: {why}."
    build = f"Build one for it: {command('compile', target=facts.target_name)}"
    if facts.system_bits == 32 and target.bits == 64:
        return f"{start} with a 32-bit system, which starts no 64-bit programs. {build}, or install its 64-bit system."
    return f"{start}. {build}"


def static_hint(name: str) -> str:
    """Return which target has a runner that needs no C library, for boards of a row; empty where none has."""
    found = static_target(name)
    build = command("compile", target=found.name) if found else ""
    return f" A bundle of '{build}' has one that needs no C library." if found else ""


def _check_libc(bundle: Bundle, facts: BoardFacts, where: str) -> None:
    try:
        elf = read_elf(bundle.read(RUNNER))
        newest = elf.newest_glibc
    except UsageError as error:
        raise IntegrityError(f"{bundle.path}: {RUNNER}: {error}") from error
    if not elf.needed:
        return  # a static runner starts everywhere
    needed, hint = ".".join(str(part) for part in newest), static_hint(facts.target_name)
    if "musl" in facts.libc or (facts.glibc is not None and facts.glibc < newest):
        raise UsageError(f"{where} has {facts.libc}, but {RUNNER} needs glibc {needed} or newer.{hint}")
    if facts.loaders is not None and elf.interpreter not in facts.loaders:
        raise UsageError(
            f"{where} has no {elf.interpreter}, which starts {RUNNER}: it needs glibc {needed} or newer.{hint}"
        )


def check_room(bundle: Bundle, facts: BoardFacts, where: str) -> None:
    """Refuse a board that has no room for the bundle, or cannot be written.

    Raises:
        DeviceUnreachableError: naming how much is free and how much is needed.
    """
    if not facts.writable:
        raise DeviceUnreachableError(f"the folder on {where} cannot be written. Name another one: user@board:folder.")
    needed = sum(int(entry["size"]) for entry in bundle.manifest["files"].values()) + SPARE_BYTES
    if facts.free_kb is not None and facts.free_kb * 1024 < needed:
        raise DeviceUnreachableError(
            f"{where} has {facts.free_kb / 1024:.1f} MiB free, and the bundle needs {needed / (1 << 20):.1f} MiB. Free "
            "some space there, or name another folder: user@board:folder."
        )
