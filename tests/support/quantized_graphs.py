"""A float graph quantized, written, read back and lowered, for tests that compare its forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calib.integer.program import Program
from calib.integer.reference import run
from calib.ptq.apply import quantize_graph
from calib.qdq import writer as qdq
from calib.settings.config import QuantConfig, config_from_dict
from calib.settings.quantspec import QuantSpec
from calib.simulate.exact import ExactNetwork
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from repghost.data.images.preprocess import Preprocess
from repghost.graph.operators import Graph
from tests.support.programs import random_images
from tests.support.random_graphs import SIZE

PREPROCESS = Preprocess(size=SIZE, resize=SIZE)
DESCRIPTION = qdq.Description("network", PREPROCESS.to_dict(), (), "", {}, {})
IMAGES = random_images(6, SIZE, SIZE)
PLAIN = {"ranges_by_answers": False}  # settings of the least work


def quantize(graph: Graph, settings: dict[str, Any] | None = None) -> tuple[Graph, QuantSpec]:
    """Return a graph as `quantize_graph` leaves it for IMAGES, and its scales."""
    return quantize_graph(graph, IMAGES, PREPROCESS, config_from_dict(PLAIN | (settings or {})))


def program_of(graph: Graph, spec: QuantSpec, folder: Path) -> Program:
    """Return the integer program of the file of a quantized graph."""
    model = qdq.build_qdq(graph, spec, SIZE)
    qdq.describe(model, DESCRIPTION, QuantConfig(), spec)
    path = folder / "network.qdq.onnx"
    path.write_bytes(qdq.serialize(model))
    return lower(read_qdq(path))


def assert_same_integers(graph: Graph, spec: QuantSpec, folder: Path) -> None:
    """Assert that a graph's file has the integers and scores of `ExactNetwork`, and that its tensors vary."""
    reference: dict[str, NDArray[np.int8]] = {}
    expected = run(program_of(graph, spec, folder), IMAGES, reference)
    exact, actual = integers_of(graph, spec)
    folded = exact.keys() - reference.keys()
    assert all(name.startswith(("pad.", "function.")) for name in folded), folded  # into the operator behind
    for name in exact.keys() & reference.keys():
        np.testing.assert_array_equal(exact[name].transpose(0, 2, 3, 1), reference[name], err_msg=name)
    np.testing.assert_array_equal(actual, expected)
    varied = [name for name, values in reference.items() if len(np.unique(values)) > 1]
    assert len(varied) > len(reference) / 2, "most tensors are constant, so nothing was compared"


def integers_of(graph: Graph, spec: QuantSpec) -> tuple[dict[str, NDArray[np.int32]], NDArray[np.float32]]:
    """Return every int8 tensor of `ExactNetwork` for IMAGES by name, [N, C, H, W], and the scores."""
    found: dict[str, NDArray[np.int32]] = {}
    images = torch.from_numpy(PREPROCESS.normalize(IMAGES))
    scores = ExactNetwork(graph, spec)(images, lambda name, value: found.update({name: value.numpy()}))
    return found, scores.numpy()
