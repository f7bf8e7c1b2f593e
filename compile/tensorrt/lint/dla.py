"""What the deep learning accelerator of a Jetson asks of a file, besides int8."""

from __future__ import annotations

from collections.abc import Iterator

from compile.ir.qdq_graph import DEQUANTIZE, QUANTIZE
from compile.tensorrt.lint.graph import Breach, LintGraph, name_of

# From NVIDIA's lists of operators for DLA: through TensorRT there are none of these. Of functions it has ReLU, Sigmoid,
# TanH, clipped and leaky ReLU.
GPU_OPERATORS = (
    "Elu", "GlobalAveragePool", "HardSigmoid", "HardSwish", "ReduceMean", "Selu", "Softplus", "Softsign",
    "ThresholdedRelu",
)  # fmt: skip
LARGEST_KERNEL = 32


def dla_breaches(graph: LintGraph) -> Iterator[Breach]:
    """Yield what DLA does not take: Q/DQ nodes, and operators that fall back to the GPU."""
    pairs = sum(1 for _ in graph.nodes(QUANTIZE, DEQUANTIZE))
    if pairs:
        yield Breach(
            "dla-implicit",
            "the file",
            f"{pairs} Q/DQ nodes",
            "DLA takes its scales from a calibration cache; give the float file and calibration.cache.",
        )
    for node in graph.nodes(*GPU_OPERATORS):
        yield Breach("dla-operator", name_of(node), node.op_type, "DLA has no such operator; it falls back to the GPU.")
    for node in graph.nodes("Conv"):
        shape = graph.constants[node.input[1]].shape if node.input[1] in graph.constants else ()
        if any(side > LARGEST_KERNEL for side in shape[2:]):
            yield Breach("dla-operator", name_of(node), node.op_type, f"DLA's kernels end at {LARGEST_KERNEL} pixels.")
