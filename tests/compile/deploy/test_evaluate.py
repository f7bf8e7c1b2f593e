"""Accuracy on a board itself: images over ssh, scores equal to the reference to the bit, nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compile.bundle.manifest import Bundle
from compile.deploy import evaluate, labelled_images
from compile.deploy.evaluate import evaluate_on_board
from compile.deploy.labelled_images import LabelledImages
from compile.deploy.measure import BoardRun, measure_on_board
from compile.deploy.ssh.address import parse_address
from compile.deploy.ssh.connection import Connection, Reply
from compile.report.boards import BOARD_ACCURACY, add_to_build
from compile.report.run_page import board_accuracy_lines
from compile.report.run_report import QDQ_FILE
from compile.stages import predictors
from compile.targets.table import Target
from repghost.errors import IntegrityError, UsageError
from repghost.evaluation.predictor import Predictor
from tests.compile.deploy.test_commands import invoke
from tests.support.deployed_bundles import bundle_of
from tests.support.fake_bundle import PREPROCESS
from tests.support.fake_network import CLASSES, expected_logits, random_images
from tests.support.standin import Standin

IMAGES = random_images(20)
LOGITS = expected_logits(IMAGES)


def labelled(right: int = 15, **changes: Any) -> LabelledImages:
    """Images of which so many are labelled as the network answers."""
    labels = LOGITS.argmax(1)
    labels[right:] = (labels[right:] + 1) % CLASSES
    about = {"data": "cats", "split": "test", "sha256": "0" * 64, "broken": 0, "reference": "numpy reference"}
    found = LabelledImages(IMAGES, labels, tuple(f"{i}.png" for i in range(20)), LOGITS, about)
    return replace(found, **changes)


def files_in(board: Standin, connection: Connection) -> list[Path]:
    """Every file that lies on a board."""
    return [path for path in (board.home / connection.address.folder).rglob("*") if path.is_file()]


@pytest.mark.slow
def test_a_board_measures_its_accuracy_and_keeps_nothing(
    board: Standin, versions: list[Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "BATCH_BYTES", 8 * IMAGES[0].nbytes)  # three commands
    lines: list[str] = []
    connection = board.connection(board.new_folder())
    wanted = BoardRun(runs=3, warmup=1, labelled={versions[0].digest: labelled()})
    measured = measure_on_board(versions[0], connection, wanted, lines.append)
    found = measured["accuracy"]
    assert (found["pictures"], found["correct"], found["top1"], found["equal"]) == (20, 15, 0.75, 20)
    assert 0 < found["min_ms"] <= found["median_ms"] <= found["p90_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert [line.rpartition(": ")[2].split(" of ")[0] for line in lines] == ["8", "16", "20"]
    assert files_in(board, connection) == []
    other = LOGITS.copy()
    other.view(np.uint32)[17, 3] ^= 1  # the last bit of one score
    wanted = BoardRun(runs=3, warmup=1, labelled={versions[0].digest: labelled(expected=other)})
    with pytest.raises(IntegrityError, match=r"other scores than the numpy reference on 1 of 20 .* 17\.png"):
        measure_on_board(versions[0], connection, wanted)
    assert files_in(board, connection) == []


@pytest.mark.slow
def test_an_emulated_arm64_board_gives_the_same_bits(arm64_board: Standin, arm64_version: Bundle) -> None:
    wanted = BoardRun(runs=1, warmup=0, labelled={arm64_version.digest: labelled()})
    found = measure_on_board(arm64_version, arm64_board.connection(arm64_board.new_folder()), wanted)["accuracy"]
    assert (found["equal"], found["correct"], found["variant"]) == (20, 15, "dot")


def answer(index: int, **changes: Any) -> bytes:
    scores = LOGITS[index].astype(">f4").tobytes().hex()
    return json.dumps({"command": "stream", "infer_ms": 2.0 + index, "scores": scores, **changes}).encode()


STATE = {"clock_khz": 1_800_000, "temperature_c": 50.0}
END = {"command": "streamed", "variant": "neon", "threads": 1, "pictures": 20, "before": STATE, "after": STATE}


def told(monkeypatch: pytest.MonkeyPatch, board: Connection, lines: list[bytes], bundle: Bundle) -> dict[str, Any]:
    """What is made of an answer."""
    monkeypatch.setattr(Connection, "run", lambda *_: Reply(0, b"\n".join(lines) + b"\n", ""))
    return evaluate_on_board(board, bundle, "bundles/x", labelled(), [], lambda line: None)


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setattr("compile.deploy.ssh.connection.shutil.which", lambda name: "/usr/bin/ssh", raising=False)
    return Connection(parse_address("board"))


def test_times_clock_and_throttling_are_those_of_the_runner(
    connection: Connection, versions: list[Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [answer(index) for index in range(20)]
    found = told(monkeypatch, connection, [*answers, json.dumps(END).encode()], versions[0])
    assert (found["min_ms"], found["median_ms"], found["p90_ms"], found["max_ms"]) == (2.0, 11.0, 19.0, 21.0)
    assert found["throttled"] is False and found["after"] == STATE
    hot = {**END, "after": {"clock_khz": 600_000, "temperature_c": 85}}
    assert told(monkeypatch, connection, [*answers, json.dumps(hot).encode()], versions[0])["throttled"] is True
    silent = {**END, "after": {"clock_khz": "\x1b[31m", "temperature_c": None}}
    found = told(monkeypatch, connection, [*answers, json.dumps(silent).encode()], versions[0])
    assert found["throttled"] is None and found["after"] == {"clock_khz": None, "temperature_c": None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[1:], "answered 19 of 20"),
        (lambda lines: [*lines[:-1], json.dumps({**END, "pictures": 19}).encode()], "answered 20 of 20"),
        (lambda lines: [*lines[:-1], json.dumps({**END, "before": 1}).encode()], "answered 20 of 20"),
        (lambda lines: [answer(0, scores="00"), *lines[1:]], "no scores of 10 classes"),
        (lambda lines: [answer(0, scores=None), *lines[1:]], "no scores of 10 classes"),
        (lambda lines: [answer(0, infer_ms="now"), *lines[1:]], "no scores of 10 classes"),
        (lambda lines: [b"[]", *lines[1:]], "no JSON object"),
        (lambda lines: [b"\xff\x1b[2J", *lines[1:]], "no JSON|not JSON"),
        (lambda lines: [], "not JSON"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], r"on 2 of 20 pictures, the first is 0\.png"),
    ],
)  # fmt: skip
def test_a_board_that_answers_nonsense_is_refused(
    change: Callable[[list[bytes]], list[bytes]], said: str, connection: Connection, versions: list[Bundle],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    lines = [*(answer(index) for index in range(20)), json.dumps(END).encode()]
    with pytest.raises(IntegrityError, match=said):
        told(monkeypatch, connection, change(lines), versions[0])


def test_a_bundle_of_before_is_named(
    connection: Connection, versions: list[Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "run", lambda *_: Reply(2, b"", "repghost-run: unknown option --stream\nusage: x"))
    with pytest.raises(IntegrityError, match="It was built before it could: build it again"):
        evaluate_on_board(connection, versions[0], "bundles/x", labelled(), [], lambda line: None)


NAMES = tuple(f"kind {letter}" for letter in "abcdefghij")


@pytest.fixture
def run_folder(host_files: dict[str, bytes], host: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle with class names in the folder of a run, whose reference is the network that is written by hand."""
    files = {**host_files, "labels.txt": "".join(f"{name}\n" for name in NAMES).encode()}
    (tmp_path / QDQ_FILE).write_bytes(b"")
    reference = Predictor("int8", "", "", "numpy", PREPROCESS, CLASSES, NAMES, expected_logits, "0" * 64)
    monkeypatch.setattr(predictors, "reference_of", lambda path, preprocess: reference)
    return bundle_of(files, host, tmp_path / "host" / "int8")


