from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from repghost.errors import IntegrityError, UsageError
from repghost.network.blocks import RepGhostModule
from repghost.network.fuse import check_equivalence, compare, fuse
from repghost.network.model import RepGhostNet, repghost_model_convert
from repghost.network.spec import BRANCHES, WIDTHS, Branches
from tests.support.networks import images, network

CONVERSIONS = {"deploy": repghost_model_convert, "fused": fuse}


@pytest.mark.slow
@pytest.mark.parametrize("width", [row.multiplier for row in WIDTHS] + [0.3])
def test_every_width_computes_the_same(width: float) -> None:
    model = network(width)
    for convert in CONVERSIONS.values():
        result = compare(model, convert(model), images=2, size=48)
        assert result.largest > 0  # two computations, not one
        assert result.relative <= 2e-6
        assert result.same_predictions == result.images == 2


OPTIONS = [{"branches": name} for name in BRANCHES] + [{"shortcut": False}, {"enable_se": False}, {"in_chans": 1}]


@pytest.mark.parametrize("branches", BRANCHES)
@pytest.mark.parametrize("relu", [False, True])
@torch.no_grad()
def test_a_module_with_extreme_statistics(branches: Branches, relu: bool) -> None:
    torch.manual_seed(0)
    module = RepGhostModule(5, 6, relu, branches, deploy=False).double().eval()
    for norm in (norm for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)):
        norm.weight.copy_(torch.tensor([-3.0, 0.0, 1e-6, 1e3, 1.0, -1.0]))
        norm.running_var.copy_(torch.tensor([0.0, 1e-12, 1e6, 1.0, 0.5, 2.0]))
        norm.running_mean.normal_()
        norm.bias.normal_()
    x = torch.randn(2, 5, 4, 7, dtype=torch.float64)
    expected = module(x)
    module.switch_to_deploy()
    assert torch.allclose(module(x), expected, rtol=1e-9, atol=1e-9)
    assert [name for name, _ in module.named_parameters()][-2:] == ["cheap_operation.weight", "cheap_operation.bias"]


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("form", CONVERSIONS)
def test_float64_agrees_to_its_own_rounding(options: dict, form: str) -> None:
    model = network(**options).double()
    result = compare(model, CONVERSIONS[form](model), images=2, size=48)
    assert result.relative <= 1e-12


def test_arithmetic_is_float64_whatever_the_weights_are() -> None:
    model = network()
    exact = fuse(copy.deepcopy(model).double())
    for (name, tensor), wanted in zip(fuse(model).state_dict().items(), exact.state_dict().values(), strict=True):
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, wanted.float()), name  # rounded once, at the end


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half(dtype: torch.dtype) -> None:
    fused = fuse(network().to(dtype))
    assert {tensor.dtype for tensor in fused.state_dict().values()} == {dtype}


def test_nothing_but_convolutions_is_left() -> None:
    fused = fuse(network())
    convolutions = [module for module in fused.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 95
    assert all(conv.bias is not None for conv in convolutions)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert not any("running" in name for name in fused.state_dict())
    assert fused.spec.form == "fused"


def test_the_original_stays_as_it_was() -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fuse(model)
    repghost_model_convert(model)
    assert model.spec.form == "train"
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("branches", ["bn", "none"])
def test_converting_twice_is_converting_once(branches: str) -> None:
    model = network(branches=branches)
    converted = repghost_model_convert(model)
    again = repghost_model_convert(converted)
    assert all(map(torch.equal, converted.state_dict().values(), again.state_dict().values()))
    fused, late = fuse(model), fuse(converted)
    assert list(fused.state_dict()) == list(late.state_dict()) == list(fuse(fused).state_dict())
    assert all(map(torch.equal, fused.state_dict().values(), late.state_dict().values()))
    assert all(map(torch.equal, fused.state_dict().values(), fuse(fused).state_dict().values()))


def test_a_model_without_branches_folds_too() -> None:
    converted = repghost_model_convert(network(branches="none"))
    assert list(converted.state_dict()) == list(RepGhostNet(0.5, 7, deploy=True).state_dict())


@pytest.mark.parametrize("convert", [fuse, repghost_model_convert, RepGhostNet.convert_to_deploy])
def test_training_mode_is_refused(convert) -> None:
    model = network().train()
    with pytest.raises(UsageError, match=r"training mode.*model.eval\(\)"):
        convert(model)
    assert model.spec.form == "train" and len(model.state_dict()) == 672


def test_one_forgotten_layer_in_training_mode_is_refused() -> None:
    model = network()
    model.blocks[3][0].ghost1.fusion_bn[0].train()
    with pytest.raises(UsageError, match="training mode"):
        fuse(model)


def test_a_converted_model_is_in_evaluation_mode() -> None:
    for convert in CONVERSIONS.values():
        assert not any(module.training for module in convert(network()).modules())


@pytest.mark.parametrize("tensor", ["conv_stem.weight", "blocks.3.0.ghost1.cheap_operation.bias", "classifier.bias"])
@torch.no_grad()
def test_a_changed_weight_is_found(tensor: str) -> None:
    model = network()
    fused = fuse(model)
    assert check_equivalence(model, fused).relative <= 1e-5
    fused.state_dict()[tensor].view(-1)[0] += 0.05
    with pytest.raises(IntegrityError, match="does not compute the same"):
        check_equivalence(model, fused)


@torch.no_grad()
def test_nan_is_not_equivalent() -> None:
    model = network()
    fused = fuse(model)
    fused.classifier.bias[0] = torch.nan
    with pytest.raises(IntegrityError):
        check_equivalence(model, fused)


def test_comparison_repeats() -> None:
    model = network()
    assert compare(model, fuse(model)) == compare(model, fuse(model))


@torch.no_grad()
def test_a_fused_network_still_learns() -> None:
    fused = fuse(network()).train()
    with torch.enable_grad():
        fused(images(2)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in fused.parameters())
