"""Torch modules as graphs: the same scores, the branches put together, the names of their modules."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn

from calib.importer.import_module import import_module
from calib.importer.libraries.named import create_network
from repghost.errors import UsageError
from repghost.graph.run import run_float
from repghost.graph.trace import graph_of
from repghost.network.fuse import fused
from repghost.network.model import RepGhostNet


class Branches(nn.Module):
    """Two convolutions that become one."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 5, 3, padding=1)
        self.together: nn.Conv2d | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.one(x) + self.three(x) if self.together is None else self.together(x)

    def switch_to_deploy(self) -> None:
        self.together = nn.Conv2d(3, 5, 3, padding=1)
        with torch.no_grad():
            self.together.weight.copy_(self.three.weight + nn.functional.pad(self.one.weight, (1, 1, 1, 1)))
            self.together.bias.copy_(self.three.bias + self.one.bias)  # type: ignore[operator, union-attr]


def randomized(model: nn.Module) -> nn.Module:
    """Return a network whose batch norms are not identities."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            if module.weight is not None:
                nn.init.uniform_(module.weight, 0.5, 1.5, generator)
                nn.init.normal_(module.bias, 0, 0.2, generator)
    return model.eval()


def same_scores(model: nn.Module, size: tuple[int, int], channels: int = 3) -> Counter[str]:
    """Compare a module's scores with those of its graph, and return how many operators of each kind it has."""
    imported = import_module(model, size, channels)
    images = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = model(images)
    scores = run_float(imported.graph, images).flatten(1)
    assert imported.classes == expected.shape[1] and imported.graph.size == size
    torch.testing.assert_close(scores, expected, rtol=0, atol=3e-5 * float(expected.abs().max()))
    return Counter(type(op).__name__ for op in imported.graph.operators)


def test_branches_are_put_together_in_a_copy() -> None:
    model = nn.Sequential(Branches(), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)).train()
    assert same_scores(model, (7, 9)) == {"Convolution": 1, "GlobalAveragePool": 1, "Classifier": 1}
    branches = model[0]
    assert isinstance(branches, Branches) and branches.together is None and model.training


def test_one_channel_and_names() -> None:
    model = nn.Sequential()
    model.add_module("stem", nn.Sequential(nn.Conv2d(1, 6, 3, 2, bias=False), nn.BatchNorm2d(6), nn.SiLU()))
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flat", nn.Flatten())
    model.add_module("fc", nn.Linear(6, 2))
    same_scores(randomized(model), (11, 13), channels=1)
    names = [op.name for op in import_module(model, (11, 13), 1).graph.operators]
    assert names == ["stem.0", "stem.2.Mul", "pool.GlobalAveragePool", "fc"]


@pytest.mark.slow
@pytest.mark.parametrize("width", [0.5, 0.35])
def test_repghostnet_is_what_its_own_walk_gives(width: float) -> None:
    torch.manual_seed(0)
    model = fused(randomized(RepGhostNet(width=width, num_classes=10)))  # type: ignore[arg-type]
    own, imported = graph_of(model), import_module(model, (64, 64)).graph
    renamed = {"input": "input"}
    assert len(own.operators) == len(imported.operators)
    for ours, theirs in zip(own.operators, imported.operators, strict=True):
        assert type(ours) is type(theirs)
        renamed[ours.name] = theirs.name
        assert tuple(renamed[name] for name in ours.inputs) == theirs.inputs
        for field in fields(ours):
            if field.name in ("name", "input", "other", "inputs"):
                continue
            mine, other = getattr(ours, field.name), getattr(theirs, field.name)
            assert np.array_equal(mine, other) if isinstance(mine, np.ndarray) else mine == other
    layers = [name for name in renamed if ".se." not in name and not name.endswith((".add", ".se", "pool"))]
    assert all(renamed[name].rpartition(".")[0].startswith(name.rpartition(".")[0]) for name in layers)


class Unexported(nn.Module):
    """An operator that the exporter does not know."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.i1(x).mean((2, 3))


@pytest.mark.parametrize("model", [nn.Conv2d(4, 2, 3), Unexported()])
def test_what_cannot_be_exported(model: nn.Module, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="the network could not be exported for images of 3 channels and 8 x 8 pixels"):
        import_module(model, (8, 8), name="the network")
    assert capfd.readouterr().out == ""


SMALL = {  # a family each, and how many operators of the kinds that are hard to find again
    "timm:lcnet_035": {"Function": 30},
    "timm:mobilenetv4_conv_small_050": {"Convolution": 46},
    "timm:ghostnetv2_100": {"Resize": 14, "Multiply": 21},
    "timm:repvit_m0_9": {"Function": 37},
    "timm:mobileone_s0": {"Convolution": 43},
    "timm:rexnetr_100": {},
    "timm:mixnet_s": {},
    "timm:hgnetv2_b0": {"Function": 0},
    "timm:starnet_s1": {"Multiply": 15},
    "torchvision:shufflenet_v2_x0_5": {"ShuffleChannels": 16, "Slice": 26},
    "torchvision:squeezenet1_1": {"Classifier": 0},
    "torchvision:googlenet": {"MaxPool": 13},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_networks_of_libraries(name: str) -> None:
    torch.manual_seed(0)
    counts = same_scores(randomized(create_network(name, 10)), (64, 96))
    assert {kind: counts[kind] for kind in SMALL[name]} == SMALL[name]


class Scores(nn.Module):
    """Its layers have the names that the input and the output of every file have."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.logits = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(torch.relu(self.input(x)).mean((2, 3)))


def test_layers_called_like_the_ends_of_a_file_get_other_names() -> None:
    graph = import_module(Scores().eval(), (8, 8)).graph
    assert [layer.name for layer in graph.layers()] == ["input.2", "logits.2"]
