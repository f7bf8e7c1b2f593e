"""build.sh, check.sh and measure.sh, run against stand-ins that say what each TensorRT says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compile.bundle.manifest import MANIFEST
from compile.storage.files import sha256
from compile.tensorrt.bundle_files import SCRIPTS
from compile.tensorrt.measurement import check_measurement, throttled
from tests.support.jetson import Jetson

Board = Callable[..., Jetson]
Copy = Callable[[str], Path]
EVERY = [("5", "8.5.2"), ("5", "8.6.2"), ("6", "10.3.0"), ("7", "10.13.3"), ("7", "11.4.1")]
FLAGS = {"5": "--int8 --fp16", "6": "--stronglyTyped", "7": "--stronglyTyped"}


def promised(bundle: Path, kind: str = "int8") -> list[str]:
    lines = [line.split() for line in (bundle / "promise.txt").read_text().splitlines()]
    return [name for name, promise in lines if promise == kind]


@pytest.mark.slow
@pytest.mark.parametrize(("jetpack", "version"), EVERY)
def test_the_three_commands(bundle: Copy, board: Board, jetpack: str, version: str) -> None:
    jetson, folder = board(jetpack, version), bundle(jetpack)
    built = jetson.run(folder, "build.sh")
    assert built.returncode == 0, built.stderr
    key = f"NVIDIA-Jetson-Orin-Nano-Developer-Kit.tensorrt-{version}.cuda-12.6.68"
    engines = {path.name for path in (folder / "engines").glob("*.engine")}
    assert engines == {f"int8.{key}.engine", f"fp16.{key}.engine"}
    text = (folder / f"engines/int8.{key}.engine").read_text()
    assert text.startswith(f"{version} int8 --onnx=int8.onnx {FLAGS[jetpack]} ")
    assert "--calib" not in text

    checked = jetson.run(folder, "check.sh")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"int8: {len(promised(folder))} of 96 layers, as promised" in checked.stdout
    assert checked.stdout.count("equal within") == 16

    measured = jetson.run(folder, "measure.sh")
    assert measured.returncode == 0, measured.stderr
    values = json.loads(measured.stdout)
    assert values == json.loads((folder / "measurement.json").read_text())
    check_measurement(values, "measurement.json")
    assert values["bundle_digest"] == sha256((folder / MANIFEST).read_bytes())
    assert (values["tensorrt"], values["cuda"], values["power_mode"]) == (version, "12.6.68", "15W")
    int8, fp16 = values["results"]
    assert (int8["precision"], int8["median_ms"], int8["p99_ms"]) == ("int8", 0.4105, pytest.approx(0.4105 * 1.3, 1e-5))
    assert (fp16["precision"], fp16["median_ms"]) == ("fp16", 0.532)
    assert (int8["gpu_mhz_min"], int8["temperature_c"]) == (612, 58.6)
    assert int8["power_mw"] == {"5": 5251, "6": 6321, "7": 7000}[jetpack]


@pytest.mark.slow
def test_an_engine_that_is_there_is_kept(bundle: Copy, board: Board) -> None:
    jetson, folder = board("6"), bundle("6")
    jetson.run(folder, "build.sh")
    jetson.fault = "parse"
    again = jetson.run(folder, "build.sh")
    assert again.returncode == 0 and "is there already" in again.stdout
    assert jetson.run(folder, "build.sh", "--force", "int8").returncode == 6


@pytest.mark.slow
@pytest.mark.parametrize("jetpack", ["5", "6", "7"])
@pytest.mark.parametrize("fault", ["float", "absent"])
def test_a_convolution_that_came_out_float_is_named(bundle: Copy, board: Board, jetpack: str, fault: str) -> None:
    folder = bundle(jetpack)
    layer = promised(folder)[7]
    jetson = board(jetpack, fault=f"{fault} {layer}")
    assert jetson.run(folder, "build.sh").returncode == 0
    checked = jetson.run(folder, "check.sh")
    assert checked.returncode == 6
    words = "came out float" if fault == "float" else "is not in the engine's list"
    assert f"error: {layer} was promised in int8 and {words}" in checked.stdout
    assert checked.stdout.count("was promised in int8") == 1
    assert jetson.run(folder, "check.sh", "fp16").returncode == 0


@pytest.mark.slow
def test_a_layer_that_was_promised_in_float_may_be_float(bundle: Copy, board: Board) -> None:
    folder = bundle("5")
    jetson = board("5", fault=f"float {promised(folder, 'float')[0]}")
    jetson.run(folder, "build.sh")
    assert jetson.run(folder, "check.sh").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("version", ["8.4.1", "8.6.2", "10.0.1", "10.13.0"])
@pytest.mark.parametrize("script", ["build.sh", "check.sh", "measure.sh"])
def test_another_tensorrt_is_refused(bundle: Copy, board: Board, version: str, script: str) -> None:
    done = board("6", version).run(bundle("6"), script)
    assert done.returncode == 4
    assert f"for JetPack 6 with TensorRT 10.3, this board has TensorRT {version}" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"version": "8.6.2"}, {"cuda": "11.8.0"}, {"model": "NVIDIA Jetson AGX Orin Developer Kit"}],
)
def test_an_engine_of_another_board_is_not_taken(bundle: Copy, board: Board, changes: dict[str, str]) -> None:
    jetson, folder = board("5"), bundle("5")
    jetson.run(folder, "build.sh")
    for name, value in changes.items():
        setattr(jetson, name, value)
    jetson.install()
    done = jetson.run(folder, "check.sh")
    assert done.returncode == 6
    assert "there is no int8 engine for" in done.stderr and "tensorrt-8.5.2.cuda-12.6.68" in done.stderr


@pytest.mark.slow
def test_an_engine_that_tensorrt_does_not_load(bundle: Copy, board: Board) -> None:
    jetson, folder = board("5"), bundle("5")
    jetson.run(folder, "build.sh")
    engine = next((folder / "engines").glob("int8.*.engine"))
    engine.write_text("8.4.1 int8\n")
    done = jetson.run(folder, "check.sh")
    assert done.returncode == 6
    assert "Version tag does not match" in done.stderr and "does not run" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("parse", "Failed to parse onnx file"),
        ("implementation", "Could not find any implementation for node stem"),
        ("killed", "did not build int8.onnx"),
        ("nothing written", "wrote no engine"),
    ],
)
@pytest.mark.parametrize(("jetpack", "version"), EVERY)
def test_a_failed_build_leaves_no_engine(
    bundle: Copy, board: Board, jetpack: str, version: str, fault: str, words: str
) -> None:
    folder = bundle(jetpack)
    done = board(jetpack, version, fault=fault).run(folder, "build.sh", "int8")
    assert done.returncode == 6
    assert words in done.stderr
    assert not list((folder / "engines").glob("*.engine")) and not list((folder / "engines").glob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "words"),
    [("wrong answer", "a logit differs by"), ("nan", "-nan is no number"), ("short", "999 values, not 1000")],
)
def test_wrong_answers_are_told(bundle: Copy, board: Board, fault: str, words: str) -> None:
    jetson, folder = board("6", fault=fault), bundle("6")
    jetson.run(folder, "build.sh")
    for kind in ("int8", "fp16"):
        done = jetson.run(folder, "check.sh", kind)
        assert done.returncode == 6
        assert words in done.stdout


@pytest.mark.slow
def test_names_without_types_are_no_proof(bundle: Copy, board: Board) -> None:
    jetson, folder = board("6", fault="names"), bundle("6")
    jetson.run(folder, "build.sh")
    done = jetson.run(folder, "check.sh")
    assert done.returncode == 6 and "names only" in done.stdout


def test_int8_without_ranges_is_refused(bundle: Copy, board: Board) -> None:
    jetson, folder = board("5"), bundle("5")
    shutil.copy(folder / "fp16.onnx", folder / "int8.onnx")
    done = jetson.run(folder, "build.sh", "int8")
    assert done.returncode == 6 and "no Q/DQ nodes" in done.stderr
    (folder / "calibration.cache").unlink()
    jetson.model = "NVIDIA Jetson AGX Orin Developer Kit"
    jetson.install()
    done = jetson.run(folder, "build.sh", "--dla", "0")
    assert done.returncode == 6 and "calibration.cache is missing" in done.stderr


def test_the_cache_names_the_version_that_reads_it(bundle: Copy, board: Board) -> None:
    jetson, folder = board("5", "8.6.2", model="NVIDIA Jetson Orin NX"), bundle("5")
    assert jetson.run(folder, "build.sh", "--dla", "0").returncode == 0
    cache = (folder / "engines/calibration.8.6.2.cache").read_text()
    assert cache.startswith("TRT-8602-EntropyCalibration2\ninput: ")


def test_dla_takes_its_ranges_from_the_cache(bundle: Copy, board: Board) -> None:
    jetson, folder = board("6", model="NVIDIA Jetson AGX Orin Developer Kit"), bundle("6")
    assert jetson.run(folder, "build.sh", "--dla", "1").returncode == 0
    text = next((folder / "engines").glob("dla.*.engine")).read_text()
    cache = "engines/calibration.10.3.0.cache"
    assert f"--onnx=fp16.onnx --int8 --fp16 --calib={cache} --useDLACore=1 --allowGPUFallback" in text
    head, _, rest = (folder / cache).read_text().partition("\n")
    assert head == "TRT-100300-EntropyCalibration2" and rest in (folder / "calibration.cache").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jetpack", "version", "model", "code", "words"),
    [
        ("6", "10.3.0", "NVIDIA Jetson Orin Nano Developer Kit", 2, "has no DLA"),
        ("7", "10.13.3", "NVIDIA Jetson AGX Thor Developer Kit", 2, "has no DLA"),
        ("7", "11.4.1", "NVIDIA Jetson AGX Orin Developer Kit", 4, "reads no calibration cache"),
    ],
)
def test_dla_where_there_is_none(
    bundle: Copy, board: Board, jetpack: str, version: str, model: str, code: int, words: str
) -> None:
    done = board(jetpack, version, model=model).run(bundle(jetpack), "build.sh", "--dla", "0")
    assert done.returncode == code and words in done.stderr


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("build.sh", ["int4"]), ("build.sh", ["--dla"]), ("build.sh", ["--dla", "2"]), ("check.sh", ["fp32"]),
        ("measure.sh", ["a", "b"]), ("measure.sh", ["--help"]),
    ],
)  # fmt: skip
def test_wrong_arguments(runs: Any, board: Board, script: str, arguments: list[str]) -> None:
    done = board("6").run(runs.bundle("6"), script, *arguments)
    assert done.returncode == 2 and done.stderr.startswith("error: ")


def test_a_missing_trtexec_is_named(runs: Any, board: Board) -> None:
    jetson = board("6")
    jetson.remove("trtexec")
    jetson.environment["TRTEXEC"] = "/nowhere/trtexec"
    done = jetson.run(runs.bundle("6"), "build.sh")
    assert done.returncode == 4 and "/nowhere/trtexec is missing" in done.stderr


def test_what_the_board_does_not_say_is_null(bundle: Copy, board: Board, tmp_path: Path) -> None:
    jetson, folder = board("6"), bundle("6")
    jetson.run(folder, "build.sh")
    jetson.remove("tegrastats")
    jetson.remove("nvpmodel")
    values = json.loads(jetson.run(folder, "measure.sh", "other.json", cwd=tmp_path).stdout)
    check_measurement(values, "other.json")
    assert values == json.loads((tmp_path / "other.json").read_text())  # where the caller stands
    assert values["power_mode"] == "unknown"
    assert values["results"][0]["gpu_mhz_min"] is None and values["results"][0]["temperature_c"] is None
    assert throttled(values["results"][0]) is None


def test_both_sides_of_a_picture_are_reported(bundle: Copy, board: Board) -> None:
    jetson, folder = board("6"), bundle("6")
    jetson.run(folder, "build.sh")
    settings = (folder / "settings.sh").read_text()
    (folder / "settings.sh").write_text(re.sub('SIZE="[0-9]+"', 'SIZE="96x160"', settings))
    values = json.loads(jetson.run(folder, "measure.sh", str(folder / "wide.json")).stdout)
    assert check_measurement(values, "wide.json")["size"] == "96x160"


def test_a_clock_that_falls_is_seen(bundle: Copy, board: Board) -> None:
    jetson, folder = board("6", mhz=(1020, 1020, 510)), bundle("6")
    jetson.run(folder, "build.sh")
    result = json.loads(jetson.run(folder, "measure.sh").stdout)["results"][0]
    assert (result["gpu_mhz_min"], result["gpu_mhz_max"]) == (510, 1020)
    assert throttled(result) is True


def test_a_run_without_figures_writes_nothing(bundle: Copy, board: Board) -> None:
    jetson, folder = board("6"), bundle("6")
    jetson.run(folder, "build.sh")
    jetson.fault = "no summary"
    done = jetson.run(folder, "measure.sh")
    assert done.returncode == 6 and "no GPU compute time" in done.stderr
    assert not (folder / "measurement.json").exists()


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = sorted(str(path) for path in SCRIPTS.glob("*.sh"))
    root = SCRIPTS.parent.parent.parent
    done = subprocess.run(
        ["shellcheck", "-x", "-s", "sh", *scripts], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_a_layer_may_have_any_name_that_an_import_gives(tmp_path: Path) -> None:
    """Names of others have hyphens, and one can be the beginning of another."""
    names = ["stem-1.conv", "stem-1", "stem"]
    (tmp_path / "promise.txt").write_text("".join(f"{name} int8\n" for name in names))
    layers = [
        {"Name": f"{name}.weight + {name} + {name}.relu", "LayerType": "CaskConvolution", "Weights": {"Type": "Int8"}}
        for name in names
    ]
    for left_out, words in ((0, "int8: 3 of 3 layers, as promised"), (1, "error: stem-1.conv was promised in int8")):
        (tmp_path / "layers.json").write_text(json.dumps({"Layers": layers[left_out:]}))
        arguments = ["-f", str(SCRIPTS / "layers.awk"), "promise.txt", "RS=}", "layers.json"]
        done = subprocess.run(
            ["awk", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert words in done.stdout and done.returncode == left_out
