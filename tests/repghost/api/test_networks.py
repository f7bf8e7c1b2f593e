from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import repghost
from repghost.api.networks.opened import known_labels, name_of, open_float, preprocess_of, read_as_preprocess
from repghost.api.predictors import predictor_of
from repghost.data.images.preprocess import IMAGENET
from repghost.errors import RepGhostError, UsageError
from repghost.graph.module import GraphModule
from tests.support.small_classifier import PREPROCESS, small_classifier

CONFIG = {"input_size": (3, 32, 32), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "architecture": "some.net"}


def test_create_model_knows_every_way_to_write_a_width() -> None:
    for name in ("repghostnet_0_5x", "repghostnet_050", 0.5):
        model = repghost.create_model(name, num_classes=7)
        assert isinstance(model, repghost.RepGhostNet) and not model.training and model.num_classes == 7


def test_create_model_makes_networks_of_libraries_with_their_preprocessing() -> None:
    model = repghost.create_model("timm:mobilenetv3_small_050", num_classes=4)
    assert preprocess_of(model).size == 224 and model(torch.zeros(1, 3, 32, 32)).shape == (1, 4)
    other = repghost.create_model("torchvision:squeezenet1_1")
    assert preprocess_of(other).resize == 256


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("mobilenet", {}, r"unknown network 'mobilenet'.*list_models\('\*mobilenet\*'\)"),
        ("mobilenetv3_small_050", {}, "Did you mean 'timm:mobilenetv3_small_050'"),
        ("mobilenet_v2", {}, "Did you mean 'torchvision:mobilenet_v2'"),
        ("repghostnet_9_9y", {}, "unknown width"),
        ("timm:mobilenetv9", {}, "unknown network of timm"),
        ("timm:mobilenetv3_small_050", {"dropout": 0.5}, "timm's own function"),
        (0.35, {"pretrained": True}, "no weights of width 0.35"),
    ],
)
def test_unknown_names_and_options_are_refused(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        repghost.create_model(name, **options)


def test_weights_that_cannot_be_fetched_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    for name in ("repghostnet_1_0x", "timm:mobilenetv3_small_050"):
        with pytest.raises(RepGhostError, match="no route to host") as raised:
            repghost.create_model(name, pretrained=True)
        assert "\n" not in str(raised.value)


def test_list_models_names_what_create_model_takes() -> None:
    names = repghost.list_models()
    assert names[0] == "repghostnet_0_5x" and "torchvision:resnet18" in names
    assert "timm:mobilenetv3_large_100" in repghost.list_models("timm:mobilenetv3*")
    assert "timm:mobilenetv3_large_100" in repghost.list_models("mobilenetv3*")
    assert repghost.list_models("nothing*") == []


def test_preprocessing_is_found_where_libraries_leave_it() -> None:
    net = small_classifier()
    assert preprocess_of(net) == PREPROCESS
    assert preprocess_of(net, IMAGENET) == IMAGENET
    net.__dict__["preprocess"] = None
    net.__dict__["pretrained_cfg"] = CONFIG
    found = preprocess_of(net)
    assert found.size == 32 and found.mean == (0.1, 0.2, 0.3) and name_of(net) == "some_net"


def test_preprocessing_is_read_from_what_people_have(tmp_path: Any) -> None:
    from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

    file = tmp_path / "preprocess.json"
    file.write_text(repr(PREPROCESS.to_dict()).replace("'", '"'))
    transforms = Compose([Resize(16), CenterCrop(16), ToTensor(), Normalize([0.5] * 3, [0.25] * 3)])
    for given in (PREPROCESS, PREPROCESS.to_dict(), file, transforms):
        assert read_as_preprocess(given) == PREPROCESS
    assert read_as_preprocess(CONFIG).size == 32


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mobilenetv3_small_050", "network of that name is 'timm:mobilenetv3_small_050'"),
        ("resnet18", "network of that name is 'timm:resnet18'"),
        ("repghostnet_050", "a network without weights"),
        ("nothing", "there is no checkpoint 'nothing'"),
    ],
)
def test_a_name_without_weights_is_told_from_a_file(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_float(name)


def test_a_file_is_told_from_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "net.qdq.onnx").touch()
    with pytest.raises(UsageError, match=r"net\.qdq\.onnx is a file, and a bundle is a folder.*repghost\.predict"):
        repghost.load(tmp_path / "net.qdq.onnx")


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.optim.swa_utils.AveragedModel, torch.compile])
def test_what_wraps_a_network_is_looked_through(wrap: Callable[[nn.Module], nn.Module]) -> None:
    net = small_classifier()
    assert open_float(wrap(net).eval()).digest == open_float(net).digest
    images = np.zeros((1, 16, 16, 3), np.uint8)
    assert np.array_equal(predictor_of(wrap(net).eval()).logits(images), predictor_of(net).logits(images))


@pytest.mark.parametrize("kind", [torch.half, torch.double])
def test_a_network_of_other_floats_is_run_on_those(kind: torch.dtype) -> None:
    images = np.full((1, 16, 16, 3), 90, np.uint8)
    expected = predictor_of(small_classifier()).logits(images)
    np.testing.assert_allclose(predictor_of(small_classifier().to(kind)).logits(images), expected, atol=0.02)


def test_names_of_classes_are_those_of_imagenet_only_for_its_thousand() -> None:
    net = small_classifier(None)
    net.__dict__["pretrained_cfg"] = {"num_classes": 1000}
    assert known_labels(net, 3) is None
    labels = known_labels(net, 1000)
    assert labels is not None and labels[0] == "n01440764"
    net.__dict__["pretrained_cfg"] = {"num_classes": 3, "label_names": ["a", "b", "c"]}
    assert known_labels(net, 3) == ("a", "b", "c")


@pytest.mark.slow
def test_an_opened_module_computes_what_the_module_does() -> None:
    for net, preprocess in ((small_classifier(), None), (repghost.RepGhostNet(0.5, 3).eval(), PREPROCESS)):
        opened = open_float(net, preprocess)
        inputs = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            assert torch.allclose(GraphModule(opened.graph)(inputs), net(inputs), atol=1e-4)
        assert opened.classes == 3 and opened.digest == opened.origin["sha256"]


def test_a_network_of_other_colours_is_told() -> None:
    with pytest.raises(UsageError, match="takes 1 colours"):
        open_float(nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten()), PREPROCESS)


@torch.no_grad()
def test_feature_maps_take_the_place_of_logits() -> None:
    images = torch.zeros(1, 3, 64, 64)
    maps = repghost.create_model("repghostnet_0_5x", features_only=True)(images)
    assert {name: found.shape[2] for name, found in maps.items()} == {"4": 16, "8": 8, "16": 4, "32": 2}
    of_timm = repghost.create_model("timm:mobilenetv3_small_050", features_only=True)(images)
    assert [found.shape[2] for found in of_timm] == [32, 16, 8, 4, 2]
    with pytest.raises(UsageError, match="create_feature_extractor"):
        repghost.create_model("torchvision:resnet18", features_only=True)
