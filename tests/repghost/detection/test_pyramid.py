from __future__ import annotations

import pytest
import torch
from torch import nn

from repghost.detection.pyramid import TAPS, PyramidBackbone, RepGhostFeatures, fuse_features, tap_channels
from repghost.errors import UsageError
from repghost.network.model import RepGhostNet
from tests.support.networks import images, network


@pytest.mark.parametrize(
    ("width", "channels"), [(0.5, (12, 20, 56, 80)), (1.0, (24, 40, 112, 160)), (2.0, (48, 80, 224, 320))]
)
def test_maps_are_the_ends_of_the_resolutions(width: float, channels: tuple[int, ...]) -> None:
    assert tap_channels(width) == channels
    maps = RepGhostFeatures(RepGhostNet(width)).eval()(images(1, size=64))
    assert {int(name): tuple(value.shape[1:]) for name, value in maps.items()} == {
        stride: (count, 64 // stride, 64 // stride) for stride, count in zip(TAPS, channels, strict=True)
    }


def test_the_coarsest_map_is_what_the_classifiers_tail_gets() -> None:
    model, x = network(), images()
    with torch.no_grad():
        last = RepGhostFeatures(model).eval()(x)["32"]
        assert torch.equal(model.blocks[9](last), model.forward_features(x))


def test_every_block_before_the_tail_learns_from_the_maps() -> None:
    features = RepGhostFeatures(RepGhostNet(0.5)).train()
    sum(value.square().mean() for value in features(images(2)).values()).backward()
    assert [name for name, parameter in features.named_parameters() if parameter.grad is None] == []


def test_parameter_names_are_those_of_the_network() -> None:
    model = RepGhostNet(0.5)
    assert set(RepGhostFeatures(model).state_dict()) < set(model.state_dict())


def test_fused_maps_equal_those_with_branches_and_have_no_batch_norm() -> None:
    features = RepGhostFeatures(network()).eval()
    fused = fuse_features(features)
    assert any(isinstance(module, nn.BatchNorm2d) for module in features.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    with torch.no_grad():
        for name, expected in features(images()).items():
            assert torch.allclose(fused(images())[name], expected, atol=1e-5 * float(expected.abs().max()) + 1e-6)


def test_pyramid_has_one_channel_count_at_each_stride() -> None:
    pyramid = PyramidBackbone(RepGhostFeatures(RepGhostNet(0.5), (8, 16)), channels=32).eval()(images(1))
    assert {name: tuple(value.shape[1:]) for name, value in pyramid.items()} == {"8": (32, 8, 8), "16": (32, 4, 4)}


@pytest.mark.parametrize(("until", "stages"), [("stem", 0), ("stride 4", 3), ("stride 32", 9)])
def test_freeze_stops_the_learning_up_to_a_resolution(until: str, stages: int) -> None:
    features = RepGhostFeatures(RepGhostNet(0.5))
    features.freeze(until)
    assert not features.conv_stem.weight.requires_grad
    learning = [any(parameter.requires_grad for parameter in block.parameters()) for block in features.blocks]
    assert learning == [False] * stages + [True] * (9 - stages)


@pytest.mark.parametrize("strides", [(2,), (), (4, 64)])
def test_a_stride_that_is_not_there_is_refused(strides: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="stride"):
        RepGhostFeatures(RepGhostNet(0.5), strides)
