from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import repghost
from repghost.api.networks.opened import open_float
from repghost.errors import NoteWarning, UsageError
from repghost.evaluation.predictor import Predictor, common_preprocess
from repghost.exporters.onnx import graph_onnx, to_bytes
from tests.support.small_classifier import CLASSES, PREPROCESS, image, small_classifier, write_set

NET = small_classifier()
IMAGES = np.stack([image(name, seed) for seed in range(3) for name in CLASSES])
LABELS = np.arange(3).repeat(1).tolist() * 3


def test_an_evaluation_says_everything_once(tmp_path: Path) -> None:
    data = repghost.open_dataset(write_set(tmp_path))
    told: list[tuple[str, int, int | None]] = []
    found = repghost.evaluate(NET, data.test, progress=lambda *step: told.append(step))
    assert found.top1.correct == 12 and found.classes == CLASSES and told[-1] == ("evaluate", 12, 12)
    assert "top-1 100.00%" in repr(found) and "Sequential" in found._repr_html_()
    assert json.loads(json.dumps(found.to_dict()))["confusion"] == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    assert found.plot().get_axes()[0].get_title() == "Sequential: top-1 100.00%"
    assert found.plot()._repr_png_().startswith(b"\x89PNG")


def test_mistakes_come_surest_first_with_their_images() -> None:
    wrong = (IMAGES, [1, *LABELS[1:8], 0])  # two labels that are not what the images show
    found = repghost.evaluate(NET, wrong)
    assert found.top1.correct == 7 and len(found.mistakes) == 2
    assert [mistake.label for mistake in found.mistakes] != [mistake.prediction for mistake in found.mistakes]
    assert found.mistakes[0].probability >= found.mistakes[1].probability
    names = {"image 0": 0, "image 8": 8}
    for mistake in found.mistakes:
        assert np.array_equal(np.asarray(mistake.image), IMAGES[names[mistake.name]])
    assert dict(zip(CLASSES, found.per_class, strict=True))["dark"].pictures == 4
    assert sorted(found.confused()) == [("bright", "red", 1), ("dark", "bright", 1)]
    assert found._repr_html_().count("<img") == 2
    assert len(repghost.evaluate(NET, wrong, mistakes=1).mistakes) == 1


def test_every_form_of_data_and_network_is_judged_alike(tmp_path: Path) -> None:
    tensors = torch.from_numpy(PREPROCESS.normalize(IMAGES)), torch.tensor(LABELS)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=4)
    first = repghost.evaluate(NET, (IMAGES, LABELS))
    again = repghost.evaluate(NET, loader)
    assert np.array_equal(first.predictions, again.predictions) and first.loss == pytest.approx(again.loss, rel=1e-6)
    file = tmp_path / "net.onnx"
    file.write_bytes(to_bytes(graph_onnx(open_float(NET).graph, 16, "net")))
    of_file = repghost.evaluate(file, loader, preprocess=PREPROCESS)
    assert np.array_equal(first.predictions, of_file.predictions)


def test_a_network_that_ends_with_a_softmax_is_measured_by_its_probabilities() -> None:
    with pytest.warns(NoteWarning, match="gives probabilities"):
        found = repghost.evaluate(nn.Sequential(NET, nn.Softmax(1)).eval(), (IMAGES, LABELS), preprocess=PREPROCESS)
    assert found.loss == pytest.approx(repghost.evaluate(NET, (IMAGES, LABELS)).loss, abs=1e-5)


