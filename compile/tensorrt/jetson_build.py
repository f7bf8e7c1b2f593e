"""What a run has built for Jetson, before it is packed into a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from calib.qdq.digest import program_digest
from compile.subject.subject import FloatSubject
from compile.tensorrt.network.networks import Networks
from compile.tensorrt.network.placement import PlacementOptions
from compile.tensorrt.samples import Expected


@dataclass(frozen=True, eq=False)
class JetsonBuild:
    """The networks of a bundle, and the logits they have to give for its samples.

    Attributes:
        subject: labels, Preprocess, where the weights are from.
        networks: graph, scales and placement, from which both files are written.
        int8: the Q/DQ file.
        fp16: the float file beside it.
        options: which layers the user left in float.
        config: how it was calibrated, as JSON values.
        samples: uint8 [N, height, width, channels].
        expected: by kind, "int8" and "fp16".
    """

    subject: FloatSubject
    networks: Networks
    int8: onnx.ModelProto
    fp16: onnx.ModelProto
    options: PlacementOptions
    config: dict[str, Any]
    samples: Any
    expected: dict[str, Expected]

    @property
    def digest(self) -> str:
        """The program digest of the int8 file."""
        return program_digest(self.int8, self.subject.preprocess.to_dict())
