"""One integer program on every machine: the carried network on real images, from checkpoint to emulated cores.

The same run builds it in half precision, which has to answer as float32 does.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.fp16_agreement import predictions
from calib.ptq.apply import quantize_graph
from calib.settings.config import QuantConfig
from calib.simulate.exact import ExactNetwork
from compile.bundle.manifest import check_bundle
from compile.bundle.vectors import Vectors, unpack_vectors
from compile.link.zig import run_zig
from compile.machine.emulator import find_emulator
from compile.machine.execute import machine_for
from compile.pipeline import run
from compile.storage.measurements import Measurements
from compile.subject.load import load_subject
from compile.subject.request import Request, SubjectRequest
from compile.subject.subject import FloatSubject
from compile.targets.precisions import FP16, INT8, PRECISIONS
from compile.targets.table import ARM64, host_target
from repghost.errors import IntegrityError, ToolMissingError
from repghost.graph.trace import graph_of

pytestmark = pytest.mark.slow  # every test needs two whole runs of `make compile`

IMAGES = 100
HALF_AGREEMENT = 0.995  # of the answers of half precision with those of float32
REPLAY = Path(__file__).with_name("rounding_mode.c")
EMULATED = {"neon": "cortex-a53", "dot": "cortex-a76", "i8mm": "max"}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="module")
def report(output: Path) -> dict[str, Any]:
    request = Request("arm64", (INT8, FP16), test_images=500, output=output, fetch=False, jobs=2)
    return run(request, lambda line: None)


def build(report: dict[str, Any], target: str, precision: str = "int8") -> dict[str, Any]:
    found: dict[str, Any] = next(it for it in report["builds"] if it["folder"] == f"{target}/{precision}")
    return found


def folder(report: dict[str, Any], target: str, precision: str = "int8") -> Path:
    return Path(report["folder"]) / str(build(report, target, precision)["folder"])


def recorded(report: dict[str, Any], target: str) -> Vectors:
    return unpack_vectors((folder(report, target) / "vectors.bin").read_bytes())


def replays(report: dict[str, Any], target: str, precision: str = "int8") -> dict[str, dict[str, Any]]:
    found = build(report, target, precision)["verification"]["replays"]
    return {replay["variant"]: replay for replay in found}


def test_fake_quant_equals_the_numpy_reference(report: dict[str, Any]) -> None:
    subject = load_subject(SubjectRequest(test_images=IMAGES))
    fused = graph_of(subject.fused)
    network = ExactNetwork(*quantize_graph(fused, subject.calibration.images, subject.preprocess, QuantConfig()))
    vectors = recorded(report, "arm64")
    assert len(vectors.images) >= IMAGES
    logits = network(torch.from_numpy(subject.preprocess.normalize(vectors.images))).numpy()
    assert np.array_equal(logits.view(np.int32), vectors.logits.view(np.int32))


@pytest.mark.parametrize("variant", EMULATED)
def test_every_arm_core_equals_the_numpy_reference(report: dict[str, Any], variant: str) -> None:
    if host_target() is not ARM64 and find_emulator() is None:
        pytest.skip("no qemu-aarch64; 'repghost doctor --fetch' gets one")
    replay = replays(report, "arm64")[variant]
    assert replay["pictures"] >= IMAGES
    assert host_target() is ARM64 or EMULATED[variant] in replay["machine"]


def test_this_machine_equals_the_numpy_reference(report: dict[str, Any]) -> None:
    target = host_target()
    if target is None:
        pytest.skip("no target fits this machine")
    found = replays(report, "arm64" if target is ARM64 else "host")
    assert found and all(replay["pictures"] >= IMAGES for replay in found.values())


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_the_mode_the_calling_thread_rounds_in_changes_nothing(
    report: dict[str, Any], precision: str, tmp_path: Path
) -> None:
    vectors = recorded(report, "arm64")
    (tmp_path / "picture").write_bytes(vectors.images[0].tobytes())
    bundle, program = folder(report, "arm64", precision), tmp_path / "rounding_mode"
    run_zig(["cc", "-target", ARM64.zig_triple, str(REPLAY), "-ldl", "-o", str(program)])
    try:
        machine = machine_for(ARM64, ARM64.variants_for(PRECISIONS[precision].element)[-1])
    except ToolMissingError as error:
        pytest.skip(str(error))
    arguments = [str(bundle / "model.so"), str(tmp_path / "picture"), str(vectors.logits.shape[1])]
    done = subprocess.run([*machine.prefix, str(program), *arguments], timeout=120, check=False)
    assert done.returncode == 0, {1: "other answers", 2: "the thread has another mode"}.get(done.returncode, "no run")


def test_half_precision_answers_as_float32(report: dict[str, Any], tmp_path: Path) -> None:
    if host_target() is not ARM64 and find_emulator() is None:
        pytest.skip("no qemu-aarch64; 'repghost doctor --fetch' gets one")
    replay = replays(report, "arm64", "fp16")["half"]
    assert replay["pictures"] >= IMAGES
    assert host_target() is ARM64 or "cortex-a76" in replay["machine"]
    subject = load_subject(SubjectRequest(calibration_images=1, test_images=500))
    assert isinstance(subject, FloatSubject) and subject.test is not None
    images = subject.test.images[:200]
    with torch.no_grad():
        logits = subject.fused(torch.from_numpy(subject.preprocess.normalize(images))).numpy()
    found = predictions(
        check_bundle(folder(report, "arm64", "fp16")), images, Measurements(tmp_path), lambda line: None
    )
    assert len(set(found.tolist())) > 5  # ten kinds of clothes: not one answer for all
    assert np.mean(found == logits.argmax(axis=1)) >= HALF_AGREEMENT


def test_quantization_costs_what_the_report_says_and_not_much(report: dict[str, Any]) -> None:
    accuracy = report["accuracy"]
    assert accuracy["measured"] and accuracy["fp32"]["pictures"] == 500
    lost = accuracy["fp32"]["correct"] - accuracy["int8"]["correct"]
    assert lost == accuracy["change"]["only_before"] - accuracy["change"]["only_after"]
    assert lost <= 5  # 1 point of 500 images


def test_one_changed_weight_byte_is_found(report: dict[str, Any], tmp_path: Path) -> None:
    from compile.machine.replay import verify_bundle

    target = host_target()
    if target is None:
        pytest.skip("no target fits this machine")
    source = folder(report, "arm64" if target is ARM64 else "host")
    copy = tmp_path / "bundle"
    copy.mkdir()
    for path in source.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    model = bytearray((copy / "model.so").read_bytes())
    model[len(model) // 2] ^= 1
    (copy / "model.so").write_bytes(bytes(model))
    with pytest.raises(IntegrityError, match=r"model\.so"):
        verify_bundle(copy)
