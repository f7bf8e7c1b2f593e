"""A detector under Node and in a browser: the boxes of Python to the bit, results by name, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.shared.browser import INSTALL_HINT, find_browser
from benchmarks.shared.page import opened, served
from compile.bundle.manifest import check_bundle
from compile.link.by_form import WEB_SOURCES
from compile.pipeline import run
from compile.subject.request import Request
from compile.targets.precisions import INT8
from compile.web.demo import write_demo
from repghost.detection.boxes import BoxRule, exponential, find_boxes
from repghost.errors import UsageError
from tests.support.box_numbers import KINDS, RULE, crowd, numbers_of
from tests.support.damaged_bundles import edit
from tests.support.fake_detector import DETECTION, LABELS, OUTPUTS, write_detector
from tests.support.small_detector import PREPROCESS, pictures, quantized_detector
from tests.support.small_detector import RULE as SMALL_RULE
from tests.support.web_bundles import WEB, run_in_node, web_files

BOXES = """
  const fs = await import('node:fs');
  const bytes = fs.readFileSync(args[1]), rule = JSON.parse(fs.readFileSync(args[0]));
  const numbers = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  return library.findBoxes(library.readRule(rule, numbers.length), numbers)
    .map(({ label, anchor, score, edges }) => [label, anchor, score, ...edges]);"""
LOAD = "const model = await library.load(folder);"
IMAGE = "({ data: new Uint8Array(4 * 6 * 3).fill(99), width: 6, height: 4 })"


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("web") / "bundle", WEB, web_files())


def in_javascript(rule: BoxRule, numbers: np.ndarray, folder: Path) -> list[list[float]]:
    (folder / "rule.json").write_text(json.dumps(rule.to_dict()))
    (folder / "numbers.bin").write_bytes(numbers.astype("<f4").tobytes())
    return run_in_node(WEB_SOURCES, BOXES, str(folder / "rule.json"), str(folder / "numbers.bin"), module="boxes.js")


def in_python(rule: BoxRule, numbers: np.ndarray) -> list[list[float]]:
    found = find_boxes(rule, numbers)
    rows = zip(found.labels.tolist(), found.anchors.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    return [[label, anchor, score, *box] for label, anchor, score, box in rows]


@pytest.mark.parametrize("kind", [*KINDS, "crowd"])
def test_the_boxes_are_those_of_python_to_the_bit(kind: str, tmp_path: Path) -> None:
    rule, numbers = crowd() if kind == "crowd" else (RULE, numbers_of(kind))
    expected = in_python(rule, numbers)
    assert (len(expected) == 0) == (kind == "none") and (kind != "crowd" or len(expected) == 70)
    assert in_javascript(rule, numbers, tmp_path) == expected


def test_the_exponential_is_that_of_python_to_the_bit() -> None:
    x = np.concatenate([np.linspace(-701, 10, 4001), np.random.default_rng(0).normal(0, 5, 1000), [0.0, -1e-300]])
    found = run_in_node(
        WEB_SOURCES, "return JSON.parse(args[0]).map(library.exponential);", json.dumps(x.tolist()), module="boxes.js"
    )
    np.testing.assert_array_equal(np.asarray(found), exponential(x))


@pytest.mark.slow
def test_a_bundle_gives_boxes_in_pixels_and_results_by_name(detector: Path) -> None:
    script = f"""{LOAD} const image = {IMAGE};
      const results = await model.results(image), rgb = await model.prepare(image);
      return [await model.detect(image), Array.from(model.logits(rgb)), model.outputs, model.labels,
        Object.entries(results).map(([name, it]) => [name, Array.from(it.data), it.height, it.width, it.channels]),
        await refused(() => model.predict(image)), await refused(() => model.top(image))];"""
    found, numbers, outputs, labels, results, *refused = run_in_node(detector, script)
    expected = find_boxes(DETECTION, np.float32(numbers)).listed(LABELS, 6, 4)
    assert len(expected) and found == expected
    assert outputs == OUTPUTS and tuple(labels) == LABELS
    assert results == [["scores", numbers[:6], 1, 1, 6], ["boxes", numbers[6:], 1, 1, 4]]
    assert all(code == "unsupported" and "several results" in sentence for code, sentence in refused)


@pytest.mark.slow
def test_a_picture_of_one_pixel_has_boxes_within_it(detector: Path) -> None:
    script = f"{LOAD} return model.detect({{ data: new Uint8Array(3).fill(200), width: 1, height: 1 }});"
    assert all(0 <= edge <= 1 for box in run_in_node(detector, script) for edge in box["box"])


def test_a_classifier_finds_no_boxes(web_bundle: Any) -> None:
    script = f"{LOAD} return [await refused(() => model.detect({IMAGE})), await refused(() => model.results({IMAGE}))];"
    assert [code for code, _ in run_in_node(web_bundle.path, script)] == ["unsupported", "unsupported"]


def test_the_runner_detects(detector: Path, tmp_path: Path) -> None:
    Image.new("RGB", (6, 4), (99, 99, 99)).save(tmp_path / "photo.png")
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js: apt install nodejs")
    command = [node, str(detector / "repghost-run.mjs"), "--detect", str(tmp_path / "photo.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    said = json.loads(done.stdout)
    assert said["boxes"] == run_in_node(detector, f"{LOAD} return model.detect({IMAGE});") and said["boxes"]
    classified = subprocess.run([*command[:2], "--classify", command[3]], capture_output=True, text=True, timeout=60)
    assert classified.returncode == 4 and "several results" in classified.stderr


def test_the_runner_answers_as_that_on_boards(web_bundle: Any, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js: apt install nodejs")
    photo = tmp_path / "photo.png"
    Image.new("RGB", (6, 4), (99, 99, 99)).save(photo)
    command = [node, str(web_bundle.path / "repghost-run.mjs"), "--top", "2", "--classify"]
    done = subprocess.run([*command, str(photo)], capture_output=True, text=True, timeout=60, check=True)
    best = json.loads(done.stdout)["top"]
    assert [[*it] for it in best] == [["class", "label", "logit", "probability"]] * 2
    missing = subprocess.run(
        [*command, str(tmp_path / "no.png")], capture_output=True, text=True, timeout=60, check=False
    )
    assert missing.returncode == 2 and f"cannot read {tmp_path}/no.png: ENOENT" in missing.stderr


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"classes": 0}, {"classes": 6}, {"classes": "5"}, {"levels": []}, {"levels": 3},
        {"levels": [{"rows": 0, "columns": 1, "anchors": [[1, 1]]}]}, {"levels": [{"rows": 1, "columns": 1}]},
        {"levels": [{"rows": 1, "columns": 1, "anchors": [[0, 1]]}]}, {"score": 2}, {"overlap": 0},
        {"levels": [{"rows": 1, "columns": 1, "anchors": [[1, 1, 1]]}]}, {"candidates": 1e9}, {"detections": 0.5},
    ],
)  # fmt: skip
def test_a_damaged_rule_is_refused(change: dict[str, Any]) -> None:
    rule = {**DETECTION.to_dict(), **change}
    script = "return refused(() => library.readRule(JSON.parse(args[0]), 10));"
    code, sentence = run_in_node(WEB_SOURCES, script, json.dumps(rule), module="boxes.js")
    assert code == "integrity" and "boxes wrongly" in sentence


def test_a_bundle_of_an_earlier_version_is_whole_without_boxes(detector: Path, web_bundle: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(web_bundle.path, tmp_path / "earlier"))
    (folder / "boxes.js").unlink()
    edit(folder, lambda manifest: manifest["files"].pop("boxes.js"))
    assert "boxes.js" not in check_bundle(folder).manifest["files"]


def test_a_demo_refuses_a_detector_by_name(detector: Path, web_bundle: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bundle gives several results"):
        write_demo([web_bundle.path, detector], tmp_path / "demo")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of a few convolutions, compiled for browsers by the whole pipeline, which replays its vectors."""
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "small.qdq.onnx").write_bytes(quantized_detector().onnx.SerializeToString())
    request = Request(
        "web", (INT8,), weights=str(folder / "small.qdq.onnx"), output=folder / "build", host=False, fetch=False
    )
    report = run(request, lambda line: None)
    assert report["builds"][0]["verification"]["verified"]
    return Path(report["folder"]) / report["builds"][0]["folder"]


