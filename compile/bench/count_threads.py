"""How evenly the threads of the runner share an inference: the exact instructions of each piece of each step.

A step is cut into one piece for each thread where it has as many units (compile/runner/library/entry.c).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from compile.bench.count import FIRST_STEP, WHOLE, CountedCpu, require_marks, run_guest
from compile.bench.counter_build import InstructionCounter
from compile.bundle.manifest import Bundle


@dataclass(frozen=True)
class SharedCount:
    """The executed instructions of one inference that threads share.

    Attributes:
        threads: how many.
        variant: the instruction set.
        steps: those that are shared, each with the count of each piece.
        alone: what one thread executes while the others wait: steps that cannot be cut, and what is between steps.
    """

    threads: int
    variant: str
    steps: tuple[tuple[int, ...], ...]
    alone: int

    @property
    def total(self) -> int:
        """All instructions."""
        return self.alone + sum(sum(step) for step in self.steps)

    @property
    def longest(self) -> int:
        """The longest way through the inference: of each step its largest piece."""
        return self.alone + sum(max(step) for step in self.steps)

    @property
    def by_thread(self) -> tuple[int, ...]:
        """What each thread executes where it takes the same piece of each step, and the first one the rest."""
        shares = [sum(step[index] for step in self.steps if index < len(step)) for index in range(self.threads)]
        return (shares[0] + self.alone, *shares[1:])


def count_threads(bundle: Bundle, counter: InstructionCounter, cpu: CountedCpu, threads: int) -> SharedCount:
    """Count one inference of an arm64 bundle whose steps are cut for so many threads.

    Args:
        bundle: from `check_bundle`.
        counter: from `compile.bench.counter_build.start_counter`.
        cpu: the core that is emulated.
        threads: how many share it.

    Raises:
        ToolMissingError: when the emulator reports no counts.
    """
    said, stretches = run_guest(bundle, counter, cpu, None, str(threads))
    pieces = [int(count) for count in said["pieces"]]
    marks = range(FIRST_STEP, FIRST_STEP + sum(pieces) + len(pieces))
    require_marks([*marks, WHOLE], stretches)
    counts: Iterator[int] = iter([stretches[number].total for number in marks])
    alone, steps = stretches[WHOLE].total, []
    for count in pieces:
        alone += next(counts)
        steps.append(tuple(islice(counts, count)))
    return SharedCount(threads, str(said["variant"]), tuple(steps), alone)
