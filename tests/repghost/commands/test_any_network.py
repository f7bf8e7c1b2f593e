"""A network that is no RepGhostNet through every command that takes one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import nn

from repghost.cli import cli
from repghost.data.images.preprocess import Preprocess
from tests.support.onnxruntime_quantizer import write_float_onnx

CLASSES, SIZE = ("blue", "green", "red"), 24
PREPROCESS = Preprocess(size=SIZE, resize=SIZE, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class Small(nn.Module):
    """Tells which colour is strongest, by way of what mobile networks are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 5, 1, 2, groups=8, bias=False), nn.BatchNorm2d(8), nn.SiLU())
        self.point = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, len(CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores [N, 3]."""
        x = self.stem(x)
        x = x + self.point(self.depthwise(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of coloured noise with the splits train and test."""
    folder, values = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 6)):
        for place, name in zip((2, 1, 0), CLASSES, strict=True):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                image = values.integers(0, 150, (30, 26, 3))
                image[..., place] += 90
                Image.fromarray(image.astype(np.uint8)).save(folder / split / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A trained network as float ONNX."""
    torch.manual_seed(0)
    images, labels = [], []
    for label, name in enumerate(CLASSES):
        for path in sorted((data / "train" / name).iterdir()):
            images.append(PREPROCESS.apply(Image.open(path)))
            labels.append(label)
    x, y = torch.from_numpy(PREPROCESS.normalize(np.stack(images))), torch.tensor(labels)
    model = Small().train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("network") / "small.onnx"
    write_float_onnx(path, model.eval(), SIZE)
    return path


@pytest.fixture(scope="module")
def preprocess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """How the images are prepared, as a file."""
    path = tmp_path_factory.mktemp("preprocess") / "preprocess.json"
    path.write_text(json.dumps(PREPROCESS.to_dict()))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def right(result: Result) -> list[float]:
    """Return the top-1 of each network that was validated."""
    assert result.exit_code == 0, result.output
    return [row["top1"]["top1"] for row in json.loads(result.stdout)["networks"]]


def test_quantize_and_validate(network: Path, data: Path, preprocess: Path, tmp_path: Path) -> None:
    quantized = tmp_path / "small.qdq.onnx"
    done = run("quantize", network, "--data", data, "--preprocess", preprocess, "-o", quantized)
    assert done.exit_code == 0, done.output
    done = run("validate", network, quantized, "--data", data, "--preprocess", preprocess, "--json")
    before, after = right(done)
    assert before > 0.9 and after > 0.9
    assert run("explain", quantized).exit_code == 0


def test_train_under_quantization(network: Path, data: Path, preprocess: Path, tmp_path: Path) -> None:
    trained = tmp_path / "trained.qdq.onnx"
    done = run(
        "qat", network, "--data", data, "--preprocess", preprocess, "-o", trained, "--epochs", 1, "--images", 24,
        "--batch", 8, "--held-out", 6,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (after,) = right(run("validate", trained, "--data", data, "--json"))
    assert after > 0.9


def test_sensitivity_names_the_modules(network: Path, data: Path, preprocess: Path) -> None:
    done = run("sensitivity", network, "--data", data, "--preprocess", preprocess, "--all")
    assert done.exit_code == 0, done.output
    assert "depthwise" in done.output


def test_explain_shows_what_a_float_network_becomes(network: Path, preprocess: Path) -> None:
    done = run("explain", network, "--preprocess", preprocess)
    assert done.exit_code == 0, done.output
    assert "Every layer becomes an integer operator" in done.output


def test_export_writes_a_network_that_is_read_back(network: Path, data: Path, preprocess: Path, tmp_path: Path) -> None:
    # The names of its classes are those of the folders, and its Preprocess is ImageNet's only for 1,000 classes.
    again = tmp_path / "again.onnx"
    done = run("export", network, again, "--preprocess", preprocess)
    assert done.exit_code == 0, done.output
    first, second = right(run("validate", network, again, "--data", data, "--preprocess", preprocess, "--json"))
    assert first == second


def test_a_name_needs_weights(data: Path, tmp_path: Path) -> None:
    done = run("quantize", "timm:mobilenetv2_100", "--data", data, "-o", tmp_path / "net.qdq.onnx")
    assert done.exit_code == 2 and "--weights FILE" in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_compile(network: Path, data: Path, preprocess: Path, tmp_path: Path) -> None:
    done = run(
        "compile", "--target", "host", "--weights", network, "--data", data, "--preprocess", preprocess, "-o", tmp_path,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "small-24px" / "report.json").read_text())
    assert report["accuracy"]["fp32"]["top1"] > 0.9 and report["accuracy"]["int8"]["top1"] > 0.9
    assert (tmp_path / "small-24px" / "model.float.onnx").is_file()
