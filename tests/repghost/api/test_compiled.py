from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import repghost
from compile.targets.table import HOST, TARGETS, host_target
from repghost.api.compiled import CompiledBundle
from repghost.errors import AccuracyGateError, UsageError
from tests.support.small_classifier import CLASSES, PREPROCESS, image, small_classifier, write_set

NET = small_classifier()
IMAGES = np.stack([image(name, seed) for seed in range(4) for name in CLASSES])
LABELS = [0, 1, 2] * 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> repghost.Dataset:
    return repghost.open_dataset(write_set(tmp_path_factory.mktemp("set") / "colours"))


@pytest.fixture(scope="module")
def bundle(data: repghost.Dataset, tmp_path_factory: pytest.TempPathFactory) -> CompiledBundle:
    q = repghost.quantize(NET, data.calibration)
    output = tmp_path_factory.mktemp("built")
    return repghost.compile(q, target="host", data=data, output=output, precision="int8", jobs=1)


@pytest.mark.slow
def test_a_quantized_network_becomes_a_bundle_that_computes_the_same(
    bundle: CompiledBundle, data: repghost.Dataset
) -> None:
    q = repghost.quantize(NET, data.calibration)
    assert bundle.report["programs"]["int8"] == q.digest
    assert bundle.report["accuracy"]["fp32"]["pictures"] == 12  # judged beside the float network
    assert bundle.folder.name == "Sequential-16px" and list(bundle.paths) == ["host/int8"]
    model = repghost.load(bundle.folder)
    assert np.array_equal(model.logits(IMAGES), q.logits(IMAGES))
    assert bundle.evaluate(data.test).top1 == q.evaluate(data.test).top1
    assert q.compare(bundle, data.test).change.agreeing == 12
    assert "int8 top-1" in repr(bundle) and "host/int8" in bundle._repr_html_()
    assert json.loads(json.dumps(bundle.to_dict()))["model"]["name"] == "Sequential"


@pytest.mark.slow
def test_a_bundle_proves_and_measures_itself(bundle: CompiledBundle) -> None:
    lines: list[str] = []
    found = bundle.verify(say=lines.append)
    assert found.bundle.digest == bundle.digest and len(lines) >= 1
    assert repr(found).startswith(f"verified: {bundle.path}")
    layers = bundle.bench(per_layer=True, rounds=1, inferences=2)
    assert layers.to_dict()["precision"] == "int8" and "us" in repr(layers)


@pytest.mark.slow
def test_a_loaded_model_takes_what_people_have(bundle: CompiledBundle, tmp_path: Path) -> None:
    model = repghost.load(bundle.path)
    Image.fromarray(IMAGES[2]).save(tmp_path / "red.png")
    assert model(tmp_path / "red.png").label == model(str(tmp_path / "red.png")).label == "red"
    assert model(Image.fromarray(IMAGES[0])).label == "bright"
    assert np.array_equal(pickle.loads(pickle.dumps(model)).logits(IMAGES), model.logits(IMAGES))
    expected = [CLASSES[label] for label in LABELS]
    normalized = torch.from_numpy(PREPROCESS.normalize(IMAGES))
    for batch in (IMAGES, list(IMAGES), normalized, torch.from_numpy(IMAGES).permute(0, 3, 1, 2)):
        assert [found.label for found in model(batch)] == expected
    assert model(IMAGES / 255, pixels="0..1")[0].label == "bright"
    with pytest.raises(UsageError, match=r"pixels='0\.\.1'"):
        model(IMAGES / 255)
    assert "on this machine by" in repr(model) and "bilinear" in model._repr_html_()
    assert model.to_dict()["bundle_digest"] == bundle.digest


@pytest.mark.slow
def test_the_report_of_a_run_is_a_page(bundle: CompiledBundle, tmp_path: Path) -> None:
    page = repghost.report(bundle.folder)
    assert repr(page) == (bundle.folder / "report.md").read_text() == page._repr_markdown_()
    assert page.to_dict()["programs"] == bundle.report["programs"]
    with pytest.raises(UsageError, match="md or json"):
        page.render("csv")
    with pytest.raises(UsageError, match="lies in its folder already"):
        page.save(tmp_path)
    summary = repghost.report(bundle.folder, summary=True)
    assert summary.summary is not None and "Sequential" in repr(summary)
    assert (tmp_path / "report.json") in summary.save(tmp_path)


@pytest.mark.slow
def test_a_trained_network_has_no_float_form_to_be_judged_beside(data: repghost.Dataset, tmp_path: Path) -> None:
    from dataclasses import replace

    q = replace(repghost.quantize(NET, data.calibration), trained=True)
    made = repghost.compile(q, target="host", data=(IMAGES, LABELS), output=tmp_path, name="trained", jobs=1)
    assert made.folder.name == "Sequential-16px-trained"
    assert made.report["accuracy"]["fp32"] is None and made.report["accuracy"]["int8"]["pictures"] == 12
    assert np.array_equal(made.load().logits(IMAGES), q.logits(IMAGES))


@pytest.mark.slow
def test_a_gate_that_is_missed_leaves_the_bundle(data: repghost.Dataset, tmp_path: Path) -> None:
    with pytest.raises(AccuracyGateError, match="none was measured"):
        repghost.compile(NET, target="host", data=IMAGES, output=tmp_path, precision="int8", max_drop=1.0, jobs=1)
    assert (tmp_path / "Sequential-16px" / "host" / "int8" / "manifest.json").is_file()


def test_a_bundle_of_another_machine_is_one_sentence(tmp_path: Path) -> None:
    host = host_target()
    other = "arm64" if host is None or host.name != "arm64" else "x86-64"
    (tmp_path / other / "int8").mkdir(parents=True)
    (tmp_path / other / "int8" / "manifest.json").write_text("{}")
    with pytest.raises(UsageError) as raised:
        repghost.load(tmp_path)
    assert f"{other}/int8" in str(raised.value) and "target='host'" in str(raised.value)
    with pytest.raises(UsageError, match="holds no bundle"):
        repghost.load(tmp_path / other)
    with pytest.raises(UsageError, match="unknown precision"):
        repghost.load(tmp_path, "int4")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").touch()
    for read in (repghost.load, repghost.verify, repghost.predict):
        with pytest.raises(UsageError, match=r"folder of a training run.*model\.safetensors"):
            read(tmp_path / "run", *([IMAGES[:1]] if read is repghost.predict else []))


@pytest.mark.parametrize(
    ("network", "options", "said"),
    [
        (NET, {"target": "arm65", "data": IMAGES}, "unknown target"),
        (NET, {"target": "host", "data": IMAGES, "precision": "int4"}, "unknown precision"),
        (NET, {"target": "jetson", "data": IMAGES, "precision": "int8"}, "always holds int8 and fp16"),
        (NET, {"target": "host", "data": []}, "yields no image"),
        (NET, {"target": "host", "data": IMAGES, "name": "a/b"}, "a name has at most 64 letters"),
        ("nothing.safetensors", {"target": "host", "data": "nowhere"}, "there is no checkpoint"),
    ],
)
def test_bad_input_is_refused_before_anything_is_built(
    network: object, options: dict, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        repghost.compile(network, output=tmp_path, **options)  # type: ignore[arg-type]
    assert [path for path in tmp_path.rglob("*") if path.name == "manifest.json"] == []


def test_the_targets_that_the_docstring_names_are_those_of_the_table() -> None:
    (line,) = re.findall(r"^ *target: (.*)", str(repghost.compile.__doc__), re.MULTILINE)
    assert set(re.findall(r'"([\w-]+)"', line)) == {*TARGETS, HOST}
