from __future__ import annotations

import pytest
import torch
from torch import nn

from repghost.errors import UsageError
from repghost.network.flops import cal_flops_params, count, count_forms
from repghost.network.model import RepGhostNet, repghost_model_convert
from repghost.network.spec import WIDTHS, ModelSpec, find_width
from tests.support.tensors import differing

# 224 px, 1000 classes, by running the original network and its counter: upstream's FLOPs in train and deploy form,
# multiply-adds, parameters in train and deploy form, of convolutions and linear layers alone, with all norms folded.
COUNTS = {
    0.5: (43_317_244, 44_165_532, 43_314_720, 2_313_968, 2_306_528, 2_296_904, 2_302_956),
    0.58: (59_806_740, 60_885_328, 59_804_016, 2_546_388, 2_537_736, 2_526_532, 2_533_576),
    0.8: (95_522_196, 96_875_380, 95_518_948, 3_278_968, 3_267_112, 3_251_776, 3_261_420),
    1.0: (142_397_872, 144_065_440, 142_394_128, 4_073_604, 4_058_772, 4_039_580, 4_051_648),
    1.11: (170_128_232, 171_969_848, 170_124_224, 4_539_984, 4_523_568, 4_502_328, 4_515_684),
    1.3: (231_128_132, 233_329_604, 231_123_652, 5_478_612, 5_459_316, 5_434_356, 5_450_052),
    1.5: (301_320_840, 303_836_696, 301_315_856, 6_575_336, 6_553_064, 6_524_248, 6_542_368),
    2.0: (515_876_060, 519_211_196, 515_869_856, 9_796_124, 9_766_460, 9_728_076, 9_752_212),
}


@pytest.mark.slow
@pytest.mark.parametrize("width", COUNTS)
def test_counts_of_every_published_width(width: float) -> None:
    forms = count_forms(ModelSpec(width))
    train, deploy, fused = forms["train"], forms["deploy"], forms["fused"]
    assert (
        train.upstream_flops,
        deploy.upstream_flops,
        train.macs,
        train.params,
        deploy.params,
        train.layer_params,
        fused.params,
    ) == COUNTS[width]
    assert train.macs == deploy.macs == fused.macs
    assert fused.layer_params == fused.params
    assert len(train.layers) == len(fused.layers) == 96


@pytest.mark.parametrize("row", WIDTHS, ids=lambda row: row.name)
def test_the_published_figures_are_those_of_the_train_form(row) -> None:
    flops, _, _, params, _, layer_params, _ = COUNTS[row.multiplier]
    assert round(flops / 1e6) == row.flops_millions
    assert round(params / 1e6, 1) == row.params_millions
    # The readme says that batch norms are not counted. Its figures say they are.
    if row.multiplier in (1.0, 1.3, 1.5, 2.0):
        assert round(layer_params / 1e6, 1) != row.params_millions


@pytest.mark.parametrize("size", [(3, 224, 224), (1, 3, 224, 224), [8, 3, 224, 224], torch.Size([3, 224, 224])])
def test_upstreams_function(size) -> None:
    model = RepGhostNet(0.5).eval()
    assert cal_flops_params(model, size) == (43_317_244, 2_313_968)
    assert cal_flops_params(repghost_model_convert(model), input_size=size) == (44_165_532, 2_306_528)


@pytest.mark.slow
def test_the_model_is_only_looked_at() -> None:
    model = RepGhostNet(0.5, 7)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count(model, (3, 64, 64))
    assert model.training
    assert differing(model.state_dict(), before) == []
    assert not any(module._forward_hooks for module in model.modules())


def test_any_network_of_convolutions_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4 * 3, 5))
    result = count(model, (4, 9, 8))
    first, last = result.layers
    assert (first.name, first.output_shape, first.macs, first.bias_adds, first.params) == (
        "0",
        (6, 4, 3),
        72 * 18,
        72,
        114,
    )
    assert (last.macs, last.bias_adds, last.params) == (72 * 5, 0, 365)  # upstream adds none for a linear layer
    assert result.upstream_flops == result.macs + 72


@pytest.mark.parametrize("size", [(), (224, 224), (3, 0, 224), (3, -1, 5), (1, 1, 3, 224, 224)])
def test_no_input_size(size: tuple) -> None:
    with pytest.raises(UsageError, match="all above 0"):
        count(RepGhostNet(0.5), size)


def test_an_input_that_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"\(1, 64, 64\) does not fit this network"):
        count(RepGhostNet(0.5), (1, 64, 64))


def test_operations_follow_the_image_and_parameters_the_classes() -> None:
    spec = ModelSpec(0.5, 10)
    small, large = count_forms(spec, 64)["fused"], count_forms(spec, 128)["fused"]
    assert small.params == large.params
    head = sum(layer.macs for layer in small.layers if layer.output_shape[1:] in ((), (1, 1)))
    assert large.macs - head == 4 * (small.macs - head)  # everything but what stands behind a pool
    assert find_width(0.5) is not None and small.params == COUNTS[0.5][-1] - 990 * 1281
