from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from repghost.errors import UsageError
from repghost.network.blocks import VectorConv2d
from repghost.network.fuse import fuse
from repghost.network.model import RepGhostNet, create_model, repghost_model_convert
from repghost.network.spec import WIDTHS
from tests.support.networks import images, network, randomize

scripting = pytest.mark.filterwarnings("ignore:`torch.jit.*:FutureWarning")


def census(model: nn.Module) -> dict[str, int]:
    modules = list(model.modules())
    return {kind.__name__: sum(isinstance(m, kind) for m in modules) for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear)}


@pytest.mark.slow
@pytest.mark.parametrize("row", WIDTHS, ids=lambda row: row.name)
@torch.no_grad()
def test_timm_gives_the_same_logits_for_the_same_weights(row) -> None:
    reference = timm.create_model(row.timm_name, num_classes=7)
    randomize(reference)
    model = create_model(row.name, num_classes=7).eval()
    assert list(model.state_dict()) == list(reference.state_dict())  # names and order
    assert len(model.state_dict()) == 672
    model.load_state_dict(reference.state_dict())
    x = images(2, size=48)
    expected = reference(x)
    assert expected.abs().max() > 0.1
    assert (expected[0] - expected[1]).abs().max() > 0.01
    assert (model(x) - expected).abs().max() <= 1e-6


