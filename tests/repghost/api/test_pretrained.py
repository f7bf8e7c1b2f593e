"""Published weights from a stand-in for the hub: files of timm's networks, by the same code to the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch import nn

import repghost

# What we call a network -> what timm does.
NETWORKS = {"timm:mobilenetv3_small_050": "mobilenetv3_small_050", "repghostnet_0_5x": "repghostnet_050"}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Serve files as timm publishes them; returns how often each repository was asked."""
    asked: dict[str, int] = {}

    def download(repo_id: str, filename: str, **_: object) -> str:
        if filename != "model.safetensors":
            raise FileNotFoundError(filename)
        asked[repo_id] = asked.get(repo_id, 0) + 1
        path = tmp_path / repo_id.replace("/", "_")
        if not path.exists():
            made = trained(repo_id.partition("/")[2].partition(".")[0])
            safetensors.torch.save_file(made.state_dict(), path, {"format": "pt"})
        return str(path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, name: download(repository, name))
    return asked


def trained(name: str) -> nn.Module:
    """Return a network of timm whose weights and statistics are no defaults."""
    torch.manual_seed(7)
    model: nn.Module = timm.create_model(name, pretrained=False)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            nn.init.uniform_(part.running_mean, -0.1, 0.1)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
    return model


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_published_weights_give_the_logits_of_timm(name: str, hub: dict[str, int]) -> None:
    mine = repghost.create_model(name, pretrained=True)
    theirs = timm.create_model(NETWORKS[name], pretrained=True)
    assert not mine.training and sum(hub.values()) == 2 and len(hub) == 1  # each asked for the same file
    assert torch.equal(logits(mine), logits(theirs))
    assert not torch.allclose(logits(mine), logits(repghost.create_model(name)), atol=1e-2)


@pytest.mark.parametrize("name", NETWORKS)
def test_other_classes_keep_everything_but_the_classifier(name: str, hub: dict[str, int]) -> None:
    whole, other = (repghost.create_model(name, pretrained=True, num_classes=classes) for classes in (None, 5))
    known, found = whole.state_dict(), other.state_dict()
    differing = [
        key for key in known if known[key].shape != found[key].shape or not torch.equal(known[key], found[key])
    ]
    assert all(key.startswith("classifier.") for key in differing) and logits(other).shape == (3, 5)


@pytest.mark.slow
def test_a_name_with_weights_is_the_network_that_create_model_returns(hub: dict[str, int]) -> None:
    (name, *_) = NETWORKS
    net = repghost.create_model(name, pretrained=True)
    by_name = repghost.quantize(name, IMAGES, weights="pretrained", size=64)
    assert by_name.digest == repghost.quantize(net, IMAGES, size=64).digest
    assert by_name.labels == net.__dict__["labels"] and len(by_name.labels) == 1000
    taught = repghost.evaluate(name, (IMAGES, [0, 1, 2]), weights="pretrained")
    same = repghost.evaluate(net, (IMAGES, [0, 1, 2]))
    assert taught.loss == pytest.approx(same.loss, rel=1e-5) and np.array_equal(taught.predictions, same.predictions)


@pytest.mark.slow
def test_features_have_the_published_weights(hub: dict[str, int]) -> None:
    for name in NETWORKS:
        maps = repghost.create_model(name, pretrained=True, features_only=True)
        whole = repghost.create_model(name, pretrained=True).state_dict()
        shared = [key for key in maps.state_dict() if key in whole]
        assert len(shared) > 50 and all(torch.equal(maps.state_dict()[key], whole[key]) for key in shared)
