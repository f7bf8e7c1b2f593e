"""repghost-runtime: a detector's boxes are those of the definition, and several results come by name."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compile.bundle.host_model import load
from compile.targets.table import Target
from repghost.data import read_image
from repghost.detection.boxes import find_boxes
from repghost_runtime import IntegrityError, Model, Server, UsageError
from tests.support.classify import written
from tests.support.damaged_bundles import edit
from tests.support.fake_detector import DETECTION, LABELS, OUTPUTS, write_detector
from tests.support.reseal import reseal

ONE_PIXEL = np.full((1, 1, 3), 200, np.uint8)


@pytest.fixture(scope="module")
def bundle(host: Target, host_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector") / "bundle", host, host_files)


@pytest.fixture
def changed(host: Target, host_files: dict[str, bytes], tmp_path: Path) -> Callable[[Any], Path]:
    def make(change: Any) -> Path:
        path = write_detector(tmp_path / "changed", host, host_files)
        edit(path, change)
        return path

    return make


def test_boxes_are_those_of_the_definition_to_the_bit(bundle: Path, tmp_path: Path) -> None:
    ours, theirs = Model(bundle), load(bundle)
    images = [read_image(path) for path in written(tmp_path).values()]
    for image in images:
        found, expected = ours.detect(np.asarray(image.convert("RGB"))), theirs.detect(image)
        for name in ("boxes", "labels", "scores"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert ours.labels == LABELS and ours.classes == 10
    assert all(0 <= edge <= 1 for edge in ours.detect(ONE_PIXEL).boxes.reshape(-1))


def test_results_come_by_name_and_are_no_class(bundle: Path, host_bundle: Path) -> None:
    model = Model(bundle)
    found = model.results(ONE_PIXEL)
    assert {name: value.shape for name, value in found.items()} == {"scores": (1, 1, 6), "boxes": (1, 1, 4)}
    together = np.concatenate([value.reshape(-1) for value in found.values()])
    np.testing.assert_array_equal(together, model.logits(model.prepare(ONE_PIXEL)[None])[0])
    assert [vars(it) for it in model.bundle.outputs] == OUTPUTS
    with pytest.raises(UsageError, match="several results"):
        model(ONE_PIXEL)
    classifier = Model(host_bundle)
    for wrong in (classifier.detect, classifier.results):
        with pytest.raises(UsageError, match="no "):
            wrong(ONE_PIXEL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest.pop("outputs"), "belong to version 2"),
        (lambda manifest: manifest.update(version=1), "belong to version 2"),
        (lambda manifest: manifest["outputs"].pop(), "2 to 64"),
        (lambda manifest: manifest["outputs"][0].update(channels=True), "an output has"),
        (lambda manifest: manifest["outputs"][0].update(height=0), "an output has"),
        (lambda manifest: manifest["outputs"][0].update(channels=7), "other numbers"),
        (lambda manifest: manifest["detection"].update(score=2), "shares below 1"),
        (lambda manifest: manifest["detection"].update(levels=[[]]), "a level has"),
        (lambda manifest: manifest["detection"]["levels"][0].update(rows=2), "not those of its detection"),
        (lambda manifest: manifest.pop("detection"), "labels.txt has 5 names, not 2"),
    ],
)
def test_a_manifest_whose_results_do_not_fit_is_refused(change: Any, message: str, changed: Any) -> None:
    with pytest.raises(IntegrityError, match=message):
        Model(changed(change))


def test_a_library_of_another_interface_is_refused(changed: Any, host_files: dict[str, bytes]) -> None:
    path = changed(lambda manifest: None)
    reseal(path, "model.so", host_files["model.so"])
    with pytest.raises(IntegrityError, match="version 2 of the C interface, not 3"):
        Model(path)


def test_the_server_answers_with_boxes_in_pixels_of_the_frame(bundle: Path, tmp_path: Path) -> None:
    model = Model(bundle)
    frame = np.random.default_rng(1).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    with contextlib.closing(Server(model, str(tmp_path / "socket"))) as server:
        threading.Thread(target=server.run, daemon=True).start()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(server.address)
            client.sendall(b'{"width": 50, "height": 30}\n' + frame.tobytes())
            answer = json.loads(client.makefile().readline())
    expected = model.detect(frame)
    assert len(expected) and answer["boxes"] == expected.listed(LABELS, 50, 30)


def test_numbers_that_are_none_give_no_boxes(bundle: Path) -> None:
    numbers = np.full(DETECTION.numbers, np.nan, np.float32)
    rule = Model(bundle).bundle.rule
    assert rule is not None and len(find_boxes(rule, numbers)) == 0
