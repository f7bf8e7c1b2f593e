"""timm's contract of feature maps, for every width."""

from __future__ import annotations

import pytest
import timm
import torch

import repghost
from repghost.errors import UsageError
from repghost.network.features import taken
from repghost.network.model import RepGhostNet
from repghost.network.spec import WIDTHS, Width
from tests.support.networks import images, network


@pytest.mark.parametrize("row", WIDTHS, ids=lambda row: row.name)
def test_each_width_has_a_map_for_each_stride(row: Width) -> None:
    with torch.device("meta"):
        model = RepGhostNet(row.multiplier)
        maps = model.forward_intermediates(torch.empty(1, 3, 64, 64), intermediates_only=True)
    found = [(value.shape[1], 64 // value.shape[2]) for value in maps]
    assert found == [(entry["num_chs"], entry["reduction"]) for entry in model.feature_info]
    assert [stride for _, stride in found] == [2, 4, 8, 16, 32]


def test_the_maps_are_those_that_the_info_says() -> None:
    model = network(0.5)
    last, maps = model.forward_intermediates(images(2, size=64))
    assert torch.equal(last, model.forward_features(images(2, size=64)))
    for entry, value in zip(model.feature_info, maps, strict=True):
        assert value.shape == (2, entry["num_chs"], 64 // entry["reduction"], 64 // entry["reduction"])
    early = model.forward_intermediates(images(2, size=64), [1, -2], stop_early=True, intermediates_only=True)
    assert [torch.equal(one, other) for one, other in zip(early, (maps[1], maps[3]), strict=True)] == [True, True]
    with pytest.raises(UsageError, match="intermediates_only"):
        model.forward_intermediates(images(2, size=64), stop_early=True)


def test_a_network_of_maps_is_called_as_that_of_timm() -> None:
    ours = repghost.create_model(0.5, features_only=True, out_indices=(1, 3))
    theirs = timm.create_model("repghostnet_050", features_only=True, out_indices=(1, 3))
    assert [tuple(value.shape[2:]) for value in ours(images(1, size=64))] == [
        tuple(value.shape[2:]) for value in theirs(images(1, size=64))
    ]
    assert ours.feature_info.reduction() == theirs.feature_info.reduction() == [4, 16]
    assert ours.feature_info.out_indices == tuple(theirs.feature_info.out_indices)
    assert [value.shape[1] for value in ours(images(1, size=64))] == ours.feature_info.channels()
    assert ours.feature_info.channels(1) == ours.feature_info[1]["num_chs"] == 12
    assert ours.feature_info.module_name([3]) == ["blocks.6"]
    rows = ours.feature_info.get_dicts(["reduction"], [0, 4])
    assert rows == theirs.feature_info.get_dicts(["reduction"], [0, 4]) == [{"reduction": 2}, {"reduction": 32}]
    assert set(ours.state_dict()) < set(RepGhostNet(0.5).state_dict())


@pytest.mark.parametrize("indices", [(5,), (-6,), (), 0, 6])
def test_a_map_that_is_not_there_is_refused(indices: object) -> None:
    with pytest.raises(UsageError, match="counted from 0 to 4"):
        taken(indices)  # type: ignore[arg-type]


def test_so_many_last_maps_can_be_asked_for() -> None:
    assert (taken(2), taken(None), taken((3, 1, 1))) == ([3, 4], [0, 1, 2, 3, 4], [1, 3])


def test_places_of_maps_belong_to_maps() -> None:
    with pytest.raises(UsageError, match="features_only"):
        repghost.create_model(0.5, out_indices=(1,))
    with pytest.raises(UsageError, match="is for RepGhostNet"):
        repghost.create_model("timm:repghostnet_050", features_only=True, out_indices=(1,))
