from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from calib.settings.config import QuantConfig
from compile import pipeline
from compile.bundle.host_model import load
from compile.bundle.manifest import check_bundle
from compile.bundle.vectors import unpack_vectors
from compile.machine.facts import cpu_flags
from compile.pipeline import run
from compile.report.run_report import read_report
from compile.stages import compile_networks as building
from compile.stages import quantize as stages
from compile.stages.evaluate import HOST_BUILD
from compile.storage import files as storage_files
from compile.storage.stage_cache import StageCache
from compile.subject.from_random_weights import random_subject
from compile.subject.load import load_subject
from compile.subject.noise import RANDOM_IMAGES, noise_images
from compile.subject.request import Request, SubjectRequest
from compile.targets.precisions import INT8, PRECISIONS, parse_precisions
from compile.targets.table import ARM64, Target
from repghost.checkpoints.checkpoint import load_model, write_checkpoint
from repghost.cli import cli
from repghost.data.images.preprocess import Preprocess
from repghost.errors import AccuracyGateError, IntegrityError, UsageError
from tests.support import ROOT
from tests.support.oracle_network import Oracle, oracle

SIZE = 32
CLASSES = ("blue", "green", "red")
NETWORKS = {"model.fused.safetensors", "model.qdq.onnx"}
STAGES = ["load", "fuse", "calibrate", "write QDQ", "lower", "expect", "compile", "link", "judge", "error", "pack"]
STAGES += ["verify", "measure", "report"]


def write_images(folder: Path, splits: dict[str, int]) -> Path:
    noise = noise_images(sum(splits.values()) * 3, 40, seed=1)
    for split, count in splits.items():
        for label in CLASSES:
            (folder / split / label).mkdir(parents=True)
            for index in range(count):
                image, noise = noise[0], noise[1:]
                Image.fromarray(image).save(folder / split / label / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data") / "pictures", {"train": 4, "test": 6})


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = random_subject("0.5", SIZE, seed=3).model
    model.reset_classifier(len(CLASSES))
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    write_checkpoint(path, model, Preprocess(size=SIZE, resize=SIZE).to_dict(), CLASSES)
    return path


@pytest.fixture(scope="module")
def predictions(weights: Path, data: Path) -> Oracle:
    subject = load_subject(SubjectRequest(weights=str(weights), data=data))
    assert subject.test is not None
    return oracle(subject.test.images)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Oracle], None]:
    return lambda compiler: monkeypatch.setattr("compile.codegen.program_to_objects.compile_program", compiler)


