from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from repghost import bundled
from repghost.api.training.train_command import train_command
from repghost.checkpoints.checkpoint import build_model, read_checkpoint
from repghost.data import open_dataset, prepare
from repghost.data.images.preprocess import Preprocess
from repghost.evaluation.accuracy import accuracy, predict
from repghost.training.recipe import Recipe, get_recipe
from repghost.training.train import held_out_indices
from tests.support import ROOT

ASSETS = ROOT / "assets"
FOLDER = bundled.DATA
WEIGHTS = bundled.WEIGHTS
COMPLETE = Path("/usr/share/datasets/fashion-mnist")
needs_complete = pytest.mark.skipif(not COMPLETE.exists(), reason="Debian's dataset-fashion-mnist is not installed")


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_fashion_mnist", ASSETS / "make_fashion_mnist.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("t10k-images-idx3-ubyte.gz", "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"),
        ("t10k-labels-idx1-ubyte.gz", "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"),
    ],
)
def test_the_test_set_is_the_published_one(name: str, digest: str) -> None:
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest


def test_the_test_set_is_complete_and_balanced() -> None:
    dataset = open_dataset(FOLDER, "test")
    assert np.bincount(dataset.labels).tolist() == [1000] * 10


def test_the_calibration_set_is_balanced_and_not_part_of_the_test_set() -> None:
    calibration, test = open_dataset(FOLDER, "calibration"), open_dataset(FOLDER, "test")
    assert len(calibration) == 1024
    counts = np.bincount(calibration.labels, minlength=10)
    assert counts.max() - counts.min() <= 1
    seen = {test[index][0].tobytes() for index in range(len(test))}
    assert not any(calibration[index][0].tobytes() in seen for index in range(len(calibration)))


@needs_complete
def test_the_calibration_set_can_be_remade_and_is_not_held_out(maker: ModuleType, tmp_path: Path) -> None:
    maker.remake(COMPLETE, tmp_path)
    for split in ("test", "calibration"):
        ours, remade = open_dataset(FOLDER, split), open_dataset(tmp_path, split)
        assert np.array_equal(ours.labels, remade.labels)
        assert all(ours[index][0].tobytes() == remade[index][0].tobytes() for index in range(0, len(ours), 7))
    labels = open_dataset(COMPLETE, "train").labels
    assert not np.isin(maker.calibration_indices(labels), held_out_indices(labels, get_recipe("demo"))).any()


def test_the_weights_say_how_they_were_made() -> None:
    checkpoint = read_checkpoint(WEIGHTS, width=0.5, form="train")
    recipe = Recipe.from_dict(checkpoint.metadata["recipe"])
    assert recipe == get_recipe("demo")
    assert checkpoint.metadata["epochs"] == recipe.epochs
    assert checkpoint.metadata["command"] == train_command(recipe)
    assert checkpoint.preprocess is not None
    assert Preprocess.from_dict(checkpoint.preprocess) == recipe.preprocess
    assert checkpoint.labels == open_dataset(FOLDER, "test").classes
    assert "/" not in checkpoint.metadata["command"]


@pytest.mark.slow
def test_the_weights_are_as_good_as_they_say() -> None:
    checkpoint = read_checkpoint(WEIGHTS)
    claimed = checkpoint.metadata["test"]
    assert claimed["pictures"] == 10_000
    assert checkpoint.preprocess is not None
    preprocess = Preprocess.from_dict(checkpoint.preprocess)
    prepared = prepare(open_dataset(FOLDER, "test"), preprocess, range(0, 10_000, 10))
    measured = accuracy(predict(build_model(checkpoint), prepared.images, preprocess).argmax(1), prepared.labels)
    assert measured.low <= claimed["top1"] <= measured.high
    assert claimed["top1"] > 0.9


def test_what_is_carried_is_small_and_has_its_licence() -> None:
    files = [path for folder in (ASSETS, FOLDER) for path in folder.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 12 << 20
    assert "Zalando SE" in (FOLDER / "LICENSE").read_text("utf-8")
    readme = (ASSETS / "README.md").read_text("utf-8")
    for path in files:
        assert path.name in readme or path.name == "README.md", path
