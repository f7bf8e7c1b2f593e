"""The way from a checkpoint to a file, in Python and on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from calib.qdq import writer as qdq
from calib.qdq.digest import program_digest
from calib.quantize import Source, quantize_network
from calib.settings.config import QuantConfig
from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.cli import cli
from repghost.data.images.preprocess import Preprocess
from repghost.errors import IntegrityError, UsageError
from repghost.graph.trace import graph_of
from repghost.network.fuse import fuse, fused
from tests.support.lively_network import CLASSES, SIZE, lively_model

PREPROCESS = Preprocess(size=SIZE, resize=SIZE, interpolation="bilinear")
LABELS = tuple("abcde")
SOURCE = Source(LABELS, "1" * 64, {"data": "random", "seed": 0})


def random_bytes(count: int) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(0).integers(0, 256, (count, SIZE // 8, SIZE // 8, 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def images_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder tree: train/<class>/<n>.png, and an empty split."""
    root = tmp_path_factory.mktemp("pictures")
    for index, image in enumerate(random_bytes(8)):
        folder = root / "train" / LABELS[index % CLASSES]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index}.png")
    (root / "train" / "a" / "broken.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    write_checkpoint(path, lively_model(), PREPROCESS.to_dict(), LABELS)
    return path


def quantize(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["quantize", *map(str, arguments)])


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.mark.slow
@pytest.mark.usefixtures("ranges_anew")
def test_an_unfused_and_a_fused_network_give_the_same_bytes() -> None:
    model, images = lively_model(), random_bytes(8)
    files = [
        qdq.serialize(quantize_network("net", graph_of(fused(form)), images, PREPROCESS, QuantConfig(), SOURCE).onnx)
        for form in (model, fuse(model))
    ]
    assert files[0] == files[1]
    assert model.spec.form == "train"


def test_a_network_in_training_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="training mode"):
        fused(lively_model().train())


def test_a_network_for_grey_images_is_refused() -> None:
    with pytest.raises(UsageError, match="takes 1 colours, the pictures have 3"):
        quantize_network(
            "grey", graph_of(fused(lively_model(in_chans=1))), random_bytes(1), PREPROCESS, QuantConfig(), SOURCE
        )


def test_a_fusion_that_changes_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: torch.nn.Module) -> torch.nn.Module:
        result = fuse(model)  # type: ignore[arg-type]
        result.classifier.weight.data += 0.01
        return result

    monkeypatch.setattr("repghost.network.fuse.fuse", wrong)
    with pytest.raises(IntegrityError):
        fused(lively_model())


