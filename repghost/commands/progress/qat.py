"""The progress of quantization-aware training: a bar in a terminal, and a line for each candidate."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repghost import terminal
from repghost.terminal import say, say_progress

if TYPE_CHECKING:
    from calib.qat.candidates import Candidate
    from calib.qat.loop import QatStep
    from repghost.api.quantized import QuantizedNetwork


class QatProgress:
    """What is shown of a run."""

    def __init__(self) -> None:
        self._bar: Any = None

    def step(self, step: QatStep) -> None:
        """Show a step; a resumed run does not begin at 0."""
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=step.of, initial=step.number, unit="step", leave=False, disable=terminal.bars_off())
        self._bar.set_description(step.phase, refresh=False)
        self._bar.set_postfix_str(f"loss {step.loss:.4f}", refresh=False)
        self._bar.update()

    def candidate(self, one: Candidate) -> None:
        """Show a network with its score."""
        self._clear()
        say_progress(f"{one.name}: {one.score}")

    def refused(self, name: str, reason: str) -> None:
        """Show why a network is no candidate."""
        self._clear()
        say_progress(f"{name}: refused, {reason}", err=True)

    def _clear(self) -> None:
        """Make room for a line."""
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


def following() -> contextlib.closing[QatProgress]:
    """Return what shows a bar with phase and loss in a terminal, and every candidate with its score."""
    return contextlib.closing(QatProgress())


def tell_trained(output: Path, made: QuantizedNetwork) -> None:
    """Say what was written and chosen."""
    record = made.training or {}
    say(f"written: {output} ({output.stat().st_size / 1e6:.2f} MB), mode {record['mode']}")
    say(
        f"chosen by {record['held_out_pictures']} held-out pictures: {record['chosen']}; accuracy on other pictures: "
        "not measured here"
    )
    say(f"program digest: {made.digest}")