@pytest.fixture(scope="module")
def finished(weights: Path, data: Path, predictions: Oracle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run for the host."""
    output = tmp_path_factory.mktemp("finished") / "build"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compile.codegen.program_to_objects.compile_program", predictions)
        run(request_for(weights, data, output), lambda line: None)
    return output


@pytest.fixture
def output(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, its cache included."""
    return Path(shutil.copytree(finished, tmp_path / "build"))


def request_for(checkpoint: Path, images: Path, output: Path, **changes: Any) -> Request:
    request = Request("host", (INT8,), weights=str(checkpoint), data=images, output=output, fetch=False)
    return replace(request, **changes)


@pytest.mark.slow
def test_a_run_from_weights_to_report(
    weights: Path, data: Path, predictions: Oracle, use: Callable[[Oracle], None], tmp_path: Path, host: Target
) -> None:
    use(predictions)
    lines: list[str] = []
    report = run(request_for(weights, data, tmp_path), lines.append)
    assert [line[:10].strip() for line in lines if not line.startswith(" ")] == STAGES
    ready = [line for line in lines if line.startswith("  compiled ")]
    assert ready and ready[-1].endswith(f", {len(ready)} of {len(ready)}")
    folder = tmp_path / "repghostnet_0_5x-32px"
    assert read_report(folder) == report
    assert {entry.name for entry in folder.iterdir()} == {*NETWORKS, "host", "report.json", "report.md"}
    build = report["builds"][0]
    assert (build["folder"], build["target"]) == ("host/int8", host.name)
    assert build["verification"]["verified"]
    assert build["latency"]["measured"]
    assert build["latency"]["median_ms"] > 0

    written = check_bundle(folder / "host/int8")
    assert written.digest == build["bundle_digest"]
    assert written.manifest["accuracy"] == report["accuracy"]
    assert written.manifest["program_digest"] == report["quantization"]["program_digest"]
    model = load(written.path)
    assert json.loads(model._library.rg_info())["program_digest"] == written.manifest["program_digest"]
    assert model.labels == CLASSES
    vectors = unpack_vectors(written.read("vectors.bin"))
    assert len(vectors.images) == 18
    assert np.array_equal(model.logits(vectors.images), vectors.logits)


@pytest.mark.slow
def test_the_reported_accuracy_is_that_of_the_integer_program(
    weights: Path, data: Path, predictions: Oracle, use: Callable[[Oracle], None], output: Path
) -> None:
    from calib.integer.reference import run as reference

    use(predictions)
    report = run(request_for(weights, data, output), lambda line: None)
    subject = load_subject(SubjectRequest(weights=str(weights), data=data))
    assert subject.test is not None
    program = stages.read_program(output / "repghostnet_0_5x-32px/model.qdq.onnx")
    right = reference(program, subject.test.images).argmax(1) == subject.test.labels
    record = report["accuracy"]
    assert (record["int8"]["correct"], record["int8"]["pictures"]) == (int(right.sum()), 18)
    assert record["int8"]["by"] == HOST_BUILD
    assert record["int8"]["checked_on"] == 18
    assert record["change"]["difference"] == pytest.approx(record["int8"]["top1"] - record["fp32"]["top1"])


@pytest.mark.slow
def test_a_second_run_computes_nothing_twice_and_gives_the_same_bundle(
    weights: Path, data: Path, predictions: Oracle, use: Callable[[Oracle], None], tmp_path: Path, host: Target
) -> None:
    calls = []

    def counted(program: Any, target: Target, compiler: object) -> Any:
        calls.append(target.name)
        return predictions(program, target)

    use(counted)
    first = run(request_for(weights, data, tmp_path), lambda line: None)
    lines: list[str] = []
    second = run(request_for(weights, data, tmp_path), lines.append)
    assert len(calls) == 1
    assert sum("as in an earlier run" in line for line in lines) == 3
    digests = [report["builds"][0]["bundle_digest"] for report in (first, second)]
    assert digests[0] == digests[1]
    shutil.rmtree(tmp_path / ".cache")
    again = run(request_for(weights, data, tmp_path), lambda line: None)
    assert again["builds"][0]["bundle_digest"] == digests[0]
    run(request_for(weights, data, tmp_path, calibration_images=6), lambda line: None)
    assert len(calls) == 3, "other calibration pictures give another program"


@pytest.mark.slow
def test_wrong_kernels_never_reach_a_bundle(
    weights: Path, data: Path, use: Callable[[Oracle], None], tmp_path: Path
) -> None:
    subject = load_subject(SubjectRequest(weights=str(weights), data=data))
    assert subject.test is not None
    use(oracle(subject.test.images, lie=True))
    with pytest.raises(IntegrityError, match="differ on 1 of 18 pictures"):
        run(request_for(weights, data, tmp_path), lambda line: None)
    folder = tmp_path / "repghostnet_0_5x-32px"
    assert {entry.name for entry in folder.iterdir()} == NETWORKS


@pytest.mark.slow
def test_the_gate_fails_after_the_report_is_written(
    weights: Path, data: Path, predictions: Oracle, use: Callable[[Oracle], None], output: Path
) -> None:
    use(predictions)
    with pytest.raises(AccuracyGateError, match="at most -100 were allowed") as caught:
        run(request_for(weights, data, output, max_drop=-100.0), lambda line: None)
    assert caught.value.exit_code == 3
    assert read_report(output / "repghostnet_0_5x-32px")["accuracy"]["measured"]
    run(request_for(weights, data, output, max_drop=100.0), lambda line: None)


@pytest.mark.slow
def test_without_an_emulator_the_bundle_is_built_and_the_report_says_so(
    weights: Path,
    data: Path,
    predictions: Oracle,
    use: Callable[[Oracle], None],
    output: Path,
    host: Target,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if host is ARM64:
        pytest.skip("arm64 bundles run here")
    use(predictions)
    monkeypatch.setattr("compile.machine.execute.find_emulator", lambda emulation: None)
    report = run(request_for(weights, data, output, target="arm64"), lambda line: None)
    arm64, own = report["builds"]
    assert (arm64["folder"], own["folder"]) == ("arm64/int8", "host/int8")
    assert not arm64["verification"]["verified"]
    path = output / "repghostnet_0_5x-32px/arm64/int8"
    assert arm64["verification"]["command"].endswith(f"repghost verify {path}")
    assert not arm64["latency"]["measured"]
    assert "bench" in arm64["latency"]["command"] and "--on" in arm64["latency"]["command"]
    page = (output / "repghostnet_0_5x-32px/report.md").read_text()
    assert "not verified under emulation" in page
    assert own["verification"]["verified"]
    used = [variant.name for variant in host.only_used(cpu_flags(), "int8").variants]
    assert check_bundle(output / "repghostnet_0_5x-32px/host/int8").manifest["variants"] == used
    # A later run for the host keeps what is known about the arm64 bundle, and has every instruction set.
    later = run(request_for(weights, data, output), lambda line: None)
    assert [build["folder"] for build in later["builds"]] == ["host/int8", "arm64/int8"]
    variants = check_bundle(output / "repghostnet_0_5x-32px/host/int8").manifest["variants"]
    assert variants == [variant.name for variant in host.variants_for("int8")]


@pytest.mark.slow
def test_a_stopped_run_leaves_the_bundle_as_it_was(
    weights: Path,
    data: Path,
    predictions: Oracle,
    use: Callable[[Oracle], None],
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(predictions)
    run(request_for(weights, data, output), lambda line: None)
    path = output / "repghostnet_0_5x-32px/host/int8"
    before = check_bundle(path).digest

    def stop_at(real: Callable[..., Any], is_bundle: Callable[[Path], bool]) -> Callable[..., Any]:
        def stopped(path: Path, *arguments: Any, **options: Any) -> Any:
            if is_bundle(path):
                raise KeyboardInterrupt
            return real(path, *arguments, **options)

        return stopped

    # Only a bundle has labels, so the entries of the cache are written as usual.
    moments = {
        "write_new_file": lambda file: file.name == "labels.txt",
        "put_folder": lambda folder: (folder / "labels.txt").exists(),
    }
    for function, is_bundle in moments.items():
        with monkeypatch.context() as patch:
            patch.setattr(storage_files, function, stop_at(getattr(storage_files, function), is_bundle))
            with pytest.raises(KeyboardInterrupt):
                run(request_for(weights, data, output, calibration_images=9), lambda line: None)
        assert check_bundle(path).digest == before
        assert {entry.name for entry in path.parent.iterdir()} == {"int8", "int8.md"}


@pytest.mark.slow
def test_other_weights_are_refused_and_further_trained_ones_are_not(
    weights: Path, data: Path, predictions: Oracle, use: Callable[[Oracle], None], output: Path, tmp_path: Path
) -> None:
    use(predictions)
    mine = tmp_path / "mine.safetensors"
    shutil.copy(weights, mine)
    run(request_for(mine, data, output), lambda line: None)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    other = tmp_path / "other" / "mine.safetensors"
    write_checkpoint(other, load_model(weights), Preprocess(size=SIZE, resize=SIZE).to_dict(), CLASSES, {"epoch": 2})
    with pytest.raises(UsageError, match=r"name=NAME makes .*/repghostnet_0_5x-32px-NAME"):
        run(request_for(other, data, output), lambda line: None)
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    named = run(request_for(other, data, output, name="july"), lambda line: None)
    assert named["folder"] == str(output / "repghostnet_0_5x-32px-july")
    assert check_bundle(Path(named["folder"]) / "host/int8").manifest["model"]["weights"]["sha256"] != sha256(mine)
    shutil.copy(other, mine)
    again = run(request_for(mine, data, output), lambda line: None)
    assert again["folder"] == str(output / "repghostnet_0_5x-32px")
    assert again["weights"]["sha256"] == sha256(mine)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_file_that_is_already_quantized(
    data: Path, predictions: Oracle, use: Callable[[Oracle], None], finished: Path, tmp_path: Path
) -> None:
    use(predictions)
    earlier = read_report(finished / "repghostnet_0_5x-32px")
    qdq = tmp_path / "mine.qdq.onnx"
    shutil.copy(finished / "repghostnet_0_5x-32px/model.qdq.onnx", qdq)
    lines: list[str] = []
    report = run(request_for(qdq, data, tmp_path / "build"), lines.append)
    stages = [line[:10].strip() for line in lines if not line.startswith(" ")]
    assert stages == [name for name in STAGES if name not in ("fuse", "calibrate", "error")]
    assert report["model"]["name"] == "repghostnet_0_5x"
    assert report["accuracy"]["int8"] == earlier["accuracy"]["int8"]
    assert report["accuracy"]["fp32"] is None
    assert report["quantization"] == {**earlier["quantization"], "sqnr": None}  # it has no float form to compare with
    page = (tmp_path / "build/repghostnet_0_5x-32px/report.md").read_text()
    assert "fp32 top-1 and change: not measured (a quantized file has no float form)" in page
    with pytest.raises(AccuracyGateError, match="none was measured"):
        run(request_for(qdq, data, tmp_path / "build", max_drop=1.0), lambda line: None)
    use(oracle(noise_images(RANDOM_IMAGES, SIZE, seed=0)))  # without a set, noise is recorded
    unevaluated = run(request_for(qdq, data, tmp_path / "unjudged", data=None), lambda line: None)
    assert not unevaluated["accuracy"]["measured"]


@pytest.mark.slow
def test_a_foreign_file_gets_its_preprocessing_from_the_user(
    data: Path, use: Callable[[Oracle], None], predictions: Oracle, finished: Path, tmp_path: Path
) -> None:
    import onnx

    use(predictions)
    model = onnx.load(finished / "repghostnet_0_5x-32px/model.qdq.onnx")
    del model.metadata_props[:]
    foreign, rule = tmp_path / "a net.onnx", tmp_path / "preprocess.json"
    onnx.save(model, foreign)
    with pytest.raises(UsageError, match="does not say how pictures are prepared"):
        run(request_for(foreign, data, tmp_path / "build"), lambda line: None)
    rule.write_text(json.dumps(Preprocess(size=SIZE, resize=SIZE).to_dict()))
    report = run(request_for(foreign, data, tmp_path / "build", preprocess=rule), lambda line: None)
    assert report["folder"].endswith("a_net-32px")
    assert "not recorded in the file" in (tmp_path / "build/a_net-32px/report.md").read_text()
    assert load(tmp_path / "build/a_net-32px/host/int8").labels == CLASSES


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["truncated", "no onnx", "float", "other size", "other width", "fp32"])
def test_a_wrong_quantized_file_is_named(data: Path, finished: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file.onnx"
    content = (finished / "repghostnet_0_5x-32px/model.qdq.onnx").read_bytes()
    changes: dict[str, Any] = {}
    if kind == "truncated":
        content = content[: len(content) // 2]
    elif kind == "no onnx":
        content = b"hello"
    elif kind == "float":
        import onnx
        from onnx import TensorProto, helper

        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("x", "y")]
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "float", values[:1], values[1:])
        content = onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    elif kind == "other size":
        changes["size"] = 64
    elif kind == "other width":
        changes["width"] = "2.0"
    else:
        changes["precisions"] = (PRECISIONS["fp32"],)
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"has no float form" if kind == "fp32" else r"file\.onnx"):
        run(request_for(path, data, tmp_path / "build", **changes), lambda line: None)
    # A good file that cannot be compiled as asked has been copied; nothing was made of it.
    left = {entry.name for entry in (tmp_path / "build").rglob("*") if entry.is_file()}
    assert left == ({"model.qdq.onnx"} if kind == "fp32" else set())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "amr64"}, "Did you mean 'arm64'"),
        ({"target": "jetson", "jetpack": "4"}, "unknown JetPack '4'; allowed: 5, 6, 7"),
        ({"width": "0.55"}, "has width 0.5, not 0.55"),
        ({"width": "abc"}, "unknown width"),
        ({"weights": "absent.safetensors"}, "absent.safetensors"),
        ({"data": None}, "needs data=DIR"),
        ({"data": Path("absent")}, "no such file or folder"),
        ({"weights": None, "data": None, "width": "2.0"}, "bundled weights are of width 0.5 only"),
        ({"preprocess": Path("absent.json")}, "absent.json"),
        ({"config": Path("absent.json")}, "absent.json"),
    ],
)
def test_wrong_requests_are_named_before_anything_is_written(
    weights: Path, data: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run(request_for(weights, data, tmp_path / "out", **changes), lambda line: None)
    assert not (tmp_path / "out").exists()


def test_other_classes_are_refused(weights: Path, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pictures", {"train": 2, "test": 2})
    for split in ("train", "test"):
        (folder / split / "red").rename(folder / split / "yellow")
    with pytest.raises(UsageError, match="'yellow'"):
        load_subject(SubjectRequest(weights=str(weights), data=folder))


def test_empty_calibration_set(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    for label in CLASSES:
        (folder / "train" / label).mkdir(parents=True)
    with pytest.raises(UsageError):
        load_subject(SubjectRequest(weights=str(weights), data=folder))


def test_no_image_both_chooses_and_evaluates(weights: Path, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pictures", {"test": 6})
    subject = load_subject(SubjectRequest(weights=str(weights), data=folder, calibration_images=5))
    assert subject.test is not None
    assert (len(subject.calibration.labels), len(subject.test.labels)) == (5, 13)
    evaluated = {image.tobytes() for image in subject.test.images}
    assert not evaluated & {image.tobytes() for image in subject.calibration.images}
    assert "left out" in subject.calibration.origin["split"]


def test_copies_among_the_images_that_calibrate_are_counted(weights: Path, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pictures", {"train": 4, "test": 2})
    (note,) = load_subject(SubjectRequest(weights=str(weights), data=copied(folder))).notes
    assert note.startswith("3 of 15 pictures to calibrate with are copies of others among them; 12 different ones")


def copied(folder: Path) -> Path:
    """Put a copy of one training image of each class beside it."""
    for label in CLASSES:
        shutil.copy(folder / "train" / label / "0.png", folder / "train" / label / "copy of 0.png")
    return folder


def test_images_without_a_test_split_are_not_evaluated(weights: Path, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pictures", {"train": 2})
    subject = load_subject(SubjectRequest(weights=str(weights), data=folder))
    assert subject.test is None
    assert subject.unmeasured == "pictures has no test split"


@pytest.mark.slow
def test_random_weights_are_asked_for_and_say_so() -> None:
    subject = random_subject("1.11", SIZE, seed=0)
    assert subject.folder == "repghostnet_1_11x-32px-random"
    assert subject.test is None
    again = random_subject("1.11", SIZE, seed=0)
    assert again.digest == subject.digest
    assert random_subject("1.11", SIZE, seed=1).digest != subject.digest


@pytest.mark.slow
def test_answers_of_random_weights_choose_no_ranges(weights: Path, data: Path) -> None:
    config = QuantConfig()
    assert config.ranges_by_answers
    assert not stages.settle(config, random_subject("0.5", 32, seed=0)).ranges_by_answers
    trained = load_subject(SubjectRequest(weights=str(weights), data=data, calibration_images=4, test_images=4))
    assert stages.settle(config, trained) == config


@pytest.mark.parametrize(("width", "size"), [("0.5", 64), ("1.3", 32)])
def test_random_weights_have_sane_statistics(width: str, size: int) -> None:
    import torch

    from repghost.network.fuse import check_equivalence, fuse

    subject = random_subject(width, size, seed=0)
    with torch.inference_mode():
        features = subject.model.forward_features(
            torch.from_numpy(subject.preprocess.normalize(subject.calibration.images))
        )
    assert 0.1 < float(features.std()) < 10
    check_equivalence(subject.model, fuse(subject.model))  # impossible where a variance is nothing but rounding


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "index", "folder"])
def test_a_damaged_cache_entry_is_made_anew(tmp_path: Path, damage: str) -> None:
    cache = StageCache(tmp_path)
    made = []

    def make() -> dict[str, bytes]:
        made.append(1)
        return {"a.bin": b"content", "b.bin": b""}

    assert cache.get("stage", {"x": 1}, make) == ({"a.bin": b"content", "b.bin": b""}, False)
    assert cache.get("stage", {"x": 1}, make)[1]
    (entry,) = tmp_path.iterdir()
    if damage == "flip":
        (entry / "a.bin").write_bytes(b"Content")
    elif damage == "truncate":
        (entry / "a.bin").write_bytes(b"")
    elif damage == "remove":
        (entry / "b.bin").unlink()
    elif damage == "index":
        (entry / "index.json").write_bytes(b'{"files": {"../../x": "00"}}')
    else:
        shutil.rmtree(entry)
    assert cache.get("stage", {"x": 1}, make) == ({"a.bin": b"content", "b.bin": b""}, False)
    assert len(made) == 2
    assert cache.get("stage", {"x": 2}, make)[1] is False


def test_a_compiled_network_survives_the_cache(host: Target) -> None:
    from tests.support.fake_network import fake_network

    network = fake_network(host)
    assert building.unpack_network(building.pack_network(network)) == network


def test_precisions_are_a_table() -> None:
    assert parse_precisions("int8") == (INT8,)
    assert parse_precisions(" int8,int8 ") == (INT8,)
    for text, message in [("", "no precision"), ("int9", "Did you mean 'int8'")]:
        with pytest.raises(UsageError, match=message):
            parse_precisions(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compile", "--target", "amr64"], "Did you mean 'arm64'"),
        (["compile", "--target", "jetson", "--precision", "fp32"], "always holds int8 and fp16"),
        (["compile", "--target", "arm64", "--precision", "int4"], "unknown precision 'int4'"),
        (["compile", "--target", "arm64", "--width", "0.55"], "Did you mean '0.5'|weights are of width 0.5 only"),
        (["verify", "absent"], "is no folder"),
        (["report", "absent"], "absent does not exist"),
    ],
)
def test_the_command_line_explains_errors(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert re.search(message, result.output), result.output


@pytest.mark.slow
@pytest.mark.parametrize("target", ["arm64", "x86-64"])
def test_another_target_does_not_calibrate_again(
    target: str, weights: Path, data: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReachedError(Exception):
        """The stage after the ones in question began."""

    def stop(*_: Any) -> Any:
        raise ReachedError

    def calibrate(*_: Any, **__: Any) -> Any:
        raise AssertionError("calibrated again")

    monkeypatch.setattr(pipeline, "compile_all", stop)
    monkeypatch.setattr("calib.quantize.quantize_network", calibrate)
    lines: list[str] = []
    with pytest.raises(ReachedError):
        run(request_for(weights, data, output, target=target), lines.append)
    (line,) = [line for line in lines if line.startswith("calibrate")]
    assert line.endswith("as in an earlier run")


def test_stage_names_are_the_ones_the_readme_names() -> None:
    text = (ROOT / "docs/reference.md").read_text()
    for stage in STAGES:
        assert f"`{stage}`" in text, stage
