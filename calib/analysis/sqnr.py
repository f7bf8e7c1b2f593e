"""The signal to quantization noise ratio (SQNR) of every tensor of an integer program."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from calib.integer import qparams
from calib.integer.program import Dequantize, Program
from calib.integer.reference import run
from calib.integer.values import Tensor, ToLogits
from repghost.data.images.preprocess import Preprocess
from repghost.graph.operators import Graph
from repghost.graph.run import run_float
from repghost.graph.threads import in_parallel

MOST_DECIBELS = 200.0  # of a tensor without any error; float32 itself has about 150
CHUNK_PIXELS = 1 << 17  # every tensor of so many pixels of images is alive at once


def measure_sqnr(graph: Graph, program: Program, images: NDArray[np.uint8], preprocess: Preprocess) -> dict[str, float]:
    """Return 10 log10(sum x^2 / sum (x - y)^2) in dB of each operator: x in float32, y by the integer program.

    The error is that of everything up to the operator, as it runs; not of the operator alone.

    Args:
        graph: the float network, with the same names as the program.
        program: its quantized form.
        images: uint8 [N, height, width, channels], cropped by `preprocess`.
        preprocess: the one of the program.

    Returns:
        by the name of the program's operator; operators of which the float network has no tensor are left out.
    """
    signal: dict[str, float] = defaultdict(float)
    noise: dict[str, float] = defaultdict(float)
    for found in in_parallel(partial(_powers, graph, program, preprocess), list(_chunks(images))):
        for name, (exact, error) in found.items():
            signal[name] += exact
            noise[name] += error
    return {name: _decibels(signal[name], noise[name]) for name in signal}


def _powers(
    graph: Graph, program: Program, preprocess: Preprocess, images: NDArray[np.uint8]
) -> dict[str, tuple[float, float]]:
    """Return the sums of x^2 and of (x - y)^2 of each operator over some images."""
    found, result = _float_tensors(graph, images, preprocess), {}
    for name, tensor, quantized in _integer_tensors(program, images):
        exact = found.get(tensor)
        if exact is not None and exact.shape == quantized.shape:
            error = np.square(exact - quantized, dtype=np.float64)
            result[name] = (float(np.sum(np.square(exact, dtype=np.float64))), float(np.sum(error)))
    return result


def _chunks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    step = max(1, CHUNK_PIXELS // (images.shape[1] * images.shape[2]))
    for start in range(0, len(images), step):
        yield images[start : start + step]


def _float_tensors(graph: Graph, images: NDArray[np.uint8], preprocess: Preprocess) -> dict[str, NDArray[np.float32]]:
    """Return every float tensor by name as [N, H, W, C]; the scores under the last operator's name."""
    tensors: dict[str, NDArray[np.float32]] = {}

    def keep(name: str, value: torch.Tensor) -> None:
        four = value if value.dim() == 4 else value[:, :, None, None]
        tensors[name] = four.permute(0, 2, 3, 1).numpy().copy()  # a later ReLU may write into the same memory

    run_float(graph, torch.from_numpy(preprocess.normalize(images)), keep)
    return tensors


def _integer_tensors(program: Program, images: NDArray[np.uint8]) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """Yield each operator's name, its float tensor's name, and its value [N, H, W, C] in float32."""
    trace: dict[str, NDArray[np.int8]] = {}
    scores = run(program, images, trace)
    for operator in program.operators:
        if isinstance(getattr(operator, "epilogue", None), ToLogits):
            yield operator.name, operator.name, scores[:, None, None, :]
        elif not isinstance(operator, Dequantize):
            yield operator.name, operator.output.name, _values(trace, operator.output)


def _values(trace: dict[str, NDArray[np.int8]], tensor: Tensor) -> NDArray[np.float32]:
    return qparams.dequantize(trace[tensor.name], tensor.qparams)


def _decibels(signal: float, noise: float) -> float:
    """Return the ratio in dB, 0 where there is no signal and bounded where there is no noise."""
    if signal == 0.0:
        return 0.0
    limit = 10.0 ** (-MOST_DECIBELS / 10.0)
    return float(10.0 * np.log10(signal / max(noise, signal * limit)))
