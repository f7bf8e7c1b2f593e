"""What a network says of pictures without labels, whatever form it has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import repghost
from repghost.api.networks.opened import open_float
from repghost.cli import cli
from repghost.errors import NoteWarning, UsageError
from repghost.exporters.onnx import graph_onnx, to_bytes
from tests.support.small_classifier import CLASSES, PREPROCESS, image, small_classifier

NET = small_classifier()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """One picture of each class, the last one in a folder below."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for place, name in zip(("a.png", "b.png", "below/c.png"), CLASSES, strict=True):
        Image.fromarray(image(name, 7, 40)).save(folder / place)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = np.stack([image(name, seed) for seed in range(4) for name in CLASSES])
    return Path(repghost.quantize(NET, images).save(tmp_path_factory.mktemp("quantized") / "net.qdq.onnx"))


def test_folders_and_files_are_predicted_in_their_order(pictures: Path) -> None:
    found = repghost.predict(NET, [pictures / "b.png", pictures], top=2)
    assert list(found) == [found[place] for place in range(len(found))] == list(found.images)
    assert [one.top[0].label for one in found.images] == ["dark", "bright", "dark", "red"]
    assert found.images[0].name.endswith("b.png") and [len(one.top) for one in found.images] == [2, 2, 2, 2]
    prepared = PREPROCESS.normalize(PREPROCESS.apply(Image.open(pictures / "b.png"))[None])
    logits = NET(torch.from_numpy(prepared))
    probabilities = logits.softmax(1)[0].tolist()
    assert found.images[0].top[0].probability == pytest.approx(max(probabilities), abs=1e-6)
    assert found.images[0].top[1].probability == pytest.approx(sorted(probabilities)[1], abs=1e-6)
    assert any("files that end in .txt: 1" in note for note in found.notes)
    assert json.loads(json.dumps(found.to_dict()))["pictures"][0]["top"][0]["label"] == "dark"
    assert "4 pictures, by Sequential (PyTorch on cpu)" in repr(found)


def test_a_quantized_file_says_the_same_on_the_command_line(pictures: Path, quantized: Path) -> None:
    done = CliRunner().invoke(cli, ["predict", str(quantized), str(pictures), "--json"])
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert [one["top"][0]["label"] for one in shown["pictures"]] == list(CLASSES)
    assert shown["by"] == "numpy reference"
    plain = CliRunner().invoke(cli, ["predict", str(quantized), str(pictures / "a.png"), "-k", "1"])
    assert plain.exit_code == 0 and "bright" in plain.stdout and "red" not in plain.stdout
    assert plain.stdout.splitlines()[-1] == "1 picture, by int8 reference (numpy reference)"


def test_names_of_classes_may_be_given(pictures: Path, tmp_path: Path) -> None:
    file, names = tmp_path / "net.onnx", tmp_path / "names.txt"
    file.write_bytes(to_bytes(graph_onnx(open_float(NET).graph, 16, "net")))
    settings = tmp_path / "preprocess.json"
    settings.write_text(json.dumps(PREPROCESS.to_dict()))
    names.write_text("hell\ndunkel\nrot\n")
    words = ["predict", str(file), str(pictures / "a.png"), "--preprocess", str(settings)]
    assert " hell " in CliRunner().invoke(cli, [*words, "--labels", str(names)]).stdout
    names.write_text("hell\n")
    short = CliRunner().invoke(cli, [*words, "--labels", str(names)])
    assert short.exit_code == 2 and "--labels is a list of 3 names" in short.stderr


@pytest.mark.parametrize("form", ["module", "float", "file"])
def test_names_in_another_order_than_the_network_says_are_refused(form: str, pictures: Path, quantized: Path) -> None:
    network = {"module": NET, "float": open_float(NET), "file": quantized}[form]
    with pytest.raises(UsageError, match="labels= lists 3 classes, and the network names 3 itself, and class 0"):
        repghost.predict(network, pictures, labels=CLASSES[::-1])
    same = repghost.predict(network, pictures / "b.png", labels=CLASSES)
    assert same.images[0].top[0].label == "dark"


@pytest.mark.parametrize("told", [{"width": "0.5"}, {"weights": "pretrained"}])
def test_what_a_quantized_file_says_itself_is_refused(told: dict[str, str], pictures: Path, quantized: Path) -> None:
    with pytest.raises(UsageError, match=f"leave {next(iter(told))}= out"):
        repghost.predict(quantized, pictures, **told)  # type: ignore[arg-type]


def test_a_broken_picture_is_left_out_and_named(pictures: Path) -> None:
    (pictures / "d.png").write_bytes(b"\x89PNG")
    with pytest.warns(NoteWarning, match="1 broken picture"):
        found = repghost.predict(NET, pictures)
    assert len(found.images) == 3 and len(found.broken) == 1 and "d.png" in found.broken[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [("absent", "no such file or folder"), ("empty", "no pictures; files that end in"), ("text.txt", "no usable pic")],
)  # fmt: skip
def test_what_is_no_picture_is_said(tmp_path: Path, given: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("text")
    with pytest.raises(UsageError, match=message):
        repghost.predict(NET, tmp_path / given)


@pytest.mark.parametrize("top", [0, "3", True])
def test_top_is_a_number_of_classes(pictures: Path, top: object) -> None:
    with pytest.raises(UsageError, match="top= is a whole number, at least 1"):
        repghost.predict(NET, pictures, top=top)  # type: ignore[arg-type]
