"""Networks of timm and torchvision with random weights: legal by the rules, and built by NVIDIA as promised."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.tensorrt.rtx import build_with_rtx, rtx_is_here
from calib.importer.import_module import import_module
from calib.importer.libraries.named import create_network
from calib.ptq.calibrate import calibrate
from calib.settings.config import LayerSettings, QuantConfig
from compile.tensorrt.evaluate import TorchNetwork
from compile.tensorrt.jetpack import JETPACKS
from compile.tensorrt.network.calibrated import Calibrated
from compile.tensorrt.network.networks import Networks, check_networks, make_networks
from compile.tensorrt.network.placement import PlacementOptions
from repghost.graph.operators import Graph, Layer

SIZE = 96, 64  # the squeeze-and-excitation of every network sees more than one pixel
# By network: which operators without weights read int8. Layers of squeeze-and-excitation are float, all others int8.
BETWEEN = {
    "timm:mobilenetv3_small_100": {"Add": 6},
    "timm:regnety_002": {"Add": 13},
    "timm:resnet10t": {"MaxPool": 1, "Add": 4, "AveragePool": 3},
    "timm:ghostnetv2_100": {"Concat": 18, "Add": 16, "AveragePool": 14},
    "timm:rexnet_100": {"Slice": 22, "Add": 11, "Concat": 11},
    "torchvision:shufflenet_v2_x0_5": {"MaxPool": 1, "Concat": 16, "ShuffleChannels": 16, "Slice": 26},
    "torchvision:squeezenet1_1": {"MaxPool": 3, "Concat": 8},
}
FLOAT_LAYERS = {
    "timm:mobilenetv3_small_100": 18, "timm:regnety_002": 26, "timm:ghostnetv2_100": 14, "timm:rexnet_100": 26,
}  # fmt: skip


def files_of(graph: Graph, images: np.ndarray, jetpack: str) -> Networks:
    spec = calibrate(graph, [images], QuantConfig("tensorrt", LayerSettings(observer="min_max")))
    return make_networks(graph, Calibrated(graph, spec), JETPACKS[jetpack], PlacementOptions(), SIZE, "net")


@pytest.mark.slow
@pytest.mark.parametrize("name", BETWEEN)
def test_files_of_other_networks_are_legal_and_built_as_promised(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name.partition(":")[0])
    torch.manual_seed(0)
    graph = import_module(create_network(name), SIZE).graph
    images = np.random.default_rng(0).normal(0, 1, (2, 3, *SIZE)).astype(np.float32)
    networks = files_of(graph, images, "6")
    placement, int8, plain = networks.placement, networks.int8(), networks.fp16()
    check_networks(int8, plain, placement, networks.jetpack)
    kinds = {op.name: type(op) for op in graph.operators}
    readers = {reader for reader, _ in placement.quantized_reads}
    assert Counter(kinds[it].__name__ for it in readers if not issubclass(kinds[it], Layer)) == BETWEEN[name]
    assert len(placement.layer_names) - len(placement.layers) == FLOAT_LAYERS.get(name, 0)
    expected, found = (TorchNetwork(model)(images) for model in (plain, int8))
    assert np.square(found - expected).mean() <= 0.1**2 * np.square(expected).mean()
    if rtx_is_here():
        path = tmp_path / "int8.onnx"
        path.write_bytes(int8.SerializeToString())
        (build,) = build_with_rtx([path])
        assert build.built and build.int8_layers(placement.layer_names) == placement.layers, build.errors
