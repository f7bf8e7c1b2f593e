"""Networks of timm and torchvision by name, their weights, and what is refused."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from calib.importer.libraries import from_torchvision
from calib.importer.libraries.named import create_network, load_named
from calib.importer.libraries.weights import without_prefix
from repghost.errors import UsageError


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of lcnet_035 for 7 classes, as DataParallel saves them."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "lcnet.pth"
    model = create_network("timm:lcnet_035", 7)
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in model.state_dict().items()}}, path)
    return path


def test_weights_of_a_file(weights: Path) -> None:
    network = load_named("timm:lcnet_035", weights)
    assert (network.source, network.labels) == ("lcnet.pth", None)
    assert (network.preprocess.size, network.preprocess.resize) == (224, 256)  # timm's crop_pct is 0.875
    assert not network.module.training
    stored = torch.load(weights, weights_only=True)["state_dict"]
    state = network.module.state_dict()
    assert all(torch.equal(state[name.removeprefix("module.")], tensor) for name, tensor in stored.items())


def test_averaged_weights_are_said(weights: Path, tmp_path: Path) -> None:
    state = {name.removeprefix("module."): tensor for name, tensor in torch.load(weights)["state_dict"].items()}
    raw = {name: tensor * 2 for name, tensor in state.items()}
    torch.save({"state_dict": raw, "state_dict_ema": state}, tmp_path / "both.pth")
    network = load_named("timm:lcnet_035", tmp_path / "both.pth")
    assert "state_dict_ema" in network.notes[0]
    assert torch.equal(network.module.state_dict()["conv_stem.weight"], state["conv_stem.weight"])


def test_torchvision_and_the_names_of_imagenet(tmp_path: Path) -> None:
    model = create_network("torchvision:squeezenet1_1")
    torch.save(model.state_dict(), tmp_path / "w.pth")
    network = load_named("torchvision:squeezenet1_1", tmp_path / "w.pth")
    assert network.labels is not None and network.labels[:2] == ("n01440764", "n01443537")
    assert network.preprocess.interpolation == "bilinear"


def test_old_densenet_names() -> None:
    wanted = {"features.denseblock1.denselayer1.norm1.weight": torch.zeros(1)}
    given = {"features.denseblock1.denselayer1.norm.1.weight": torch.ones(1)}
    assert list(without_prefix(given, wanted)) == list(wanted)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:mobilnetv2_100", "Did you mean 'mobilenetv2_100'"),
        ("timm:hf_hub:timm/lcnet_035", "unknown network of timm"),
        ("timm:lcnet_035.nobody", "unknown network of timm"),
        ("timm:", "unknown network of timm"),
        ("torchvision:fcn_resnet50", "unknown network of torchvision"),
        ("keras:mobilenet", "unknown library 'keras'; allowed: timm, torchvision"),
    ],
)
def test_unknown_names(name: str, message: str, weights: Path) -> None:
    with pytest.raises(UsageError, match=message):
        load_named(name, weights)


def test_weights_that_do_not_fit(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"conv_stem.weight is 8x3x3x3 and should be 16x3x3x3"):
        load_named("timm:lcnet_100", weights)
    with pytest.raises(UsageError, match=r"it lacks .* it has besides"):
        load_named("timm:mobilenetv3_small_050", weights)
    with pytest.raises(UsageError, match=r"classifier.weight is 7x1280 and should be 9x1280"):
        load_named("timm:lcnet_035", weights, num_classes=9)
    state = torch.load(weights)["state_dict"]
    state["module.conv_stem.weight"][0] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(UsageError, match=r"nan.pth: conv_stem.weight hold NaN"):
        load_named("timm:lcnet_035", tmp_path / "nan.pth")


@pytest.mark.parametrize("name", ["timm:lcnet_050", "torchvision:mobilenet_v2"])
def test_without_a_network_a_file_is_asked_for(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(*_: object, timeout: float, **__: object) -> None:
        assert timeout <= 10
        raise URLError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", absent)
    monkeypatch.setattr(from_torchvision, "urlopen", absent)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UsageError, match=r"could not be fetched from .*no network.* give it: weights=FILE"):
        load_named(name, "pretrained")
