"""What a run has built for Jetson, before it is packed into a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from calib.qdq.digest import program_digest
from compile.subject.subject import Subject
from compile.tensorrt.network.networks import Networks
from compile.tensorrt.network.placement import PlacementOptions
from compile.tensorrt.samples import Expected


@dataclass(frozen=True, eq=False, kw_only=True)
class JetsonBuild:
    """The networks of a bundle, and the logits they have to give for its samples.

    Attributes:
        subject: labels, Preprocess, where the weights are from.
        networks: graph, scales and placement, from which both files are written.
        int8: the Q/DQ file.
        fp16: the float file beside it.
        options: which layers the user left in float.
        config: how it was calibrated, as JSON values.
        calibration: with which images, likewise.
        samples: uint8 [N, height, width, channels].
        expected: by kind, "int8" and "fp16".
    """

    subject: Subject
    networks: Networks
    int8: onnx.ModelProto
    fp16: onnx.ModelProto
    options: PlacementOptions
    config: Mapping[str, Any]
    calibration: Mapping[str, Any]
    samples: Any
    expected: dict[str, Expected]

    @property
    def numbers(self) -> int:
        """How many logits it gives, or numbers of all its results."""
        return int(self.expected["int8"].logits.shape[1])

    @property
    def digest(self) -> str:
        """The program digest of the int8 file."""
        return program_digest(self.int8, self.subject.preprocess.to_dict())