@pytest.mark.slow
def test_the_command_writes_a_file_that_says_what_it_is(checkpoint: Path, images_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out dir" / "modèle.qdq.onnx"
    result = quantize(checkpoint, "--data", images_folder, "--images", 6, "-o", output)
    assert result.exit_code == 0, result.output
    assert "train form; it is fused" in result.output
    assert "next:\n  repghost compile " in result.output and "\n  repghost explain '" in result.output
    model, entries = onnx.load(output), metadata(output)
    onnx.checker.check_model(model, full_check=True)
    assert entries[qdq.DIGEST] in result.output
    assert entries[qdq.DIGEST] == program_digest(model, PREPROCESS.to_dict())
    assert json.loads(entries[qdq.LABELS]) == list(LABELS)
    calibration = json.loads(entries[qdq.CALIBRATION])
    assert calibration["split"] == "train" and calibration["pictures"] + calibration["broken"] == 6
    assert str(tmp_path) not in "".join(entries.values())


@pytest.mark.slow
@pytest.mark.usefixtures("ranges_anew")
def test_the_same_command_writes_the_same_bytes(checkpoint: Path, images_folder: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for output in outputs:
        assert quantize(checkpoint, "--data", images_folder, "-o", output).exit_code == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.slow
def test_the_command_that_goes_on_calibrates_alike(checkpoint: Path, images_folder: Path, tmp_path: Path) -> None:
    result = quantize(
        checkpoint, "--data", images_folder, "-o", tmp_path / "n.onnx", "--images", 5, "--seed", 3, "--size", 40
    )
    assert result.exit_code == 0, result.output
    further = next(line for line in result.output.splitlines() if "repghost compile" in line)
    assert "--size 40 --images 5 --seed 3 --config" in further


@pytest.mark.slow
def test_a_split_for_calibration_comes_before_the_one_for_training(
    checkpoint: Path, images_folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "both"
    shutil.copytree(images_folder / "train", data / "train")
    shutil.copytree(images_folder / "train", data / "calibration")
    result = quantize(checkpoint, "--data", data, "-o", tmp_path / "net.onnx", "--images", 6)
    assert result.exit_code == 0, result.output
    assert json.loads(metadata(tmp_path / "net.onnx")[qdq.CALIBRATION])["split"] == "calibration"


@pytest.mark.slow
def test_a_broken_image_is_named(checkpoint: Path, images_folder: Path, tmp_path: Path) -> None:
    result = quantize(checkpoint, "--data", images_folder, "-o", tmp_path / "m.onnx")
    assert result.exit_code == 0
    assert "broken.png" in result.output
    assert json.loads(metadata(tmp_path / "m.onnx")[qdq.CALIBRATION])["broken"] == 1


@pytest.mark.slow
def test_copies_of_images_are_counted(checkpoint: Path, images_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(images_folder, data)
    shutil.copy(data / "train" / "a" / "0.png", data / "train" / "a" / "copy.png")
    result = quantize(checkpoint, "--data", data, "-o", tmp_path / "m.onnx")
    assert result.exit_code == 0
    assert "1 of 9 pictures to calibrate with are copies" in result.output
    assert json.loads(metadata(tmp_path / "m.onnx")[qdq.CALIBRATION])["repeated"] == 1


@pytest.mark.slow
def test_the_config_file_and_the_policy_option_are_used(checkpoint: Path, images_folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(
        '{"version": 1, "observer": "min_max", "layers": {"*.conv_dw": {"depthwise_accumulator": "int32"}}}'
    )
    arguments = (checkpoint, "--data", images_folder, "--config", config, "-o", tmp_path / "m.onnx")
    assert quantize(*arguments).exit_code == 0
    written = json.loads(metadata(tmp_path / "m.onnx")[qdq.QUANTIZATION])
    assert written["config"]["observer"] == "min_max" and written["config"]["policy"] == "cpu"
    assert written["accumulators"]["blocks.1.0.conv_dw"] == "int32"
    assert written["accumulators"]["blocks.1.0.ghost1.cheap"] == "int16"
    assert quantize(*arguments, "--policy", "tensorrt").exit_code == 0
    assert json.loads(metadata(tmp_path / "m.onnx")[qdq.QUANTIZATION])["config"]["policy"] == "tensorrt"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "tensort"], "Did you mean 'tensorrt'"),
        (["--config", "missing.json"], "missing.json: cannot be read"),
        (["--config", "."], "not a regular file"),
        (["--config", "newer.json"], "newer.json': the quantization config has version 99"),
        (["--config", "binary.json"], "binary.json' cannot be read"),
        (["--images", "1000"], "1000 pictures were asked for"),
        (["--images", "0"], "--images"),
        (["--split", "tset"], "tset"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_wrong_usage_exits_with_2_and_writes_nothing(
    arguments: list[str], message: str, checkpoint: Path, images_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("newer.json").write_text('{"version": 99}')
    Path("binary.json").write_bytes(b"\xff\xfe\x00")
    result = quantize(checkpoint, "--data", images_folder, "-o", "m.onnx", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not Path("m.onnx").exists()


def test_a_missing_checkpoint_exits_with_2(images_folder: Path, tmp_path: Path) -> None:
    result = quantize(tmp_path / "none.safetensors", "--data", images_folder, "-o", tmp_path / "m.onnx")
    assert result.exit_code == 2 and "none.safetensors" in result.output


@pytest.mark.slow
def test_another_size_scales_the_resize(checkpoint: Path, images_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.onnx"
    assert quantize(checkpoint, "--data", images_folder, "--size", 64, "--images", 2, "-o", output).exit_code == 0
    assert Preprocess.from_dict(json.loads(metadata(output)[qdq.PREPROCESS])).resize == 64
    assert onnx.load(output).graph.input[0].type.tensor_type.shape.dim[2].dim_value == 64
