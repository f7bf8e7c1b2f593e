"""The progress of quantization-aware training: a bar in a terminal, and a line for each candidate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from repghost.commands.progress.notes import say_notes
from repghost.terminal import say

if TYPE_CHECKING:
    from calib.qat.candidates import Candidate
    from calib.qat.epochs import Hooks
    from calib.qat.loop import QatStep


@contextlib.contextmanager
def following() -> Iterator[Hooks]:
    """Yield hooks that show a bar with phase and loss in a terminal, and every candidate with its score."""
    from tqdm import tqdm

    from calib.qat.epochs import Hooks
    from repghost.training.suit import few_steps

    bar = tqdm(unit="step", leave=False, disable=None)  # None: no bar where the output is no terminal

    def begin(steps: int, done: int) -> None:
        say_notes([few_steps(steps)])
        bar.reset(total=steps)
        bar.update(done)

    def step(step: QatStep) -> None:
        bar.set_description(step.phase, refresh=False)
        bar.set_postfix_str(f"loss {step.loss:.4f}", refresh=False)
        bar.update()

    def candidate(one: Candidate) -> None:
        score = one.score
        bar.clear()
        say(f"{one.name}: top-1 {score.top1:.2%}, loss {score.loss:.4f}, as float {score.agreement:.2%}")

    def refused(name: str, reason: str) -> None:
        bar.clear()
        say(f"{name}: refused, {reason}", err=True)

    with contextlib.closing(bar):
        yield Hooks(begin=begin, step=step, candidate=candidate, refused=refused)
