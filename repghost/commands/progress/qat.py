"""The progress of quantization-aware training: a bar in a terminal, and a line for each candidate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from repghost.commands.progress.notes import say_notes
from repghost.terminal import say

if TYPE_CHECKING:
    from calib.qat.candidates import Candidate
    from calib.qat.loop import QatStep


class QatProgress:
    """What is shown of a run.

    Args:
        bar: of tqdm, with phase and loss.
    """

    def __init__(self, bar: Any) -> None:
        self._bar, self._begun = bar, False

    def step(self, step: QatStep) -> None:
        """Show a step; a resumed run does not begin at 0."""
        from repghost.training.suit import few_steps

        if not self._begun:
            say_notes([few_steps(step.of)])
            self._bar.reset(total=step.of)
            self._bar.update(step.number)
            self._begun = True
        self._bar.set_description(step.phase, refresh=False)
        self._bar.set_postfix_str(f"loss {step.loss:.4f}", refresh=False)
        self._bar.update()

    def candidate(self, one: Candidate) -> None:
        """Show a network with its score."""
        score = one.score
        self._bar.clear()
        say(f"{one.name}: top-1 {score.top1:.2%}, loss {score.loss:.4f}, as float {score.agreement:.2%}")

    def refused(self, name: str, reason: str) -> None:
        """Show why a network is no candidate."""
        self._bar.clear()
        say(f"{name}: refused, {reason}", err=True)


@contextlib.contextmanager
def following() -> Iterator[QatProgress]:
    """Yield what shows a bar with phase and loss in a terminal, and every candidate with its score."""
    from tqdm import tqdm

    # None: no bar where the output is no terminal
    with contextlib.closing(tqdm(unit="step", leave=False, disable=None)) as bar:
        yield QatProgress(bar)
