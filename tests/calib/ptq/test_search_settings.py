"""The search over levers, in Python and on the command line, and the settings it leaves behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from calib.ptq import search_settings as search
from calib.ptq.calibrate import calibrate
from calib.ptq.levers import LEVERS, Lever
from calib.ptq.search_settings import SearchImages, Trial, block_sensitivity, search_settings
from calib.qdq import writer as qdq
from calib.settings.config import QuantConfig, config_from_dict, config_from_json
from calib.simulate.exact import ExactNetwork
from repghost.api.quantized import config_beside
from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.cli import cli
from repghost.data.images.preprocess import Preprocess
from repghost.errors import AccuracyGateError, UsageError
from repghost.graph.macs import shares_of_work
from repghost.graph.operators import Graph
from repghost.network.flops import count
from tests.support.lively_network import CLASSES, SIZE, lively_model

PREPROCESS = Preprocess(size=SIZE, resize=SIZE, interpolation="bilinear")
LABELS = tuple("abcde")
# Three levers of which the first two cannot be good enough: everything beyond the middle of each tensor is clipped.
BAD = config_from_dict({"observer": "percentile", "percentile": 50.5, "ranges_by_answers": False})
SHORT = (
    Lever("bad", "nothing", lambda config: BAD),
    Lever("bad again", "nothing", lambda config: BAD),
    Lever("better", "seconds", lambda config: config_from_dict({"observer": "min_max", "ranges_by_answers": False})),
    Lever("never tried", "minutes", lambda config: QuantConfig(learned_rounding=True)),
)


@pytest.fixture(autouse=True)
def no_layers_of_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the last levers of CPUs, which `test_search_wide` tries on a smaller network."""
    monkeypatch.setattr("calib.ptq.search_settings._TrialRunner.wide_levers", lambda *arguments: ())


