"""What the commands that quantize share: what they say of the network and its images."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from repghost.commands.options.quant_options import CalibrationRequest
from repghost.commands.progress.notes import say_notes
from repghost.terminal import say, say_broken

if TYPE_CHECKING:
    from repghost.api.quantized import QuantizedNetwork


def tell_quantized(made: QuantizedNetwork, request: CalibrationRequest) -> None:
    """Say what to know of a network that was quantized and of the images that calibrated it."""
    say_notes(made.notes)
    say_broken(made.calibration.origin["broken"], "left out")
    checkpoint = made.network.checkpoint
    if checkpoint is not None and checkpoint.spec.form != "fused":
        form = checkpoint.spec.form
        say(f"{Path(request.checkpoint).name} is in {form} form; it is fused before it is quantized")


def detector_commands(request: CalibrationRequest, output: Path) -> list[str]:
    """Return what can be done with the file of a quantized detector."""
    build = ["repghost", "compile", "--target", "arm64", "--weights", str(output)]
    evaluate = ["repghost", "detect-validate", request.checkpoint, str(output), "--data", str(request.data)]
    return [shlex.join(build), shlex.join([*evaluate, "--split", "val", "--resamples", "300"])]
