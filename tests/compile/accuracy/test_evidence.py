"""The whole of the evidence at a tiny size: measured once, resumed, and other tools in a process of their own."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from compile.accuracy import evidence, float_trained, foreign, ours
from compile.accuracy.foreign import float_onnx
from compile.accuracy.methods import FLOAT_TRAINED
from compile.accuracy.network import Network
from compile.accuracy.row import Row
from compile.accuracy.tools.task import Task
from compile.subject.noise import unlabelled_noise
from compile.subject.subject import RepGhostSubject
from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.cli import cli
from repghost.data.images.preprocess import Preprocess
from repghost.errors import ToolMissingError
from repghost.network.fuse import fuse
from repghost.network.model import RepGhostNet
from tests.support.networks import network

SIZE = 32
LABELS = tuple("abcde")
PREPROCESS = Preprocess(size=SIZE, resize=SIZE, interpolation="bilinear")
ROWS = ("default (ranges by answers)", "QAT fused", FLOAT_TRAINED, "ONNX Runtime min-max")


def small() -> RepGhostNet:
    return network(0.1, num_classes=len(LABELS))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, random = tmp_path_factory.mktemp("evidence"), np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 20)):
        for index in range(count):
            folder = root / "set" / split / LABELS[index % len(LABELS)]
            folder.mkdir(parents=True, exist_ok=True)
            coarse = random.integers(0, 256, (SIZE // 8, SIZE // 8, 3), np.uint8)
            Image.fromarray(coarse.repeat(8, 0).repeat(8, 1)).save(folder / f"{index}.png")
    write_checkpoint(root / "model.safetensors", small(), PREPROCESS.to_dict(), LABELS)
    write_checkpoint(root / "fused.safetensors", fuse(small()), PREPROCESS.to_dict(), LABELS)
    return root


def measure(data: Path, output: Path, *more: str) -> Result:
    checkpoint = str(data / "model.safetensors")
    folders = ["--cells", str(output / "cells"), "--docs", str(output / "docs"), "--no-arm64", "--images", "8"]
    rows = [word for name in ROWS for word in ("--method", name)]
    return CliRunner().invoke(cli, ["accuracy", checkpoint, "--data", str(data / "set"), *folders, *rows, *more])


@pytest.mark.slow
def test_rows_are_measured_once_and_a_second_run_measures_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure(data, tmp_path)
    assert first.exit_code == 0, first.output
    document = json.loads((tmp_path / "docs/accuracy.json").read_text())
    (found,) = document["networks"]
    assert [row["name"] for row in found["rows"]] == list(ROWS)
    assert found["calibration"]["pictures"] == 8 and found["test"]["pictures"] == 20
    for row in found["rows"]:
        assert row["change"]["pictures"] == 20 and row["seconds"] > 0
    assert [row["by"].partition(",")[0] for row in found["rows"][:2]] == ["compiled host build"] * 2
    assert found["rows"][0]["checked_on"] == 20
    assert {(it["ours"], it["other"]) for it in found["against"]} == {(name, ROWS[3]) for name in ROWS[:2]}
    assert [it["ours"] for it in found["against_float"]] == [ROWS[1]]
    page = (tmp_path / "docs/accuracy.md").read_text()
    assert all(name in page for name in ROWS)

    def fail(*arguments: object, **more: object) -> None:
        raise AssertionError("measured again")

    for module, name in (
        (ours, "_calibrate"), (ours, "_train"), (ours, "_compiled_predictions"), (float_trained, "_train"),
        (foreign, "_run"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, fail)
    assert measure(data, tmp_path).exit_code == 0
    assert (tmp_path / "docs/accuracy.md").read_text() == page
    again = measure(data, tmp_path, "--again", "ONNX*")
    assert isinstance(again.exception, AssertionError)


@pytest.mark.slow
def test_a_tool_that_is_missing_is_named_and_the_others_are_measured(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "measure_ours", lambda *_: Row(np.zeros(20, np.int64), {"seconds": 1.0}))
    monkeypatch.setattr(foreign, "_ask", lambda *_: {"missing": "onnxruntime"})
    result = measure(data, tmp_path)
    assert result.exit_code == 0, result.output
    assert re.search("ONNX Runtime min-max: not measured: .*'onnxruntime'", result.output)
    assert "not measured" in (tmp_path / "docs/accuracy.md").read_text()


def measure_quickly(checkpoint: Path, data: Path, output: Path, *more: str) -> Result:
    folders = ["--cells", str(output / "cells"), "--docs", str(output), "--method", "default*", "--no-arm64"]
    return CliRunner().invoke(cli, ["accuracy", str(checkpoint), "--data", str(data / "set"), *folders, *more])


@pytest.fixture
def no_quantizer(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(network: Network, *_: object) -> Row:
        return Row(np.zeros(len(network.test.labels), np.int64), {"seconds": 1.0})

    monkeypatch.setattr(evidence, "measure_ours", answer)


@pytest.mark.slow
@pytest.mark.usefixtures("no_quantizer")
def test_networks_that_were_measured_before_stay_where_that_is_asked_for(data: Path, tmp_path: Path) -> None:
    def widths() -> list[float]:
        return [network["width"] for network in json.loads((tmp_path / "accuracy.json").read_text())["networks"]]

    wider, notes = tmp_path / "wider.safetensors", {"command": "repghost train --width 0.2", "seed": 3, "x": 1}
    write_checkpoint(wider, network(0.2, num_classes=len(LABELS)), PREPROCESS.to_dict(), LABELS, notes)
    for checkpoint, more, expected in (
        (wider, ["--add"], [0.2]),  # nothing is there yet
        (data / "model.safetensors", ["--add"], [0.1, 0.2]),
        (data / "model.safetensors", ["--add"], [0.1, 0.2]),  # measured again, it takes its own place
        (data / "model.safetensors", [], [0.1]),
        (wider, ["--add"], [0.1, 0.2]),
    ):
        result = measure_quickly(checkpoint, data, tmp_path, *more)
        assert result.exit_code == 0, result.output
        assert widths() == expected
    page = (tmp_path / "accuracy.md").read_text()
    assert "`repghost train --width 0.2`" in page and "does not say how it was trained" in page
    assert "- 0.1x, 0.2x: apache-tvm " in page  # one machine measured both
    before = (tmp_path / "accuracy.json").read_bytes()
    result = measure_quickly(wider, data, tmp_path, "--add", "--test-images", "10")
    assert result.exit_code == 2 and "the same test pictures" in result.output
    assert (tmp_path / "accuracy.json").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no JSON", "no document"),
        ("[1]", "no document"),
        ('{"format": "repghost-accuracy", "version": 2}', "no document"),
        ('{"format": "repghost-accuracy", "version": 1, "networks": []}', "version 1"),
    ],
)
@pytest.mark.usefixtures("no_quantizer")
def test_a_document_that_cannot_be_added_to_is_left_as_it_is(
    content: str, message: str, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "accuracy.json").write_text(content)
    result = measure_quickly(data / "model.safetensors", data, tmp_path, "--add")
    assert result.exit_code == 2 and message in result.output
    assert (tmp_path / "accuracy.json").read_text() == content


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ('echo \'{"missing": "nncf"}\'; exit 4', {"missing": "nncf"}),
        ("echo 'ModuleNotFoundError: No module named onnxruntime' >&2; exit 1", {"missing": "onnxruntime"}),
        ("echo Segmentation fault >&2; exit 139", {"failed": "code 139: Segmentation fault"}),
        ("exit 0", {"failed": "code 0"}),
    ],
)
def test_a_tool_that_fails_in_any_way_is_an_answer(script: str, answer: dict[str, str], tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    given = foreign._ask(python, tmp_path / "task.json", tmp_path)
    assert given.keys() == answer.keys() and all(answer[key] in given[key] for key in answer)


def test_tools_are_given_the_numbers_that_the_network_sees(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    every_byte = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 1, 256, 1), 3, axis=3)
    task = Task(
        tmp_path, "x", {}, tmp_path, tmp_path / "c.npy", tmp_path / "p.npy", tmp_path / "n.npy", tmp_path / "a.npy"
    )
    np.save(task.images, images)
    np.save(task.normalized, PREPROCESS.normalize(every_byte)[0, :, 0])
    given = np.concatenate(list(task.image_batches(2)))
    np.testing.assert_array_equal(given, PREPROCESS.normalize(images))
    assert Task.from_json(task.to_json()) == task


@pytest.mark.slow
@pytest.mark.parametrize("form", ["fused", "unfused"])
def test_the_float_file_that_tools_get_is_the_network(form: str) -> None:
    model, x = small(), torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    subject = RepGhostSubject(
        name="small", digest="", weights={"kind": "file"}, preprocess=PREPROCESS, labels=LABELS,
        calibration=unlabelled_noise(SIZE, 0), test=None, model=model,
    )  # fmt: skip
    file = float_onnx(Network("small", subject, Path()), fuse=form == "fused")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], model(x).numpy(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fused.safetensors"], "is fused"),
        (["model.safetensors", "--method", "QAT fusd"], "Did you mean 'QAT fused'"),
        (["model.safetensors", "--python", "/nowhere"], "/nowhere is no file"),
        (["absent.safetensors"], "absent.safetensors"),
    ],
)
def test_what_cannot_be_measured_is_named(arguments: list[str], message: str, data: Path, tmp_path: Path) -> None:
    checkpoint, *more = arguments
    command = ["accuracy", str(data / checkpoint), "--data", str(data / "set"), "--docs", str(tmp_path), *more]
    result = CliRunner().invoke(cli, [*command, "--cells", str(tmp_path / "cells")])
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not list(tmp_path.glob("accuracy.*"))


def test_an_absent_emulator_is_said(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object) -> None:
        raise ToolMissingError("no qemu-aarch64")

    monkeypatch.setattr(evidence, "measure_arm64", missing)
    monkeypatch.setattr(evidence, "measure_ours", lambda *_: Row(np.zeros(20, np.int64), {"seconds": 1.0}))
    monkeypatch.setattr(evidence, "qdq_file", lambda *_: b"")
    folders = ["--cells", str(tmp_path / "cells"), "--docs", str(tmp_path), "--method", "default*"]
    command = ["accuracy", str(data / "model.safetensors"), "--data", str(data / "set"), *folders]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0 and "arm64: not measured: no qemu-aarch64" in result.output
    assert "not measured: no qemu-aarch64" in (tmp_path / "accuracy.md").read_text()
