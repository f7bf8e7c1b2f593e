"""A small fused network with lively weights, calibrated once for all tests of this room."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from calib.ptq.calibrate import calibrate
from calib.settings.config import QuantConfig
from calib.settings.quantspec import QuantSpec
from repghost.graph.operators import Graph
from repghost.graph.trace import graph_of
from repghost.network.fuse import fuse
from tests.support.lively_network import lively_model, random_images


@pytest.fixture(scope="session")
def graph() -> Graph:
    return graph_of(fuse(lively_model()))


@pytest.fixture(scope="session")
def images() -> NDArray[np.float32]:
    return random_images(16)


@pytest.fixture(scope="session")
def spec(graph: Graph, images: NDArray[np.float32]) -> QuantSpec:
    return calibrate(graph, [images], QuantConfig())
