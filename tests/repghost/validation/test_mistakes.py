"""The wrong pictures of a network, written with what they were taken for, and its confusion matrix."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import repghost
from repghost.api.networks.opened import open_float
from repghost.api.shown.figures import plot_confusion
from repghost.api.shown.mistakes import check_place, confusion_lines, write_mistakes
from repghost.cli import cli
from repghost.errors import UsageError
from repghost.exporters.onnx import graph_onnx, to_bytes
from tests.support.small_classifier import CLASSES, PREPROCESS, image, small_classifier

NET = small_classifier()


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that validates a network on a set in which two pictures of the class dark are bright ones."""
    root = tmp_path_factory.mktemp("mistakes")
    for name in CLASSES:
        folder = root / "set" / "test" / name
        folder.mkdir(parents=True)
        for number in range(4):
            shown = "bright" if name == "dark" and number < 2 else name
            Image.fromarray(image(shown, number, 20)).save(folder / f"a {number}.png")
    file, settings, names = root / "net.onnx", root / "preprocess.json", root / "names.txt"
    file.write_bytes(to_bytes(graph_onnx(open_float(NET).graph, 16, "net")))
    settings.write_text(json.dumps(PREPROCESS.to_dict()))
    names.write_text("".join(f"{name}\n" for name in CLASSES))
    return ["validate", str(file), "--data", str(root / "set"), "--preprocess", str(settings),
            "--class-order", str(names)]  # fmt: skip


def test_mistakes_are_written_with_the_matrix(words: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "wrong"
    done = CliRunner().invoke(cli, [*words, "--mistakes", str(folder)])
    assert done.exit_code == 0, done.output
    assert f"written: {folder} (2 wrong pictures of 12, confusion.png)" in done.stdout
    assert [line.split() for line in done.stdout.splitlines() if line.startswith("dark ")] == [["dark", "2", "2", "."]]
    matrix = json.loads((folder / "confusion.json").read_text())
    assert matrix["classes"] == list(CLASSES) and matrix["rows"] == [[4, 0, 0], [2, 2, 0], [0, 0, 4]]
    listed = json.loads((folder / "mistakes.json").read_text())
    assert [(it["label"], it["prediction"]) for it in listed] == [("dark", "bright")] * 2
    for it in listed:
        wrong = PREPROCESS.apply(Image.open(it["name"]))
        assert np.array_equal(np.asarray(Image.open(folder / it["file"])), wrong)
        assert it["file"].startswith("dark/as_bright_") and "a_" in it["file"]
    assert (folder / "confusion.png").read_bytes().startswith(b"\x89PNG")
    again = CliRunner().invoke(cli, [*words, "--mistakes", str(folder), "--json"])
    assert again.exit_code == 0 and json.loads(again.stdout)["evaluation"]["confusion"] == matrix["rows"]


def test_what_would_be_lost_is_refused(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = CliRunner().invoke(cli, [*words, "--mistakes", str(tmp_path)])
    assert done.exit_code == 2 and "Give a folder that does not exist yet" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "mine"
    with pytest.raises(UsageError, match="is no folder"):
        check_place(tmp_path / "mine.txt")


def test_mistakes_are_those_of_one_network(words: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, [*words, words[1], "--mistakes", str(tmp_path / "wrong")])
    assert done.exit_code == 2 and "--mistakes is about one network, and 2 are given" in done.stderr


def test_names_of_classes_lead_out_of_no_folder(tmp_path: Path) -> None:
    unnamed = replace(open_float(NET), labels=None)
    found = repghost.evaluate(unnamed, (np.stack([image("red", 1)]), [0]), labels=["../../x", "a/b", "\x1b[1m.."])
    write_mistakes(tmp_path / "wrong", found)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")} - {"wrong/confusion.png"}
    assert len(written) == 1 and written.pop().startswith("wrong/x/as_1m_")
    assert "\x1b" not in "".join(confusion_lines(found))


def test_of_many_classes_the_pairs_are_shown() -> None:
    labels = [f"class {number}" for number in range(13)]
    found = repghost.evaluate(NET, (np.stack([image("red", 1)]), [0]))
    wide = type(found)(**{**vars(found), "classes": tuple(labels), "labels": np.zeros(3, int),
                          "predictions": np.asarray([12, 12, 0])})  # fmt: skip
    assert confusion_lines(wide)[1].split() == ["class", "0", "class", "12", "2"]


def test_cells_of_a_small_matrix_have_numbers() -> None:
    axes = plot_confusion("net", CLASSES, np.diag([1, 2, 3])).get_axes()[0]
    assert [text.get_text() for text in axes.texts] == ["1", "2", "3"]
