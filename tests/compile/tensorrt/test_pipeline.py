"""make compile TARGET=jetson: the bundle, what is said of it, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from compile.bundle.manifest import check_bundle
from compile.subject.load import load_subject
from compile.summary.collect import collect, find_files
from compile.tensorrt.jetpack import JETPACKS
from compile.tensorrt.lint.check import lint_file
from compile.tensorrt.measurement import FILE
from compile.tensorrt.network.cache_file import parse_calibration_cache
from compile.tensorrt.pipeline import run
from compile.tensorrt.report import NOT_MEASURED, board_commands, build_report, read_page, render_page
from repghost.cli import cli
from repghost.errors import AccuracyGateError, IntegrityError, UsageError
from tests.support.jetson import Jetson
from tests.support.jetson_runs import Runs

SCRIPTS = {"build.sh", "check.sh", "measure.sh"}
FORMS = {"5": (17, onnx.TensorProto.FLOAT), "6": (19, onnx.TensorProto.FLOAT16), "7": (19, onnx.TensorProto.FLOAT16)}


@pytest.mark.slow
@pytest.mark.parametrize("jetpack", JETPACKS)
def test_a_bundle_holds_what_its_jetpack_reads(runs: Runs, jetpack: str) -> None:
    bundle = check_bundle(runs.bundle(jetpack))
    files = set(bundle.manifest["files"])
    samples = {f"sample-{index}.bin" for index in range(8)}
    assert files > {"int8.onnx", "fp16.onnx", "calibration.cache", "labels.txt", "README.md", *SCRIPTS, *samples}
    assert {path.name for path in bundle.path.iterdir() if path.stat().st_mode & 0o111} == SCRIPTS
    opset, element = FORMS[jetpack]
    for name, int8 in (("int8.onnx", True), ("fp16.onnx", False)):
        assert not lint_file(bundle.path / name, JETPACKS[jetpack], int8).breaches
        model = onnx.load(bundle.path / name)
        assert model.opset_import[0].version == opset
        kinds = {value.data_type for value in model.graph.initializer if value.name.endswith(".bias")}
        assert kinds == {element}
    promise = dict(line.split() for line in (bundle.path / "promise.txt").read_text().splitlines())
    assert {layer["name"]: layer["arithmetic"] for layer in bundle.manifest["layers"]} == promise
    assert lint_file(bundle.path / "int8.onnx", JETPACKS[jetpack]).int8_layers == tuple(
        name for name, kind in promise.items() if kind == "int8"
    )
    readme = (bundle.path / "README.md").read_text()
    for script in SCRIPTS:
        assert f"./{script} " in readme
    assert JETPACKS[jetpack].flags["int8"] in readme and "weights are random" in readme


@pytest.mark.slow
@pytest.mark.parametrize("jetpack", JETPACKS)
def test_the_calibration_cache_names_tensors_of_the_float_file(runs: Runs, jetpack: str) -> None:
    folder = runs.bundle(jetpack)
    version, scales = parse_calibration_cache((folder / "calibration.cache").read_text())
    assert version == JETPACKS[jetpack].cache_version
    graph = onnx.load(folder / "fp16.onnx").graph
    tensors = {"input", *(name for node in graph.node for name in node.output)}
    assert set(scales) <= tensors and len(scales) > 50
    int8 = onnx.load(folder / "int8.onnx").graph
    stored = {value.name: value for value in int8.initializer}
    for node in int8.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in scales:
            scale = float(onnx.numpy_helper.to_array(stored[node.input[1]]))
            assert scales[node.input[0]] == pytest.approx(scale, rel=1e-6)


@pytest.mark.parametrize(
    "text", ["", "TRT-x-EntropyCalibration2\n", "TRT-8502-MinMax\n", "TRT-8502-EntropyCalibration2\na: 3c0\n"]
)
def test_a_wrong_calibration_cache_is_named(text: str) -> None:
    with pytest.raises(IntegrityError, match="calibration cache"):
        parse_calibration_cache(text or "\n")


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bundle_from_the_cache(runs: Runs) -> None:
    first, lines = runs.report("6"), []
    again = run(runs.request("6"), lines.append)
    assert again["bundle"]["digest"] == first["bundle"]["digest"]
    assert any(line.startswith("calibrate") and "as in an earlier run" in line for line in lines)


def test_the_report_says_that_no_jetson_was_reached(runs: Runs) -> None:
    report = runs.report("6")
    folder = Path(report["folder"])
    page = read_page(folder)
    assert page is not None and NOT_MEASURED in page
    for command in board_commands(folder):
        assert command in page
    shown = CliRunner().invoke(cli, ["report", str(folder)])
    assert shown.exit_code == 0 and NOT_MEASURED in shown.output
    card = (folder / "jetson-card.md").read_text()
    assert card.startswith("---\nlibrary_name: ") and f"- {NOT_MEASURED}" in card and "weights are random" in card
    assert report["bundle"]["digest"] in card and "int8 in 82 of 96 layers" in card
    summary = collect(find_files([folder]))
    (missing,) = [item for item in summary.missing if "Jetson reached" in item.what]
    assert "measure.sh" in missing.command and "deploy" in missing.command
    assert not summary.speeds


def test_the_report_keeps_what_was_said_about_the_images(runs: Runs) -> None:
    bundle = check_bundle(runs.bundle("6"))
    subject = replace(load_subject(runs.request("6")), notes=("3 files were not read",))
    report = build_report(Path("run"), subject, bundle, {}, runs.report("6")["verification"])
    assert report["notes"] == ["3 files were not read"]
    assert "- 3 files were not read\n" in render_page(report)


def measured_folder(runs: Runs, bundle: Callable[[str], Path], board: Callable[..., Jetson], place: Path) -> Path:
    """Return a run's folder with what a board measured."""
    report, jetson, folder = runs.report("6"), board("6"), bundle("6")
    jetson.run(folder, "build.sh")
    place.mkdir()
    written = {**report, "bundle": {**report["bundle"], "digest": check_bundle(runs.bundle("6")).digest}}
    (place / "jetson.json").write_text(json.dumps(written))
    (place / FILE).write_text(jetson.run(folder, "measure.sh").stdout)
    return place