@pytest.mark.slow
@torch.no_grad()
def test_timm_gives_the_same_logits_in_training() -> None:
    # In float64, since layers of one position train as matrix products, whose sums have another order.
    reference = timm.create_model("repghostnet_050", num_classes=7, drop_rate=0.0).double().train()
    model = RepGhostNet(0.5, 7, dropout=0.0).double().train()
    model.load_state_dict(reference.state_dict())
    x = images(4).double()
    torch.testing.assert_close(model(x), reference(x), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(model.state_dict(), reference.state_dict(), rtol=1e-11, atol=1e-11)


def test_keys_of_every_form() -> None:
    model = network()
    converted = repghost_model_convert(model)
    assert (len(model.state_dict()), len(converted.state_dict()), len(fuse(model).state_dict())) == (672, 384, 192)
    built = RepGhostNet(0.5, 7, deploy=True)
    assert list(built.state_dict()) == list(converted.state_dict())
    assert "blocks.0.0.ghost1.cheap_operation.bias" in converted.state_dict()
    assert not any("fusion_bn" in name for name in converted.state_dict())


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_layers_of_every_form(width: float) -> None:
    model = network(width)
    assert census(model) == {"Conv2d": 95, "BatchNorm2d": 112, "Linear": 1}
    assert census(repghost_model_convert(model)) == {"Conv2d": 95, "BatchNorm2d": 48, "Linear": 1}
    assert census(fuse(model)) == {"Conv2d": 95, "BatchNorm2d": 0, "Linear": 1}


BRANCH_COUNTS = [("bn", 112, 672), ("both", 112, 672), ("identity", 80, 512), ("none", 80, 512)]


@pytest.mark.parametrize(("branches", "norms", "keys"), BRANCH_COUNTS)
@torch.no_grad()
def test_branches(branches: str, norms: int, keys: int) -> None:
    model = network(branches=branches)
    assert census(model)["BatchNorm2d"] == norms
    assert len(model.state_dict()) == keys
    module = model.blocks[0][0].ghost1
    x = torch.randn(1, 8, 6, 6)
    primary = module.primary_conv(x)
    expected = module.cheap_operation(primary)
    if branches in ("bn", "both"):
        expected = expected + module.fusion_bn[0](primary)
    if branches in ("identity", "both"):
        expected = expected + primary
    assert torch.equal(module(x), expected.relu())


@torch.no_grad()
def test_no_shortcut_spares_the_projections() -> None:
    model, without = network(), network(shortcut=False)
    assert list(model.state_dict()) == list(without.state_dict())
    adds = [block.shortcut is not None for stage in without.blocks[:-1] for block in stage]
    assert sum(adds) == 5 and len(adds) == 16
    assert not torch.allclose(model(images()), without(images()))


def test_no_squeeze_excite() -> None:
    model = network(enable_se=False)
    assert not any(".se." in name for name in model.state_dict())
    assert len(model.state_dict()) == 672 - 7 * 4


@pytest.mark.parametrize("width", [0.1, 0.33, 0.75, 2.5])
@torch.no_grad()
def test_any_other_width(width: float) -> None:
    assert network(width, 3)(images(1, size=32)).shape == (1, 3)


@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 32, 2), (3, 96, 10), (4, 75, 1)])
@torch.no_grad()
def test_channels_sizes_and_classes(channels: int, size: int, classes: int) -> None:
    model = network(0.5, classes, in_chans=channels)
    x = images(2, channels, size)
    assert model(x).shape == (2, classes)
    assert model.forward_features(x).shape[1:] == (480, -(-size // 32), -(-size // 32))


@torch.no_grad()
def test_dropout_acts_in_training_only() -> None:
    model = network(dropout=0.5)
    x = images()
    assert torch.equal(model(x), model(x))
    features = model.forward_features(x)
    model.train()
    assert not torch.equal(model.forward_head(features), model.forward_head(features))
    model.dropout = 0.0
    assert torch.equal(model.forward_head(features), model.forward_head(features))


def test_a_gradient_reaches_every_parameter() -> None:
    model = network(branches="both").train()
    model(images(4)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_head_is_used_as_timm_uses_it() -> None:
    model = network().eval()
    theirs = timm.create_model("repghostnet_050", num_classes=model.num_classes).eval()
    assert (model.num_features, model.head_hidden_size) == (theirs.num_features, theirs.head_hidden_size)
    with torch.no_grad():
        features = model.forward_features(images(2))
        vectors = model.forward_head(features, pre_logits=True)
        assert torch.equal(model.get_classifier()(vectors), model.forward_head(features))


def test_a_new_classifier_changes_nothing_else() -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.reset_classifier(3)
    assert model.spec.num_classes == model.num_classes == 3
    assert model.classifier.weight.shape == (3, 1280)
    for name, tensor in model.state_dict().items():
        assert name.startswith("classifier.") or torch.equal(tensor, before[name])
    with pytest.raises(UsageError, match="num_classes"):
        model.reset_classifier(0)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["train", "deploy", "fused", "none"])
@scripting
@torch.no_grad()
def test_torchscript_in_every_form(form: str) -> None:
    model = network(branches="none" if form == "none" else "bn", in_chans=1)
    model = {"deploy": repghost_model_convert, "fused": fuse}.get(form, lambda same: same)(model)
    x = images(1, channels=1)
    assert torch.equal(torch.jit.script(model)(x), model(x))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["train", "deploy", "fused"])
@torch.no_grad()
def test_torch_export_in_every_form(form: str) -> None:
    model = {"train": lambda same: same, "deploy": repghost_model_convert, "fused": fuse}[form](network())
    x = images(1)
    program = torch.export.export(model, (x,))
    assert torch.equal(program.module()(x), model(x))
    norms = [node for node in program.graph.nodes if "batch_norm" in str(node.target)]
    assert len(norms) == {"train": 112, "deploy": 48, "fused": 0}[form]


def test_create_model_understands_every_name() -> None:
    for name in ("repghostnet_050", "repghostnet_0_5x", "0.5", 0.5):
        assert create_model(name, num_classes=2).spec.width == 0.5
    with pytest.raises(UsageError, match="unknown width"):
        create_model("resnet50")
    with pytest.raises(UsageError, match="part of the name"):
        create_model("0.5", width=1.0)


@pytest.mark.parametrize("options", [{"width": 0}, {"num_classes": 0}, {"branches": "bm"}, {"dropout": 2.0}])
def test_values_out_of_range(options: dict) -> None:
    with pytest.raises(UsageError):
        RepGhostNet(**options)


def test_a_convolution_of_one_position_trains_as_a_matrix_product() -> None:
    layer, x = VectorConv2d(24, 40), torch.randn(8, 24, 1, 1, requires_grad=True)
    plain = nn.Conv2d(24, 40, 1)
    plain.load_state_dict(layer.state_dict())
    expected, found = plain(x), layer(x)
    tensors = (x, *layer.parameters()), (x, *plain.parameters())
    gradients = [torch.autograd.grad(y.square().sum(), of) for y, of in zip((found, expected), tensors, strict=True)]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*gradients)
    assert torch.equal(layer.eval()(x), plain(x))