def random_bytes(count: int, seed: int = 0) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (count, SIZE // 8, SIZE // 8, 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def search_images(graph: Graph) -> SearchImages:
    """Images whose labels are what the float network predicts, so that every other prediction is a loss."""
    import torch

    from repghost.graph.run import run_float

    images = random_bytes(40, 1)
    logits = run_float(graph, torch.from_numpy(PREPROCESS.normalize(images)))
    return SearchImages(random_bytes(8), images, logits.argmax(1).numpy(), PREPROCESS)


@pytest.mark.slow
def test_the_cheapest_lever_that_is_enough_is_kept(
    graph: Graph, search_images: SearchImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials: list[Trial] = []
    monkeypatch.setattr(search, "LEVERS", SHORT[:3])
    with pytest.raises(AccuracyGateError):
        search_settings(graph, search_images, QuantConfig(), -101.0, trials.append)
    allowed = trials[-1].drop_points  # what "better" loses on this machine
    monkeypatch.setattr(search, "LEVERS", SHORT)
    told: list[str] = []
    found = search_settings(graph, search_images, QuantConfig(), allowed, lambda trial: told.append(trial.name))
    assert told == ["bad", "better"]  # equal settings are not tried twice, and nothing after what was enough
    assert found.chosen.name == "better" and found.chosen.drop_points == allowed < found.trials[0].drop_points
    record = json.loads(json.dumps(found.to_dict()))
    assert [trial["name"] for trial in record["trials"]] == told and record["chosen"] == "better"
    low, high = record["trials"][1]["interval_points"]
    assert low <= record["trials"][1]["drop_points"] <= high
    exact = ExactNetwork(found.graph, found.spec)
    import torch

    predictions = exact(torch.from_numpy(PREPROCESS.normalize(search_images.held_out))).argmax(1).numpy()
    assert 100.0 * np.mean(predictions != search_images.labels) == pytest.approx(found.chosen.drop_points)


@pytest.mark.slow
def test_nothing_that_is_enough_is_an_accuracy_gate_missed(
    graph: Graph, search_images: SearchImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "LEVERS", SHORT[:1])
    message = r"at most 0\.1 points.*40 held-out.*'bad', loses.*No layer was tried in float.*repghost qat"
    with pytest.raises(AccuracyGateError, match=message):
        search_settings(graph, search_images, QuantConfig(), 0.1)


@pytest.mark.slow
def test_float_bottlenecks_are_the_last_resort_of_a_policy_that_has_them(
    graph: Graph, search_images: SearchImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "LEVERS", ())
    monkeypatch.setattr(search, "MOST_FLOAT", 2)
    config = config_from_dict({"policy": "tensorrt", "ranges_by_answers": False})
    trials: list[Trial] = []
    with pytest.raises(AccuracyGateError) as missed:
        search_settings(graph, replace(search_images, calibration=random_bytes(4)), config, -100.0, trials.append)
    assert "No layer" not in str(missed.value)
    names = [trial.name for trial in trials]
    assert len(names) == 2 and names[1].startswith(names[0].removesuffix(" in float") + ", blocks.")
    shares = shares_of_work(graph, SIZE)
    for trial in trials:  # each says what it costs
        blocks = trial.name.removesuffix(" in float").split(", ")
        price = sum(share for layer, share in shares.items() for block in blocks if layer.startswith(f"{block}."))
        assert 0 < price < 1 and trial.cost == f"float kernels for {price:.1%} of the multiply-adds"


def test_the_work_of_layers_is_that_of_the_published_count(graph: Graph) -> None:
    counted = {layer.name: layer.macs for layer in count(lively_model(), (3, SIZE, SIZE)).layers}
    found = shares_of_work(graph, SIZE)
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["conv_stem"] == pytest.approx(counted["conv_stem"] / sum(counted.values()))
    assert found["classifier"] == pytest.approx(counted["classifier"] / sum(counted.values()))


@pytest.mark.slow
def test_bottlenecks_are_ranked_by_the_sum_of_their_parts(graph: Graph, images: NDArray[np.float32]) -> None:
    spec = calibrate(graph, [images], QuantConfig())
    harm = block_sensitivity(graph, spec, [images[:4]])
    assert {block.name for block in harm} == {
        ".".join(n.split(".")[:3]) for n in graph.names() if n.startswith("blocks.") and n.count(".") > 2
    }
    assert all(value > 0 for value in harm.values())


def test_levers_go_from_cheap_to_dear_and_leave_the_policy_alone() -> None:
    config = QuantConfig("tensorrt")
    assert LEVERS[0].change(config) == config
    changed = [lever.change(config) for lever in LEVERS]
    assert all(one.policy == "tensorrt" for one in changed)
    assert [one.learned_rounding for one in changed].index(True) >= 4
    assert len({lever.name for lever in LEVERS}) == len(LEVERS)


def test_without_held_out_images_there_is_no_search(graph: Graph) -> None:
    nobody = SearchImages(random_bytes(2), random_bytes(0), np.zeros(0, np.int64), PREPROCESS)
    with pytest.raises(UsageError, match="labelled pictures that calibrate nothing"):
        search_settings(graph, nobody, QuantConfig(), 0.3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    write_checkpoint(path, lively_model(), PREPROCESS.to_dict(), LABELS)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for index, image in enumerate(random_bytes(20)):
        place = root / "train" / LABELS[index % CLASSES]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{index}.png")
    return root


def quantize(checkpoint: Path, folder: Path, output: Path, *arguments: str) -> Result:
    common = ["quantize", str(checkpoint), "--data", str(folder), "-o", str(output)]
    return CliRunner().invoke(cli, [*common, *arguments])


@pytest.mark.slow
def test_auto_writes_what_it_tried_and_its_settings_repeat_the_file(
    checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "net.qdq.onnx"
    result = quantize(checkpoint, folder, output, "--algorithm", "auto", "--images", "5", "--max-drop", "100")
    assert result.exit_code == 0, result.output
    assert "the settings as given" in result.output and "by 15 held-out pictures" in result.output
    beside = config_beside(output)
    assert beside.name == "net.qdq.config.json"
    record = json.loads(beside.read_text())["search"]
    assert record["max_drop_points"] == 100.0 and record["held_out_pictures"] == 15
    entries = {entry.key: entry.value for entry in onnx.load(output).metadata_props}
    written = json.loads(entries[qdq.QUANTIZATION])
    assert written["search"] == record
    assert config_from_dict(written["config"]) == config_from_json(beside.read_text())
    again = tmp_path / "again.qdq.onnx"
    assert quantize(checkpoint, folder, again, "--config", str(beside), "--images", "5").exit_code == 0
    digests = [
        {entry.key: entry.value for entry in onnx.load(path).metadata_props}[qdq.DIGEST] for path in (output, again)
    ]
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_a_missed_gate_exits_with_3_and_writes_nothing(
    checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "LEVERS", SHORT[:1])
    arguments = ("--algorithm", "auto", "--images", "5", "--max-drop", "-101")
    result = quantize(checkpoint, folder, tmp_path / "net.onnx", *arguments)
    assert result.exit_code == 3, result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-drop", "0.3"], "belong to --algorithm auto"),
        (["--algorithm", "entropie"], "Did you mean 'entropy'"),
        (["--algorithm", "auto", "--images", "20"], "all 20 pictures calibrate"),
    ],
)
def test_wrong_algorithms_exit_with_2(
    arguments: list[str], message: str, checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    result = quantize(checkpoint, folder, tmp_path / "net.onnx", *arguments)
    assert result.exit_code == 2 and message in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_algorithm_by_name_is_in_the_settings(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "net.onnx"
    assert quantize(checkpoint, folder, output, "--algorithm", "mse", "--images", "2").exit_code == 0
    config = config_from_json(config_beside(output).read_text())
    assert config.defaults.observer == "mse" and not config.ranges_by_answers
