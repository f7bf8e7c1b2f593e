"""What the counter (compile/bench/counter) says of a stretch of execution: instructions, blocks, lines of memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Blocks = tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Stretch:
    """What ran between two marks.

    Attributes:
        instructions: executed ones by class, see compile/bench/counter/classes.h.
        blocks: how often each block of straight code ran, and its words in hexadecimal, 8 digits an instruction.
        misses: for caches of so many bytes, the 64-byte lines that were touched and not in one, see reuse.h.
    """

    instructions: Mapping[str, int]
    blocks: Blocks = field(default=(), repr=False)
    misses: Mapping[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All executed instructions."""
        return sum(self.instructions.values())


def read_stretches(lines: Iterable[str]) -> dict[int, Stretch]:
    """Return every stretch by the number of its mark.

    Args:
        lines: JSON as compile/bench/counter/counter.c writes it; a block's words stand where it appears first.
    """
    words: dict[int, str] = {}
    found = {}
    for line in lines:
        said = json.loads(line)
        for number, _, *text in said["blocks"]:
            words.update({number: text[0]} if text else {})
        blocks = tuple((int(runs), words[number]) for number, runs, *_ in said["blocks"])
        misses = {int(size): int(count) for size, count in said["misses"].items()}
        found[int(said["mark"])] = Stretch(dict(said["instructions"]), blocks, misses)
    return found
