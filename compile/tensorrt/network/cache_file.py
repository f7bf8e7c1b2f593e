"""The calibration cache: ranges for TensorRT's implicit quantization, which DLA needs and versions before 8 know alone.

The form is the one that public caches have: a line that names TensorRT's version and the calibrator, then a line per
tensor with the float32 of amax / 127 as eight hexadecimal digits, the most significant byte first. No TensorRT has read
a cache written here yet.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from calib.settings.quantspec import QuantSpec
from compile.tensorrt.jetpack import JetPack
from repghost.errors import IntegrityError
from repghost.graph.operators import INPUT, Graph
from repghost.untrusted import parse_int

CALIBRATOR = "EntropyCalibration2"


def calibration_cache(graph: Graph, spec: QuantSpec, jetpack: JetPack) -> str:
    """Return the text of a cache for the float file of a network.

    Args:
        graph: the network; its tensors are named as in the file.
        spec: symmetric scales.
        jetpack: whose TensorRT reads it.
    """
    scales = {name: spec.activations[name].scale for name in graph.names() if name in spec.activations}
    if jetpack.half_file:
        scales[f"{INPUT}.half"] = scales[INPUT]
    lines = [f"{name}: {struct.pack('>f', scale).hex()}" for name, scale in scales.items()]
    return "\n".join([f"TRT-{jetpack.cache_version}-{CALIBRATOR}", *lines]) + "\n"


def parse_calibration_cache(text: str) -> tuple[int, Mapping[str, float]]:
    """Return TensorRT's version number and the scale of each tensor.

    Raises:
        IntegrityError: when a line is not as described above.
    """
    head, *lines = text.splitlines()
    begin, _, rest = head.partition("-")
    number, _, calibrator = rest.partition("-")
    version = parse_int(number)
    if begin != "TRT" or version is None or calibrator != CALIBRATOR:
        raise IntegrityError(f"the calibration cache begins with {head[:60]!r}, not TRT-<version>-{CALIBRATOR}.")
    scales = {}
    for line in lines:
        name, _, digits = line.rpartition(": ")
        try:
            (scales[name],) = struct.unpack(">f", bytes.fromhex(digits))
        except (ValueError, struct.error):
            raise IntegrityError(f"the calibration cache has a line {line[:60]!r}, not NAME: 8 digits.") from None
    return version, scales
