"""Holds a runtime to AVX2 on a machine that has more, so that it can be compared with code for AVX2.

Runtimes find out for themselves what a core can do, and few of them can be told otherwise. All of them have to ask
whether the operating system keeps the wide registers, by the instruction xgetbv. In a copy of the runtime's libraries
that instruction is replaced by one that answers "the 128 and 256 bit ones": no AVX-512 is used then, and nothing else
changes. The copy is a tree of links beside the original; only libraries that ask are written anew.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path

HELD = "avx2"
# xgetbv comes right after ecx became 0, by `xor ecx, ecx` or `mov ecx, esi`; without that the same three bytes are
# usually parts of other instructions. `mov al, 7; nop` is as long: bits 0 to 2 are the x87, SSE and AVX registers.
QUESTION = re.compile(rb"(\x31\xc9|\x31\xf6\x89\xf1)\x0f\x01\xd0")
ANSWER = rb"\1" + b"\xb0\x07\x90"


def hold(text: bytes) -> tuple[bytes, int]:
    """Return machine code that sees no AVX-512, and how many questions were answered for it."""
    return QUESTION.subn(ANSWER, text)


def held_packages(names: Sequence[str], folder: Path) -> Path:
    """Return a folder to import packages from that are held to AVX2.

    Args:
        names: top-level modules, packages, and folders of libraries beside them (".libs").
        folder: where the copy is, or will be.

    Raises:
        RuntimeError: when nothing in them asks for the wide registers, so that nothing can be held.
    """
    if folder.is_dir():
        return folder
    held = 0
    for name in names:
        place = _place(name)
        if place is None:
            continue
        files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
        for path in files:
            held += _copy(path, folder / path.relative_to(place.parent))
    if not held:
        raise RuntimeError(f"cannot be held to AVX2: nothing in {', '.join(names)} asks for wider registers")
    return folder


def _place(name: str) -> Path | None:
    """Return the folder or file of a module, or the folder `name` beside the packages."""
    if name.endswith(".libs"):
        return next((Path(entry) / name for entry in sys.path if (Path(entry) / name).is_dir()), None)
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"{name} is not installed", name=name)
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return None if spec.origin is None else Path(spec.origin)


def _copy(source: Path, target: Path) -> int:
    """Link a file, or write what `hold` makes of it; return how many questions it holds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if ".so" in source.name:
        code, held = hold(source.read_bytes())
        if held:
            target.write_bytes(code)
            target.chmod(0o755)
            return held
    if not target.exists():
        target.symlink_to(source)
    return 0