def write_set(folder: Path, names: tuple[str, ...]) -> Path:
    """Two of the images in a folder for each class."""
    for index, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for copy in range(2):
            Image.fromarray(IMAGES[(2 * index + copy) % 20]).save(folder / name / f"{copy}.png")
    return folder


def test_a_folder_of_classes_is_read_as_it_is_or_by_its_split(run_folder: Bundle, tmp_path: Path) -> None:
    plain = write_set(tmp_path / "pictures" / "test", NAMES)
    for data in (plain, plain.parent):
        found = labelled_images.labelled_images(run_folder, data, None, lambda line: None)
        assert np.array_equal(found.images, IMAGES) and found.labels.tolist() == [i // 2 for i in range(20)]
        assert found.expected is not None and np.array_equal(found.expected, LOGITS)
        assert found.about["reference"] == "numpy reference" and found.names[3].endswith("kind b/1.png")
    few = labelled_images.labelled_images(run_folder, plain, 10, lambda line: None)
    assert sorted(few.labels.tolist()) == list(range(10))


def test_a_folder_of_classes_without_splits_evaluates_its_held_out_part(run_folder: Bundle, tmp_path: Path) -> None:
    said: list[str] = []
    found = labelled_images.labelled_images(run_folder, write_set(tmp_path / "pictures", NAMES), None, said.append)
    assert found.labels.tolist() == list(range(10)) and "10 of its 20 pictures are held out" in said[0]
    with pytest.raises(UsageError, match="val_share=2 is no share"):
        labelled_images.labelled_images(run_folder, tmp_path / "pictures", None, said.append, val_share=2)


def test_a_folder_of_other_classes_is_refused_by_name(run_folder: Bundle, tmp_path: Path) -> None:
    other = write_set(tmp_path / "other", ("kind a", "tulip"))
    said = r"other cannot evaluate .*int8: the set of pictures has classes that are not among the network's 10: 'tulip'"
    with pytest.raises(UsageError, match=said.replace("'tulip'", ".?tulip")):
        labelled_images.labelled_images(run_folder, other, None, lambda line: None)
    done = invoke(None, "bench", run_folder.path, "--on", "nowhere", "--accuracy", other)
    assert done.exit_code == 2 and "tulip" in done.output, "before any board is touched"


def test_what_cannot_be_compared_is_refused(run_folder: Bundle, tmp_path: Path) -> None:
    data = write_set(tmp_path / "pictures", NAMES)
    moved = replace(run_folder, path=shutil.copytree(run_folder.path, tmp_path / "a" / "b" / "c"))
    with pytest.raises(UsageError, match="is not there, and the scores of"):
        labelled_images.labelled_images(moved, data, None, lambda line: None)
    other = replace(run_folder, manifest={**run_folder.manifest, "program_digest": "1" * 64})
    with pytest.raises(UsageError, match="is another network than that of"):
        labelled_images.labelled_images(other, data, None, lambda line: None)
    floats = replace(run_folder, manifest={**run_folder.manifest, "precision": "fp32"})
    assert labelled_images.labelled_images(floats, data, None, lambda line: None).expected is None
    for words in (["--accuracy", data], ["--on", "board", "--images", "3"], ["--on", "board", "--val-share", "0.3"]):
        assert invoke(None, "bench", run_folder.path, *words).exit_code == 2


@pytest.mark.slow
def test_the_command_puts_accuracy_into_the_report(board: Standin, run_folder: Bundle, tmp_path: Path) -> None:
    data = write_set(tmp_path / "pictures" / "test", NAMES)
    build: dict[str, Any] = {"folder": "host/int8", "bundle_digest": run_folder.digest, "latency": {"measured": False}}
    output = tmp_path / "result.json"
    words = ["bench", run_folder.path, "--on", "board", "--rounds", "1", "--inferences", "3"]
    done = invoke(board, *words, "--accuracy", data, "--json", output)
    assert done.exit_code == 0, done.output
    assert (
        "20 of 20 pictures evaluated there" in done.output and "equal to the numpy reference to the bit" in done.output
    )
    (entry,) = json.loads(output.read_text())["results"]
    assert entry["accuracy"]["pictures"] == 20 and entry["accuracy"]["equal"] == 20
    assert add_to_build(build, entry)
    (line,) = board_accuracy_lines(build)
    assert build[BOARD_ACCURACY][0]["board"] in line and "measured there on 20 pictures of test" in line