def test_the_report_shows_what_a_board_measured(
    runs: Runs, bundle: Callable[[str], Path], board: Callable[..., Jetson], tmp_path: Path
) -> None:
    folder = measured_folder(runs, bundle, board, tmp_path / "run")
    page = CliRunner().invoke(cli, ["report", str(folder)]).output
    assert "power mode 15W" in page and "int8: median 0.41" in page and "fp16: median 0.532 ms" in page
    assert NOT_MEASURED not in page
    summary = collect(find_files([folder]))
    assert not [item for item in summary.missing if "latency" in item.what]
    assert {(speed.where, speed.precision, speed.value) for speed in summary.speeds} == {
        ("jetson", "int8", 0.4105),
        ("jetson", "fp16", 0.532),
    }
    values = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps({**values, "bundle_digest": "0" * 64}))
    assert NOT_MEASURED in CliRunner().invoke(cli, ["report", str(folder)]).output  # it is of another bundle


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "repghost-jetson"),
        ({"board": 3}, "board is 3"),
        ({"size": True}, "size is True"),
        ({"size": "96x"}, "size is '96x'"),
        ({"results": []}, "no results"),
        ({"results": [{"precision": "int4"}]}, "int4"),
        ({"results": [{"precision": "int8", "min_ms": 1.0}]}, "median_ms"),
        ({"results": [{"precision": "int8", "min_ms": 1.0, "median_ms": -1.0}]}, "median_ms is -1"),
        ({"results": [{"precision": "int8", "min_ms": 1.0, "median_ms": 1.0, "gpu_mhz_min": "x"}]}, "gpu_mhz_min"),
    ],
)
def test_a_damaged_measurement_is_named(
    runs: Runs,
    bundle: Callable[[str], Path],
    board: Callable[..., Jetson],
    tmp_path: Path,
    change: dict[str, Any],
    words: str,
) -> None:
    from compile.tensorrt.measurement import check_measurement

    values = {
        "format": "repghost-jetson-measurement", "version": 1, "model": "m", "weights": "random", "size": 32,
        "batch": 1, "bundle_digest": "0", "board": "b", "power_mode": "p", "jetpack": "6", "tensorrt": "10.3.0",
        "cuda": "12.6",
        "results": [{"precision": "int8", "min_ms": 1.0, "median_ms": 1.5}],
    }  # fmt: skip
    check_measurement(values, "good.json")
    check_measurement({**values, "size": "96x160"}, "wide.json")
    with pytest.raises(IntegrityError, match=words):
        check_measurement({**values, **change}, "bad.json")


@pytest.mark.slow
def test_verify_replays_the_samples(runs: Runs) -> None:
    shown = CliRunner().invoke(cli, ["verify", str(runs.bundle("6")), "--json"])
    assert shown.exit_code == 0, shown.output
    replays = json.loads(shown.output)["replays"]
    assert [(it["variant"], it["pictures"]) for it in replays] == [("int8", 8), ("fp16", 8)]
    for it in replays:
        assert 0 <= it["largest_difference"] <= it["tolerance"] < math.inf
    one = CliRunner().invoke(cli, ["verify", str(runs.bundle("5")), "--variant", "int8"])
    assert one.exit_code == 0 and "fp16" not in one.output
    for arguments, words in (
        (["--variant", "int4"], "Did you mean 'int8'"),
        (["--vectors", "x"], "samples of its own"),
    ):
        wrong = CliRunner().invoke(cli, ["verify", str(runs.bundle("5")), *arguments])
        assert wrong.exit_code == 2 and words in wrong.output


