"""A detector and other files with several results for Jetson: the bundle, its scripts on a board, and the boxes."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from calib.integer.reference import run as run_integers
from compile.bundle.manifest import check_bundle
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from compile.subject.request import Request
from compile.summary.collect import collect, find_files
from compile.targets.precisions import INT8
from compile.tensorrt.bundle_files import SCRIPTS
from compile.tensorrt.evaluate import TorchNetwork
from compile.tensorrt.network.from_file import weight_scales
from compile.tensorrt.pipeline import run
from compile.tensorrt.verify import verify_engine_bundle
from repghost.api.training.built_detectors import keep_precision, open_built
from repghost.api.training.detectors import DetectorEvaluation
from repghost.cli import cli
from repghost.data import read_image
from repghost.data.images.preprocess import Preprocess
from repghost.detection import find_boxes as find_boxes_module
from repghost.detection.boxes import find_boxes
from repghost.detection.evaluate import Precision, Scores
from repghost.errors import IntegrityError, UsageError
from tests.compile.tensorrt.test_pipeline import rewrite
from tests.support.classify import written
from tests.support.draw_boxes import drawn_by_the_runner
from tests.support.image_files import black_png
from tests.support.jetson import Jetson
from tests.support.small_detector import LABELS, PREPROCESS, RULE, SIZE, detector_graph, pictures, quantized_detector

VERSIONS = [("5", "8.5.2"), ("6", "10.3.0"), ("7", "11.4.1")]
Board = Callable[..., Jetson]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, Path]:
    """The detector by policy, as `repghost quantize` writes it; and without its rule and names, as anybody's file."""
    found = {}
    for policy in ("cpu", "tensorrt"):
        found[policy] = folder / f"{policy}.qdq.onnx"
        found[policy].write_bytes(quantized_detector(policy).onnx.SerializeToString())
    model = onnx.load(found["cpu"])
    kept = [entry for entry in model.metadata_props if entry.key == "repghost.preprocess"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    found["plain"] = folder / "plain.qdq.onnx"
    onnx.save(model, found["plain"])
    return found


def request(path: Path, output: Path, **changes: Any) -> Request:
    return Request("jetson", (INT8,), **{"weights": str(path), "output": output, **changes})


@pytest.fixture(scope="module")
def made(files: dict[str, Path], folder: Path) -> Callable[[str, str], Path]:
    """What compiles one of the files for a JetPack, once; its bundle must not be changed."""
    done = dict[tuple[str, str], Path]()

    def make(kind: str, jetpack: str) -> Path:
        if (kind, jetpack) not in done:
            report = run(request(files[kind], folder / f"{kind}{jetpack}", jetpack=jetpack), lambda line: None)
            done[kind, jetpack] = Path(report["folder"]) / "jetson"
        return done[kind, jetpack]

    return make


@pytest.fixture
def board(tmp_path: Path) -> Board:
    def make(jetpack: str, version: str, **settings: Any) -> Jetson:
        jetson = Jetson(tmp_path / "board", jetpack, version, **settings)
        jetson.install()
        return jetson

    return make


@pytest.mark.parametrize("jetpack", ["5", "6"])
def test_a_bundle_says_its_results_as_those_of_cpus_do(made: Any, jetpack: str) -> None:
    bundle = check_bundle(made("tensorrt", jetpack))
    shapes = [(it["name"], it["height"], it["width"], it["channels"]) for it in bundle.manifest["outputs"]]
    names = ["scores.0.result", "scores.1.result", "boxes.0.result", "boxes.1.result"]
    assert shapes == [(name, *shape) for name, shape in zip(names, RULE.shapes(), strict=True)]
    assert bundle.manifest["version"] == 2 and bundle.manifest["classes"] == RULE.numbers
    assert bundle.manifest["detection"] == RULE.to_dict() and bundle.labels() == LABELS
    assert {layer["arithmetic"] for layer in bundle.manifest["layers"]} == {"int8"}
    readme = bundle.read("README.md").decode()
    assert "./detect.sh photo.jpg" in readme and "- `boxes.1.result`: [1, 3, 3, 4]" in readme
    assert "boxes of 3 classes; 4 results" in readme and "logits`" not in readme
    verification = verify_engine_bundle(bundle)
    assert [replay.pictures for replay in verification.replays] == [8, 8]


def test_the_scales_and_integers_are_those_of_the_file(made: Any, files: dict[str, Path]) -> None:
    """Its int8 file computes the integer program but for the rounding of scales to float16."""
    images = pictures()
    for kind in ("tensorrt", "plain"):  # the second one has zero points
        model = onnx.ModelProto.FromString(check_bundle(made(kind, "5")).read("int8.onnx"))
        found = TorchNetwork(model)(PREPROCESS.normalize(images))
        expected = run_integers(lower(read_qdq(files[kind])), images)
        assert found.shape == expected.shape
        largest = np.abs(found - expected).max() / np.abs(expected).max()
        assert largest < 0.03, (kind, largest)


def test_weights_keep_their_integers() -> None:
    random = np.random.default_rng(3)
    integers = random.integers(-90, 91, (6, 5, 3, 3))
    integers[:, 0, 0, 0] = 61  # no common divisor
    scales = random.uniform(1e-4, 1e-1, 6).astype(np.float32)
    found = weight_scales((integers * scales[:, None, None, None]).astype(np.float32))
    np.testing.assert_allclose(found, scales, rtol=1e-6)
    real = random.normal(0, 1, (2, 3, 3, 3)).astype(np.float32)
    np.testing.assert_allclose(weight_scales(real), np.abs(real).max((1, 2, 3)) / 127, rtol=1e-6)
    assert weight_scales(np.zeros((1, 2, 1, 1), np.float32)).tolist() == [1.0]


@pytest.mark.slow
@pytest.mark.parametrize(("jetpack", "version"), VERSIONS)
def test_a_board_checks_and_finds_the_boxes_of_the_definition(
    made: Any, board: Board, tmp_path: Path, jetpack: str, version: str
) -> None:
    bundle = Path(shutil.copytree(made("tensorrt", jetpack), tmp_path / "a bundle"))
    jetson = board(jetpack, version)
    assert jetson.run(bundle, "build.sh").returncode == 0
    checked = jetson.run(bundle, "check.sh")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("equal within") == 16
    photos, jetson.fault = [], "exact"
    for index in (0, 3):  # photos that are prepared to just the pictures of samples
        photos.append(tmp_path / f"photo {index}.png")
        Image.fromarray(sample_picture(bundle, index)).save(photos[-1])
    done = jetson.run(bundle, "detect.sh", "--fp16", *map(str, photos))
    assert done.returncode == 0, done.stderr
    rows = np.loadtxt(bundle / "expected-fp16.txt", dtype=np.float64)
    for line, photo, index in zip(done.stdout.splitlines(), photos, (0, 3), strict=True):
        said = json.loads(line)
        found = find_boxes(RULE, np.asarray([float(f"{value:.6g}") for value in rows[index]], np.float32))
        assert len(found) and [*said] == [
            "command", "picture", "width", "height", "variant", "prepare_ms", "infer_ms", "boxes_ms", "boxes"
        ]  # fmt: skip
        assert (said["picture"], said["variant"], said["width"], said["infer_ms"]) == (str(photo), "fp16", SIZE, 0.532)
        expected = found.listed(LABELS, SIZE, SIZE)
        assert [it["label"] for it in said["boxes"]] == [it["label"] for it in expected]
        for key in ("score", "box"):
            np.testing.assert_allclose([it[key] for it in said["boxes"]], [it[key] for it in expected], rtol=1e-8)
    assert not [path.name for path in bundle.iterdir() if path.name not in {*check_names(bundle), "engines"}]


def sample_picture(bundle: Path, index: int) -> np.ndarray:
    """Return uint8 [SIZE, SIZE, 3], of which sample `index` was made."""
    values = np.fromfile(bundle / f"sample-{index}.bin", "<f4").reshape(3, SIZE, SIZE)
    table = PREPROCESS.table()
    planes = [np.abs(values[c][..., None] - table[c]).argmin(-1) for c in range(3)]
    return np.stack(planes, axis=2).astype(np.uint8)


def check_names(bundle: Path) -> set[str]:
    return {*json.loads((bundle / "manifest.json").read_text())["files"], "manifest.json"}


@pytest.fixture
def built(made: Any, board: Board, tmp_path: Path) -> tuple[Jetson, Path, Path]:
    """A board with an engine, its bundle, and a photo."""
    bundle = Path(shutil.copytree(made("tensorrt", "6"), tmp_path / "bundle"))
    jetson, photo = board("6", "10.3.0"), tmp_path / "photo.png"
    assert jetson.run(bundle, "build.sh", "int8").returncode == 0
    jetson.fault = "exact"
    Image.fromarray(sample_picture(bundle, 1)).resize((SIZE * 5, SIZE * 5), Image.Resampling.NEAREST).save(photo)
    return jetson, bundle, photo


@pytest.mark.parametrize(
    ("fault", "words"),
    [("wrong answer", "a number of scores"), ("absent result", "0 values of boxes.1.result, not 36"),
     ("nan", "-nan is no number"), ("short", "35 values of boxes.1.result, not 36")],
)  # fmt: skip
def test_wrong_numbers_are_told(built: Any, fault: str, words: str) -> None:
    jetson, bundle, _ = built
    jetson.fault = fault
    done = jetson.run(bundle, "check.sh", "int8")
    assert done.returncode == 6 and words in done.stdout, done.stdout + done.stderr


def test_the_photo_is_drawn_as_the_runner_draws_it(built: Any, tmp_path: Path) -> None:
    jetson, bundle, photo = built
    Image.fromarray(sample_picture(bundle, 1)).save(photo)
    done = jetson.run(bundle, "detect.sh", str(photo), "--draw", str(tmp_path / "found.ppm"))
    assert done.returncode == 0, done.stderr
    boxes = json.loads(done.stdout)["boxes"]
    pixels = np.asarray(Image.open(tmp_path / "found.ppm"))
    assert len(boxes) > 1 and (pixels != np.asarray(Image.open(photo))).any()
    np.testing.assert_array_equal(pixels, drawn_by_the_runner(np.asarray(Image.open(photo)), boxes, tmp_path))
    assert [path.name for path in tmp_path.glob("*.part")] == []


@pytest.mark.slow
def test_what_cannot_be_used_is_named_and_the_rest_goes_on(built: Any, tmp_path: Path) -> None:
    jetson, bundle, photo = built
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0broken")
    Image.fromarray(sample_picture(bundle, 1)).save(photo)
    done = jetson.run(bundle, "detect.sh", str(tmp_path / "broken.jpg"), str(tmp_path), "absent.png", str(photo))
    assert done.returncode == 2 and len(done.stdout.splitlines()) == 1
    for name in ("broken.jpg", str(tmp_path), "absent.png"):
        assert name in done.stderr
    (tmp_path / "taken.ppm.part").write_text("mine")
    done = jetson.run(bundle, "detect.sh", str(photo), "--draw", str(tmp_path / "taken.ppm"))
    assert done.returncode == 2 and "cannot write" in done.stderr
    assert (tmp_path / "taken.ppm.part").read_text() == "mine"
    for arguments, code, words in (
        ([], 2, "needs a photo"),
        (["a.png", "b.png", "--draw", "c.ppm"], 2, "draws one picture"),
        (["--fp16", str(photo)], 6, "there is no fp16 engine"),
    ):
        done = jetson.run(bundle, "detect.sh", *arguments)
        assert done.returncode == code and words in done.stderr, done.stderr


@pytest.mark.slow
def test_numbers_that_are_none_give_no_box_and_absent_ones_an_error(built: Any) -> None:
    jetson, bundle, photo = built
    Image.fromarray(sample_picture(bundle, 1)).save(photo)
    expected = len(json.loads(jetson.run(bundle, "detect.sh", str(photo)).stdout)["boxes"])
    jetson.fault = "nan"  # of one anchor
    done = jetson.run(bundle, "detect.sh", str(photo))
    assert done.returncode == 0 and expected - 1 <= len(json.loads(done.stdout)["boxes"]) <= expected
    jetson.fault = "all nan"
    assert json.loads(jetson.run(bundle, "detect.sh", str(photo)).stdout)["boxes"] == []
    jetson.fault = "absent result"
    done = jetson.run(bundle, "detect.sh", str(photo))
    assert done.returncode == 6 and "0 numbers of boxes.1.result, not 36" in done.stderr
    (bundle / "detection.json").write_text('{"version": 1}')
    done = jetson.run(bundle, "detect.sh", str(photo))
    assert done.returncode == 6 and "detection.json" in done.stderr


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """detect.py as a module."""
    monkeypatch.setitem(sys.modules, "find_boxes", find_boxes_module)
    found = importlib.util.spec_from_file_location("detect", SCRIPTS / "detect.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_photos_are_prepared_on_the_board_as_everywhere(script: Any, tmp_path: Path) -> None:
    """Turned, grey, transparent and of one pixel: the same numbers."""
    Image.new("RGB", (1, 1), (200, 30, 30)).save(tmp_path / "one pixel.png")
    files = [tmp_path / "one pixel.png", *written(tmp_path).values()]
    for preprocess in (PREPROCESS, Preprocess((9, 14), (9, 14), "bilinear", (0.4,), (0.3,), squash=True)):
        for path in files:
            expected = preprocess.normalize(preprocess.apply(read_image(path))[None])[0]
            found = script.prepare(script.read_photo(path), preprocess.to_dict())
            np.testing.assert_array_equal(found, expected, err_msg=path.name)


def test_a_decompression_bomb_is_no_photo(script: Any, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(black_png(1, 0, 10_000, 10_000))
    with pytest.raises(script.PhotoError, match=r"large\.png"):
        script.read_photo(tmp_path / "large.png")


@pytest.mark.slow
def test_any_file_with_several_results_becomes_a_bundle(made: Any, board: Board, tmp_path: Path) -> None:
    bundle = check_bundle(Path(shutil.copytree(made("plain", "6"), tmp_path / "bundle")))
    assert "detection" not in bundle.manifest and "detect.sh" not in bundle.manifest["files"]
    assert bundle.labels() == tuple(it["name"] for it in bundle.manifest["outputs"])
    jetson = board("6", "10.3.0")
    assert jetson.run(bundle.path, "build.sh").returncode == 0
    assert jetson.run(bundle.path, "check.sh").returncode == 0


def test_a_detector_that_was_quantized_here_is_calibrated_for_a_board(folder: Path) -> None:
    """`repghost.quantize(...).compile("jetson")`: in float, with the images that were given."""
    from compile.subject.images import Images
    from compile.subject.subject import ImportedSubject

    images = Images(pictures(), np.full(8, -1), {"data": "noise", "split": "train"})
    subject = ImportedSubject(
        name="small", digest="0" * 64, weights={"kind": "file", "source": "x"}, preprocess=PREPROCESS, labels=LABELS,
        calibration=images, test=None, unmeasured="nothing judges it", detection=RULE.to_dict(),
        imported=detector_graph(),
    )  # fmt: skip
    report = run(request(Path("x"), folder / "given"), lambda line: None, subject)
    assert report["verification"]["verified"] and report["model"]["detects"]
    assert report["model"]["results"][0]["name"] == "scores.0.result"


def test_average_precision_is_measured_as_the_file_is_written(made: Any) -> None:
    bundle = check_bundle(made("tensorrt", "5"))
    detector, labels = open_built(bundle.path)
    images = pictures()[:2]
    inputs = [torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in images]
    found = detector(inputs)
    rows = TorchNetwork(onnx.load(bundle.path / "int8.onnx"))(PREPROCESS.normalize(images))
    for row, boxes in zip(rows, found, strict=True):
        assert len(boxes["boxes"]) and labels == LABELS
        np.testing.assert_allclose(boxes["boxes"].numpy(), find_boxes(RULE, row).on(SIZE, SIZE), rtol=1e-6)


def test_the_report_names_results_and_no_top1(made: Any, tmp_path: Path) -> None:
    folder = made("tensorrt", "6").parent
    page = (folder / "jetson.md").read_text()
    for ap in (0.2, 0.25):  # the second time in the place of the first
        scores = Scores(8, 20, Precision(ap, 0.5, None, None, None, None, 0.3), None, (), (("circle", 0.5),))
        assert keep_precision(folder / "jetson", DetectorEvaluation(scores, ()), Path("shapes"), "val")
    measured = (folder / "jetson.md").read_text()
    assert "int8: AP 25.0%, AP50 50.0% on 8 pictures with 20 objects of shapes, split val" in measured
    assert "AP 20.0%" not in measured and "not measured (it gives" not in measured
    summary = collect(find_files([folder]))
    assert [it.what for it in summary.missing if "accuracy" in it.what] == []
    assert [(it.build, it.ap, it.low) for it in summary.detectors] == [("jetson, JetPack 6 int8", 0.25, None)]
    assert not keep_precision(Path(shutil.copytree(folder / "jetson", tmp_path / "elsewhere")),
                              DetectorEvaluation(scores, ()), Path("shapes"), "val")  # fmt: skip
    assert "boxes of 3 classes; 4 results (scores.0.result 6 x 6 x 8, " in page and "top-1" not in page
    assert "detect-validate" in page and "calibrated with 8 pictures of noise" in page
    card = (folder / "jetson-card.md").read_text()
    assert "this bundle: AP 25.0%" in card
    assert 'pipeline_tag: "object-detection"' in card and "top-1" not in card
    shown = CliRunner().invoke(cli, ["report", str(folder)])
    assert shown.exit_code == 0 and "boxes of 3 classes" in shown.output


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("results.txt", lambda text: text.replace(b"288", b"287"), "results.txt is missing or says something else"),
        ("detection.json", lambda text: text.replace(b"0.2", b"0.3"), "detection.json is missing or says"),
        ("int8.onnx", lambda text: text.replace(b"boxes.1.result", b"boxes.9.result"), "other results than"),
    ],
)
def test_verify_sees_results_that_are_not_the_manifests(
    made: Any, tmp_path: Path, name: str, change: Callable[[bytes], bytes], words: str
) -> None:
    bundle = Path(shutil.copytree(made("tensorrt", "6"), tmp_path / "bundle"))
    rewrite(bundle, {name: change((bundle / name).read_bytes())})
    with pytest.raises(IntegrityError, match=words):
        verify_engine_bundle(check_bundle(bundle))


def test_what_has_no_bundle_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(files["plain"])
    for node in model.graph.node:
        if node.name == "stem":
            node.input[1] = "stem.real"
    real = np.zeros((8, 3, 3, 3), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(real, "stem.real"))
    onnx.save(model, tmp_path / "half.qdq.onnx")
    with pytest.raises(UsageError, match="stem of the quantized file is left in float"):
        run(request(tmp_path / "half.qdq.onnx", tmp_path / "out"), lambda line: None)
    with pytest.raises(UsageError, match="no scores of classes"):
        run(request(files["cpu"], tmp_path / "out", data=tmp_path), lambda line: None)


def test_a_detector_whose_pictures_are_cropped_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    """Its boxes would not be in the proportions of the photo."""
    model = onnx.load(files["cpu"])
    for entry in model.metadata_props:
        if entry.key == "repghost.preprocess":
            entry.value = json.dumps({**json.loads(entry.value), "squash": False})
    kept = [entry for entry in model.metadata_props if entry.key != "repghost.program_digest"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "cropped.qdq.onnx")
    with pytest.raises(UsageError, match="resized as a whole"):
        run(request(tmp_path / "cropped.qdq.onnx", tmp_path / "out"), lambda line: None)
