from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from compile.stages.predictors import open_qdq
from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.cli import cli
from repghost.data import open_dataset
from repghost.distributed.ranks import Ranks
from repghost.errors import IntegrityError, UsageError
from repghost.evaluation.predictor import Predictor
from repghost.network.model import RepGhostNet
from repghost.training.options import Loading
from repghost.training.train import Options, train
from repghost.validation.sources import open_checkpoints
from repghost.validation.validate import validate
from tests.support.training_sets import make_tree, tiny_recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("data"), 48, 13)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, validation = tmp_path_factory.mktemp("run"), open_dataset(data, "val")
    options = Options(Loading(workers=0))
    train(tiny_recipe(), open_dataset(data, "train"), folder, validation=validation, options=options)
    return folder


@pytest.fixture(scope="module")
def quantized(run: Path, data: Path) -> Path:
    path = run / "best.qdq.onnx"
    arguments = ["quantize", str(run / "best.safetensors"), "--data", str(data), "-o", str(path), "--images", "24"]
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return path


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.mark.slow
def test_other_classes_are_refused_before_anything_is_compiled(
    quantized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compile.stages.predictors._library", lambda *given: pytest.fail("it was compiled"))
    other = make_tree(tmp_path / "other")
    for split in ("train", "val"):
        (other / split / "red").rename(other / split / "yellow")
    result = invoke("validate", str(quantized), "--data", str(other), "--split", "val", "--compiled")
    assert result.exit_code == 2, result.output
    assert "'yellow'; it lacks 'red'" in result.output


@pytest.mark.slow
def test_the_state_of_a_run_has_raw_and_averaged_weights(run: Path, data: Path) -> None:
    report = validate(open_checkpoints(run / "state.pt"), open_dataset(data, "val"))
    assert [item.name for item in report.networks] == ["fp32 raw", "fp32 EMA", "fp32 EMA fused"]
    raw, averaged, fused = report.networks
    assert raw.loss != averaged.loss
    assert averaged.loss == pytest.approx(fused.loss, rel=1e-5)


@pytest.mark.slow
def test_a_training_file_of_the_authors_has_both_too(tmp_path: Path) -> None:
    first, second = (RepGhostNet(0.25, 1000).eval() for _ in range(2))
    path = tmp_path / "model_best.pth.tar"
    torch.save({"state_dict": first.state_dict(), "state_dict_ema": second.state_dict(), "epoch": 3}, path)
    found = open_checkpoints(path)
    assert [item.name for item in found] == ["fp32 raw", "fp32 EMA", "fp32 EMA fused"]
    torch.save({"state_dict": first.state_dict(), "epoch": 3}, path)
    assert [item.name for item in open_checkpoints(path)] == ["fp32", "fp32 fused"]


@pytest.mark.slow
def test_float_reference_and_host_build_from_one_command(
    run: Path, data: Path, quantized: Path, tmp_path: Path
) -> None:
    more = ["--data", str(data), "--split", "val", "--compiled", "--cache", str(tmp_path / "cache"), "--json"]
    result = invoke("validate", str(run / "best.safetensors"), str(quantized), *more)
    assert result.exit_code == 0, result.output
    networks = json.loads(result.stdout)["networks"]
    assert [item["name"] for item in networks] == ["fp32", "fp32 fused", "int8 reference", "int8 compiled"]
    assert networks[2]["by"] == "numpy reference"
    assert networks[2]["loss"] == networks[3]["loss"]
    assert networks[2]["right_per_class"] == networks[3]["right_per_class"]
    assert all(item["top1"]["pictures"] == 13 for item in networks)


@pytest.mark.slow
def test_a_build_that_differs_by_a_bit_is_an_integrity_error(quantized: Path, data: Path) -> None:
    (reference,) = open_qdq(quantized, None, Ranks())

    def wrong(images: np.ndarray) -> np.ndarray:
        result = reference.logits(images).copy()
        result[0, 1] = np.nextafter(result[0, 1], np.float32(np.inf))
        return result

    other = replace(reference, source="other", logits=wrong)
    with pytest.raises(IntegrityError, match="differ on 1 of 13"):
        validate([reference, other], open_dataset(data, "val"))


@pytest.mark.slow
def test_networks_that_see_other_bytes_are_not_compared(run: Path, data: Path) -> None:
    first: Predictor = open_checkpoints(run / "best.safetensors")[0]
    other = replace(first, preprocess=replace(first.preprocess, resize=40), source="other")
    with pytest.raises(UsageError, match="prepare their pictures differently"):
        validate([first, other], open_dataset(data, "val"))


def test_weights_that_overflow_are_named(tmp_path: Path, data: Path) -> None:
    model = RepGhostNet(0.25, 3).eval()
    with torch.no_grad():
        model.classifier.weight.fill_(3e38)
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, model, tiny_recipe().preprocess.to_dict())
    result = invoke("validate", str(path), "--data", str(data), "--split", "val")
    assert result.exit_code == 2
    assert "not finite" in result.output