def rewrite(folder: Path, changes: dict[str, bytes]) -> None:
    """Change files of a bundle and its manifest with them, as somebody would who wants to be believed."""
    import hashlib

    manifest = json.loads((folder / "manifest.json").read_text())
    for name, content in changes.items():
        (folder / name).write_bytes(content)
        manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _other_weight(content: bytes) -> bytes:
    model = onnx.ModelProto.FromString(content)
    weight = next(value for value in model.graph.initializer if value.name.endswith(".bias"))
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) + np.float16(3), weight.name))
    return bytes(model.SerializeToString())


@pytest.mark.slow
def test_verify_sees_what_digests_cannot(bundle: Callable[[str], Path]) -> None:
    folder = bundle("6")
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    lines = good["promise.txt"].decode().splitlines()
    flipped = "\n".join([lines[0], lines[1].replace("int8", "float"), *lines[2:]]) + "\n"
    for changes, words in (
        ({"int8.onnx": _other_weight(good["int8.onnx"])}, "int8.onnx gives logits that differ"),
        ({"fp16.onnx": good["int8.onnx"][:-9]}, "fp16.onnx is no valid ONNX"),
        ({"int8.onnx": good["fp16.onnx"]}, "breaks a rule of TensorRT"),
        ({"promise.txt": flipped.encode()}, "name different int8 layers"),
        ({"sample-3.bin": good["sample-3.bin"][4:]}, "samples must be float32"),
        ({"expected-fp16.txt": b"1 2 3\n"}, r"expected-fp16.txt is \(1, 3\)"),
        ({"expected-int8.txt": good["expected-int8.txt"].replace(b"-", b"x", 1)}, "cannot be read"),
    ):
        rewrite(folder, changes)
        done = CliRunner().invoke(cli, ["verify", str(folder)])
        assert done.exit_code == 6, (words, done.output)
        assert words.replace("\\", "") in done.output
        rewrite(folder, {name: good[name] for name in changes})
    assert CliRunner().invoke(cli, ["verify", str(folder)]).exit_code == 0


@pytest.mark.slow
def test_another_network_becomes_a_bundle(runs: Runs, tmp_path: Path) -> None:
    """Of maps that are not square; its layers and its file bear its own names."""
    pytest.importorskip("torchvision")
    request = runs.request("6", model="torchvision:squeezenet1_1", size=(96, 64), output=tmp_path)
    report = run(request, lambda line: None)
    assert report["verification"]["verified"] and report["quantization"]["int8_layers"] == 26
    folder = Path(report["folder"]) / "jetson"
    model = onnx.load(folder / "int8.onnx")
    assert model.graph.name == "squeezenet1_1"
    sides = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert sides == [1, 3, 96, 64]
    assert "classifier.1 int8" in (folder / "promise.txt").read_text()


def test_one_changed_byte_is_seen(bundle: Callable[[str], Path]) -> None:
    folder = bundle("6")
    content = bytearray((folder / "calibration.cache").read_bytes())
    content[-3] ^= 1
    (folder / "calibration.cache").write_bytes(bytes(content))
    done = CliRunner().invoke(cli, ["verify", str(folder)])
    assert done.exit_code == 6 and "calibration.cache was changed" in done.output


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"jetpack": "4"}, "unknown JetPack '4'; allowed: 5, 6, 7"),
        ({"squeeze_excite": "half"}, "unknown choice for squeeze_excite 'half'"),
        ({"depthwise": "int4"}, "unknown choice for depthwise 'int4'.*Did you mean 'int8'"),
        ({"weights": "absent.safetensors", "data": Path("absent")}, "absent"),
    ],
)
def test_wrong_requests_are_named(runs: Runs, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run(replace(runs.request("6", output=tmp_path / "out"), **changes), lambda line: None)
    assert not (tmp_path / "out").exists()


def test_a_quantized_file_is_refused_with_the_way_to_check_it(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "net.qdq.onnx"
    shutil.copy(runs.bundle("5") / "int8.onnx", path)
    with pytest.raises(UsageError, match=r"net\.qdq\.onnx"):
        run(runs.request("5", output=tmp_path / "out", weights=str(path), size=None), lambda line: None)


def test_a_config_with_zero_points_is_refused(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"policy": "cpu"}')
    with pytest.raises(UsageError, match="has zero points; TensorRT takes only symmetric"):
        run(runs.request("6", output=tmp_path / "out", config=path), lambda line: None)


@pytest.mark.slow
def test_a_gate_without_a_measurement_fails_after_the_bundle_is_written(runs: Runs) -> None:
    with pytest.raises(AccuracyGateError, match="none was measured: the weights are random"):
        run(runs.request("6", max_drop=1.0), lambda line: None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bench"], "is for jetson and holds no vectors.bin"),
        (["explain"], "promise.txt says what each layer"),
        (["bench", "--on", "user@nowhere"], "sh repghost/current/measure.sh > jetson-measurement.json"),
    ],
)
def test_commands_that_need_a_runner_say_what_to_do(runs: Runs, arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(cli, [arguments[0], str(runs.bundle("6")), *arguments[1:]])
    assert done.exit_code == 2 and words in done.output, done.output
