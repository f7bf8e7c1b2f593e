"""Every file of a bundle for Jetson, and what its manifest says."""

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
class Contents:
    """What goes into a bundle besides the scripts.

    Attributes:
        subject: labels, Preprocess, where the weights are from.
        networks: the two files.
        int8: one of them.
        fp16: the other.
        options: what the user chose of the placement.
        config: how it was calibrated, as JSON values.
        samples: uint8 [N, size, size, 3].
        expected: by kind.
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