@pytest.mark.slow
def test_a_compiled_detector_finds_the_boxes_of_the_integer_program(compiled: Path) -> None:
    from calib.integer.reference import run as run_integers
    from compile.frontend.qdq_file import read_qdq
    from compile.passes import lower

    images = pictures()[:3]
    program = lower(read_qdq(compiled.parent.parent / "model.qdq.onnx"))
    script = f"""{LOAD} const found = [];
      for (const bytes of JSON.parse(args[0])) {{
        const data = Uint8Array.from(bytes);
        found.push(await model.detect({{ data, width: 12, height: 12 }}));
      }}
      return [await model.verify(), found];"""
    given = json.dumps([image.reshape(-1).tolist() for image in images])
    replayed, found = run_in_node(compiled, script, given)
    assert replayed["mismatches"] == 0 and replayed["pictures"] > 0
    rows = run_integers(program, images)
    expected = [find_boxes(SMALL_RULE, row).listed(("circle", "square", "tri angle"), 12, 12) for row in rows]
    assert found == expected and all(expected) and PREPROCESS.squash


@pytest.mark.slow
def test_a_browser_finds_the_same_boxes(compiled: Path, tmp_path: Path) -> None:
    browser = find_browser()
    if browser is None:
        pytest.skip(f"no Chromium: {INSTALL_HINT}")
    shutil.copytree(compiled, tmp_path / "site")
    (tmp_path / "site" / "index.html").write_text("<!doctype html><title>boxes</title>")
    data = pictures()[0].reshape(-1).tolist()
    work = f"""(async () => {{
      const {{ load }} = await import('./repghost.js'), model = await load();
      const data = Uint8Array.from({data});
      return JSON.stringify([(await model.verify()).mismatches, await model.detect({{ data, width: 12, height: 12 }})]);
    }})()"""
    with served(tmp_path / "site") as address, opened(browser, tmp_path / "profile") as page:
        page.open(address)
        mismatches, found = json.loads(page.run(work))
    script = f"{LOAD} return model.detect({{ data: Uint8Array.from(JSON.parse(args[0])), width: 12, height: 12 }});"
    assert mismatches == 0 and found == run_in_node(compiled, script, json.dumps(data))
