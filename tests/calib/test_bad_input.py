"""Bad input with every lever on at once: handled, or refused by name; and runs that end early leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from calib.ptq.adaround import RoundingSettings, learn_rounding
from calib.ptq.apply import quantize_graph
from calib.settings.config import QuantConfig
from calib.simulate.exact import ExactNetwork
from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.cli import cli
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.graph.trace import graph_of
from repghost.network.fuse import fuse
from repghost.network.model import RepGhostNet
from tests.support.layerwise import assert_within_a_step
from tests.support.lively_network import CLASSES, SIZE, lively_model

PREPROCESS = Preprocess(size=SIZE, resize=SIZE, interpolation="bilinear")
EVERYTHING = QuantConfig(equalize=True, bias_correction=True, learned_rounding=True)
LABELS = tuple("abcde")


def usual(count: int = 6) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(0).integers(0, 256, (count, SIZE // 8, SIZE // 8, 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(autouse=True)
def quick_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calib.ptq.apply.learn_rounding", partial(learn_rounding, settings=RoundingSettings(steps=2)))


def change(layer: str, weight: float | None = None, bias: float | None = None) -> Callable[[RepGhostNet], None]:
    """Return what multiplies the first output channel's weights and sets its bias."""

    def apply(model: RepGhostNet) -> None:
        module = model.get_submodule(layer)
        with torch.no_grad():
            if weight is not None:
                module.weight[0] *= weight  # type: ignore[operator]
            if bias is not None:
                module.bias[0] = bias  # type: ignore[operator]

    return apply


def unchanged(model: RepGhostNet) -> None:
    del model


HANDLED: dict[str, tuple[Callable[[RepGhostNet], None], NDArray[np.uint8]]] = {
    "dead channel of a dense layer": (change("conv_stem", 0.0, 0.0), usual()),
    "dead channel of a depthwise layer": (change("blocks.2.0.ghost1.cheap_operation", 0.0, 0.0), usual()),
    "all-equal activations of a channel": (change("conv_stem", 0.0, 0.5), usual()),
    "all-equal activations everywhere": (unchanged, np.full((3, SIZE, SIZE, 3), 117, np.uint8)),
    "one picture": (unchanged, usual(1)),
    "black pictures": (unchanged, np.zeros((3, SIZE, SIZE, 3), np.uint8)),
    "a scale that underflows": (change("blocks.5.0.ghost1.primary_conv.0", 1e-38, 0.0), usual()),
    "a bias that would not fit int32": (change("blocks.9.0.conv", 1e-9, 1e3), usual()),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", HANDLED)
def test_it_is_handled(case: str) -> None:
    damage, images = HANDLED[case]
    model = fuse(lively_model())
    damage(model)
    graph, spec = quantize_graph(graph_of(model), images, PREPROCESS, EVERYTHING)
    smallest = np.finfo(np.float32).tiny
    assert all(np.isfinite(q.scale) and q.scale >= smallest for q in spec.activations.values())
    assert all(np.all(np.isfinite(s) & (s >= smallest)) for s in spec.weight_scales.values())
    x = torch.from_numpy(PREPROCESS.normalize(images))
    exact: dict[str, NDArray[np.int32]] = {}
    predictions = ExactNetwork(graph, spec)(  # proves every accumulator
        x, lambda name, value: exact.update({name: value.numpy()})
    )
    assert_within_a_step(graph, spec, exact, predictions.numpy())
    with torch.no_grad():
        expected = model(x)
    # The whole, too: noise below the signal. A lost bias would be of the signal's size.
    assert (predictions - expected).square().sum() < 0.25 * expected.square().sum()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layer", ["conv_stem", "blocks.2.0.ghost1.cheap_operation", "classifier"])
def test_weights_that_are_not_finite_are_refused_by_layer(layer: str, value: float) -> None:
    model = fuse(lively_model())
    with torch.no_grad():
        model.get_submodule(layer).weight.view(-1)[1] = value  # type: ignore[union-attr, operator]
    name = layer.replace("cheap_operation", "cheap")
    with pytest.raises(UsageError, match=f"layer '{name}': 1 of .* NaN or infinite"):
        quantize_graph(graph_of(model), usual(), PREPROCESS, EVERYTHING)


def test_activations_that_are_not_finite_are_refused_by_tensor() -> None:
    model = fuse(lively_model())
    with torch.no_grad():
        model.get_submodule("blocks.2.0.ghost1.primary_conv.0").weight.fill_(3e38)  # type: ignore[operator]
    plain = QuantConfig(bias_correction=True)
    with pytest.raises(UsageError, match=r"'blocks\.2\.0\.ghost1\.primary' holds NaN or infinite"):
        quantize_graph(graph_of(model), usual(), PREPROCESS, plain)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    write_checkpoint(path, lively_model(), PREPROCESS.to_dict(), LABELS)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, image in enumerate(usual(10)):
        place = tmp_path / "pictures" / "train" / LABELS[index % CLASSES]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{index}.png")
    return tmp_path / "pictures"


def quantize(checkpoint: Path, folder: Path, output: Path) -> Result:
    return CliRunner().invoke(cli, ["quantize", str(checkpoint), "--data", str(folder), "-o", str(output)])


def vanish_after_opening(monkeypatch: pytest.MonkeyPatch, paths: list[Path]) -> None:
    """Delete images once the set is open and before any is read."""
    from repghost.api import dataset as opening

    real = opening.open_split

    def opened(*arguments: object) -> object:
        dataset = real(*arguments)  # type: ignore[arg-type]
        for path in paths:
            path.unlink()
        return dataset

    monkeypatch.setattr(opening, "open_split", opened)


@pytest.mark.slow
def test_images_that_vanish_are_named_and_left_out(
    checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = sorted(folder.glob("train/a/*.png"))
    vanish_after_opening(monkeypatch, gone)
    result = quantize(checkpoint, folder, tmp_path / "out" / "net.onnx")
    assert result.exit_code == 0, result.output
    assert all(path.name in result.output for path in gone) and "8 pictures" in result.output


def test_when_all_images_vanish_nothing_is_written(
    checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vanish_after_opening(monkeypatch, list(folder.glob("train/*/*.png")))
    result = quantize(checkpoint, folder, tmp_path / "out" / "net.onnx")
    assert result.exit_code == 2, result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    [
        "calib.ptq.apply.collect_statistics",
        "calib.ptq.apply.choose_ranges",
        "calib.ptq.apply.correct",
        "calib.quantize.build_qdq",
    ],
)
def test_a_run_that_is_interrupted_leaves_no_file_and_the_next_one_works(
    stage: str, checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> object:
        raise KeyboardInterrupt

    output = tmp_path / "out" / "net.onnx"
    with monkeypatch.context() as patched:
        patched.setattr(stage, interrupted)
        assert quantize(checkpoint, folder, output).exit_code == 130
    assert not output.parent.exists() or list(output.parent.iterdir()) == []
    if stage.endswith("build_qdq"):
        assert quantize(checkpoint, folder, output).exit_code == 0 and output.is_file()