def test_torchvision_datasets_keep_the_names_of_their_classes(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder
    from torchvision.transforms.functional import pil_to_tensor

    write_set(tmp_path)
    folder = ImageFolder(str(tmp_path / "test"))
    found = repghost.evaluate(NET, folder)
    assert found.top1.correct == 12 and found.classes == CLASSES
    other = small_classifier(("red", "dark", "bright"))  # the same network, which calls its classes differently
    tensors = ImageFolder(str(tmp_path / "test"), transform=pil_to_tensor)
    loader = torch.utils.data.DataLoader(torch.utils.data.Subset(tensors, range(12)), batch_size=5)
    for data in (folder, tensors, loader):
        assert repghost.evaluate(other, data).top1.correct == 4
    assert repghost.compare(NET, other, loader).change.only_before == 8
    renamed = ImageFolder(str(tmp_path / "test"), pil_to_tensor, target_transform=lambda label: label)
    assert repghost.evaluate(other, renamed).top1.correct == 12  # numbers, as nobody knows what the function makes


IN_TRAINING = {
    "evaluate": lambda net, folder: repghost.evaluate(net, (IMAGES, LABELS)),
    "compare": lambda net, folder: repghost.compare(NET, net, (IMAGES, LABELS)),
    "quantize": lambda net, folder: repghost.quantize(net, IMAGES),
    "fuse": lambda net, folder: repghost.fuse(net),
    "export": lambda net, folder: repghost.export(net, folder / "net.onnx"),
}


@pytest.mark.parametrize("call", IN_TRAINING)
def test_a_network_in_training_mode_is_read_with_a_warning_and_stays_as_it_is(call: str, tmp_path: Path) -> None:
    net = small_classifier().train()
    next(part for part in net if isinstance(part, nn.BatchNorm2d)).eval()  # frozen, as in a training of one's own
    modes = [part.training for part in net.modules()]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.warns(NoteWarning, match=r"training mode.*net\.eval\(\)") as told:
        found = IN_TRAINING[call](net, tmp_path)
    assert [part.training for part in net.modules()] == modes and set(modes) == {True, False}
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert len(told) == 1 and told[0].filename == __file__  # the line that called, not one of the library's
    if call == "evaluate":
        assert found.top1.correct == 9 and "training mode" in found.notes[0]


def test_a_comparison_is_paired() -> None:
    blind = small_classifier()
    nn.init.zeros_(blind[7].weight)
    nn.init.zeros_(blind[7].bias)
    found = repghost.compare(NET, blind, (IMAGES, LABELS))
    assert (found.change.only_before, found.change.only_after) == (6, 0)
    assert found.per_class == (("bright", 0, 0), ("dark", 3, 0), ("red", 3, 0))
    assert "change -66.67 points" in repr(found) and "dark" in found._repr_html_()
    assert found.plot().get_axes() and found.to_dict()["change"]["pictures"] == 9


def test_images_for_another_preprocessing_cannot_be_compared() -> None:
    other = small_classifier()
    other.__dict__["preprocess"] = repghost.Preprocess(size=16, resize=16)
    with pytest.raises(UsageError, match="prepare their pictures differently"):
        repghost.compare(NET, other, (IMAGES, LABELS))
    colours, grey = (
        Predictor("net", f"{len(mean)}", "", "", repghost.Preprocess(32, 32, mean=mean, std=mean), 3, None, np.asarray)
        for mean in ((0.5,) * 3, (0.5,))
    )
    with pytest.raises(UsageError, match=r"takes images of 1 channels and 3 of 3.*one after the other\.$"):
        common_preprocess([colours, grey])


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("network", "data", "options", "said"),
    [
        (NET, IMAGES, {}, "no labels"),
        (NET, (IMAGES, np.eye(9)), {}, r"labels.argmax\(1\)"),
        (NET, (IMAGES, [7] * 9), {}, "labels from 7 to 7, and the network has 3 classes"),
        (NET, (IMAGES, [-1] * 9), {}, "labels from -1 to -1"),
        (NET, [], {}, "yields no image"),
        (NET, torch.utils.data.DataLoader([], batch_size=2), {}, "yields no image"),
        (NET, (IMAGES, LABELS), {"labels": ["a", "b"]}, "3 names"),
        (NET, (IMAGES, LABELS), {"images": "all"}, "images= is a whole number, at least 1, not 'all'"),
        (NET, (IMAGES, LABELS), {"batch": 0}, "batch= is a whole number, at least 1, not 0"),
        (NET, (IMAGES, LABELS), {"mistakes": -1}, "mistakes= is a whole number, at least 0"),
        (NET, (IMAGES, LABELS), {"seed": 0.5}, "seed= is a whole number"),
        (NET, (IMAGES, LABELS), {"pixels": "0-1"}, "unknown pixels"),
        (nn.Conv2d(3, 3, 1), (IMAGES, LABELS), {}, "nothing says how the pictures of this Conv2d"),
        (nn.Conv2d(3, 3, 1), (IMAGES, LABELS), {"preprocess": PREPROCESS}, r"logits \[N, classes\]"),
        (nn.Conv2d(1, 3, 1), (IMAGES, LABELS), {"preprocess": PREPROCESS}, "takes 1 colours"),
        (nn.Linear(7, 3), (IMAGES, LABELS), {"preprocess": PREPROCESS}, "could not be run"),
        (Pair(), (IMAGES, LABELS), {"preprocess": PREPROCESS}, "could not be run"),
        (nn.Conv2d(3, 3, 1, device="meta"), (IMAGES, LABELS), {"preprocess": PREPROCESS}, "device 'meta'"),
        (object(), (IMAGES, LABELS), {}, "not object"),
        ("nothing.pth", (IMAGES, LABELS), {}, "nothing.pth"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(network: object, data: object, options: dict, said: str) -> None:
    if isinstance(network, nn.Module):
        network.eval()
    with pytest.raises(UsageError, match=said) as raised:
        repghost.evaluate(network, data, **options)
    assert "\n" not in str(raised.value)
