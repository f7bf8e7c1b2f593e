"""Mobile networks in ONNX Runtime's QDQ form become integers, and the host build gives those of the reference."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from calib.integer.program import Program
from calib.integer.reference import run
from compile.bundle.host_model import LoadedModel
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from repghost.data.images.preprocess import Preprocess
from tests.support.generate_networks import SIZE, write_qdq
from tests.support.map_nets import MAP_LAYERS, MapNet
from tests.support.programs import random_images
from tests.support.qdq_models import save
from tests.support.random_nets import SIZE as NET_SIZE

HostBuild: TypeAlias = Callable[[Program], LoadedModel]

NETWORKS = {
    "mobilenetv3_small_100": {"Lookup": 28, "Multiply": 9},
    "ghostnet_100": {"Concat": 32, "DepthwiseConv2d": 41},
    "efficientnet_lite0": {"Conv2d": 34, "DepthwiseConv2d": 16, "Add": 9},
    "resnet18": {"Conv2d": 21, "MaxPool": 1, "Add": 8},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_is_an_integer_operator(name: str, tmp_path: Path, host_build: HostBuild) -> None:
    program = lower(read_qdq(write_qdq(name, tmp_path), Preprocess(SIZE, SIZE)))
    kinds = [type(operator).__name__ for operator in program.operators]
    assert {kind: kinds.count(kind) for kind in NETWORKS[name]} == NETWORKS[name]
    images = random_images(2, SIZE, SIZE)
    expected = run(program, images)
    assert len(np.unique(expected)) > 3
    np.testing.assert_array_equal(host_build(program).logits(images), expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_windows_borders_and_sizes_of_every_kind(seed: int, tmp_path: Path, host_build: HostBuild) -> None:
    """Layers of `map_nets`, one after the other: the build of them has the logits of the reference."""
    net = MapNet(seed)
    net.dense()
    for layer in MAP_LAYERS:
        layer(net)
    net.end()
    program = lower(read_qdq(save(net.build("logits", 3, [1, 3, NET_SIZE, NET_SIZE]), tmp_path)))
    kinds = {type(operator).__name__ for operator in program.operators}
    assert kinds >= {"AveragePool", "MaxPool", "SelectPixels", "Multiply", "Crop", "Concat"}
    images = random_images(3, NET_SIZE, NET_SIZE, seed)
    np.testing.assert_array_equal(host_build(program).logits(images), run(program, images))


@pytest.mark.slow
def test_unsigned_activations_are_the_same_integers(tmp_path: Path) -> None:
    signed, unsigned = (
        run(lower(read_qdq(write_qdq("mobilenetv2_100", tmp_path, kind), Preprocess(SIZE, SIZE))),
            random_images(2, SIZE, SIZE))
        for kind in (False, True)
    )  # fmt: skip
    np.testing.assert_array_equal(unsigned, signed)  # the zero points differ by 128, and nothing else
