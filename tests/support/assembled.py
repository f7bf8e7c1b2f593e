"""Instructions as an assembler writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from elftools.elf.elffile import ELFFile

from compile.link.zig import run_zig


def assembled(lines: Sequence[str], target: Sequence[str], folder: Path) -> list[int]:
    """Return the 32-bit words of assembler code, one for each instruction.

    Args:
        lines: directives and instructions.
        target: what zig's compiler is told of the machine.
        folder: for the files.
    """
    (folder / "all.s").write_text("\n".join(lines) + "\n")
    run_zig(["cc", *target, "-c", "all.s", "-o", "all.o"], cwd=folder)
    with (folder / "all.o").open("rb") as file:
        text = ELFFile(file).get_section_by_name(".text").data()
    return [int.from_bytes(text[at : at + 4], "little") for at in range(0, len(text), 4)]
