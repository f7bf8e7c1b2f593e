"""One integer program on every machine: the carried network on real images, from checkpoint to emulated cores.

The same run builds it in half precision, which has to answer as float32 does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.fp16_agreement import predictions
from calib.ptq.apply import quantize_graph
from calib.settings.config import QuantConfig
from calib.simulate.exact import ExactNetwork
from compile.bundle.host_model import load
from compile.bundle.manifest import check_bundle
from compile.bundle.vectors import Vectors, pack_vectors, unpack_vectors
from compile.machine.emulator import find_emulator
from compile.machine.execute import machine_for
from compile.machine.replay import verify_bundle
from compile.pipeline import run
from compile.storage.measurements import Measurements
from compile.subject.load import load_subject
from compile.subject.request import Request, SubjectRequest
from compile.subject.subject import FloatSubject
from compile.targets.precisions import FP16, FP32, INT8, PRECISIONS
from compile.targets.table import ARM64, host_target
from repghost import bundled
from repghost.data import open_dataset
from repghost.errors import IntegrityError, ToolMissingError
from repghost.graph.trace import graph_of
from tests.support import ROOT
from tests.support.rounding_mode import in_every_mode

pytestmark = pytest.mark.slow  # every test needs a whole run of `make compile`

IMAGES = 100
CALIBRATED = 32  # images; all 512 of the default take half a minute more
HALF_AGREEMENT = 0.995  # of the answers of half precision with those of float32
EMULATED = {"neon": "cortex-a53", "dot": "cortex-a76", "i8mm": "max"}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="module")
def report(output: Path) -> dict[str, Any]:
    few = {"calibration_images": CALIBRATED, "test_images": 1000}
    request = Request("arm64", (INT8, FP32, FP16), **few, output=output, fetch=False, jobs=2)
    return run(request, lambda line: None)


def build(report: dict[str, Any], target: str, precision: str = "int8") -> dict[str, Any]:
    found: dict[str, Any] = next(it for it in report["builds"] if it["folder"] == f"{target}/{precision}")
    return found


def folder(report: dict[str, Any], target: str, precision: str = "int8") -> Path:
    return Path(report["folder"]) / str(build(report, target, precision)["folder"])


def own_target() -> str:
    """The folder of the builds that this machine runs."""
    target = host_target()
    if target is None:
        pytest.skip("no target fits this machine")
    return "arm64" if target is ARM64 else "host"


def recorded(report: dict[str, Any], target: str) -> Vectors:
    return unpack_vectors((folder(report, target) / "vectors.bin").read_bytes())


def replays(report: dict[str, Any], target: str, precision: str = "int8") -> dict[str, dict[str, Any]]:
    found = build(report, target, precision)["verification"]["replays"]
    return {replay["variant"]: replay for replay in found}


def test_fake_quant_equals_the_numpy_reference(report: dict[str, Any]) -> None:
    subject = load_subject(SubjectRequest(calibration_images=CALIBRATED, test_images=IMAGES))
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
    found = replays(report, own_target())
    assert found and all(replay["pictures"] >= IMAGES for replay in found.values())


@pytest.mark.parametrize(
    ("name", "precision"), [("arm64", "int8"), ("arm64", "fp16"), ("host", "int8"), ("host", "fp32")]
)
def test_the_mode_the_calling_thread_rounds_in_changes_nothing(
    report: dict[str, Any], name: str, precision: str, tmp_path: Path
) -> None:
    target, name = (ARM64, name) if name == "arm64" else (host_target(), own_target())
    assert target is not None
    try:
        machine = machine_for(target, target.variants_for(PRECISIONS[precision].element)[-1])
    except ToolMissingError as error:
        pytest.skip(str(error))
    vectors, library = recorded(report, name), folder(report, name, precision) / "model.so"
    classes = vectors.logits.shape[1]
    assert in_every_mode(library, vectors.images[0], classes, target, machine.prefix, tmp_path) == "same"


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
    assert accuracy["measured"] and accuracy["fp32"]["pictures"] == 1000
    lost = accuracy["fp32"]["correct"] - accuracy["int8"]["correct"]
    assert lost == accuracy["change"]["only_before"] - accuracy["change"]["only_after"]
    assert lost <= 10  # 1 point of 1000 images


def test_one_changed_weight_byte_is_found(report: dict[str, Any], tmp_path: Path) -> None:
    source = folder(report, own_target())
    copy = tmp_path / "bundle"
    copy.mkdir()
    for path in source.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    model = bytearray((copy / "model.so").read_bytes())
    model[len(model) // 2] ^= 1
    (copy / "model.so").write_bytes(bytes(model))
    with pytest.raises(IntegrityError, match=r"model\.so"):
        verify_bundle(copy)


def test_every_precision_is_built_verified_and_measured(report: dict[str, Any]) -> None:
    builds = {build["folder"]: build for build in report["builds"]}
    own = own_target()
    assert set(builds) == {"arm64/int8", "arm64/fp32", "arm64/fp16", f"{own}/int8", f"{own}/fp32"}
    assert all(builds[f"{own}/{name}"]["latency"]["median_ms"] > 0 for name in ("int8", "fp32"))
    for replay in builds[f"{own}/int8"]["verification"]["replays"]:
        assert (replay["pictures"], replay["tolerance"], replay["largest_difference"]) == (100, 0.0, 0.0)
    for replay in builds[f"{own}/fp32"]["verification"]["replays"]:
        assert 0 < replay["tolerance"] < 0.01
        assert replay["largest_difference"] <= replay["tolerance"]


def test_the_carried_network_loses_little(report: dict[str, Any]) -> None:
    record = report["accuracy"]
    assert record["change"]["pictures"] == 1000
    assert record["fp32"]["top1"] > 0.88
    assert record["change"]["difference"] > -0.02
    assert record["fp32_build"]["agreeing"] >= 998, "float builds round differently from PyTorch, but not much"


def test_the_host_bundle_classifies_from_python(report: dict[str, Any]) -> None:
    model = load(folder(report, own_target()))
    dataset = open_dataset(bundled.DATA, "test")
    images = [dataset[index] for index in range(0, 10000, 250)]
    predictions = [model(image).index for image, _ in images]
    assert np.mean(np.asarray(predictions) == [label for _, label in images]) > 0.75
    assert model.labels == dataset.classes


def test_one_changed_expectation_is_noticed(report: dict[str, Any], tmp_path: Path) -> None:
    bundle = folder(report, own_target())
    vectors = unpack_vectors(check_bundle(bundle).read("vectors.bin"))
    logits = vectors.logits.copy()
    logits[50, 3] = np.nextafter(logits[50, 3], np.float32(np.inf))
    path = tmp_path / "vectors.bin"
    path.write_bytes(pack_vectors(Vectors(vectors.images, logits)))
    with pytest.raises(IntegrityError, match="1 of 100 recorded pictures"):
        verify_bundle(bundle, vectors=path)


def test_the_python_of_the_readme_runs(report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, here = Path(report["folder"]), tmp_path / "build/repghostnet_0_5x-64px"
    here.mkdir(parents=True)
    (here / "model.qdq.onnx").symlink_to(made / "model.qdq.onnx")
    (here / "host").symlink_to(made / own_target())
    open_dataset(bundled.DATA, "test")[0][0].save(tmp_path / "shirt.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for page in (ROOT / "README.md", ROOT / "docs/reference.md"):
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            exec(compile(block, page.name, "exec"), names)
    assert 0 < names["prediction"].probability <= 1
    recorded = unpack_vectors(check_bundle(folder(report, own_target())).read("vectors.bin"))
    np.testing.assert_array_equal(names["logits"], recorded.logits)
