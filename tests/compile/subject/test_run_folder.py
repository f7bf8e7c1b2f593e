"""The folder of a run: what replaces an earlier run, what is refused, what a name changes, and who waits."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from compile.storage.strict_json import canonical_json
from compile.subject.from_random_weights import random_subject
from compile.subject.request import Request
from compile.subject.run_folder import folder_of, hold_folder, made_of
from compile.subject.subject import FloatSubject, QuantizedSubject
from compile.targets.precisions import INT8
from repghost.errors import UsageError
from repghost.locks import locked


@cache
def random_weights() -> FloatSubject:
    return random_subject("0.5", 32, seed=0)


def subject(digest: str = "a" * 64) -> FloatSubject:
    return replace(random_weights(), weights={"kind": "file", "source": "model.safetensors"}, digest=digest)


def request(output: Path, weights: str | None, data: str | None = None, **changes: Any) -> Request:
    return Request("host", (INT8,), weights=weights, data=data and output / data, output=output, **changes)  # type: ignore[arg-type]


def finish(asked: Request, of: FloatSubject, report: str = "report.json") -> Path:
    """Do what a run does with its folder: hold it and write a report."""
    with hold_folder(asked, of, print):
        folder = folder_of(asked, of)
        folder.mkdir(exist_ok=True)
        made = {"made_of": made_of(asked, of), "weights": {"sha256": of.digest}}
        (folder / report).write_bytes(canonical_json(made))
    return folder


OLD, NEW = "a" * 64, "b" * 64
# The second run after one of runs/a.pth and the pictures one: weights, pictures, digest of the weights, whether it may.
SECOND = {
    "the same again": ("runs/a.pth", "one", OLD, True),
    "weights that were trained further": ("runs/a.pth", "one", NEW, True),
    "a copy of the weights": ("copy.pth", "one", OLD, True),
    "other weights": ("runs/b.pth", "one", NEW, False),
    "other weights of the same name": ("other/a.pth", "one", NEW, False),
    "the carried weights": (None, "one", NEW, False),
    "other pictures": ("runs/a.pth", "two", OLD, False),
}


@pytest.mark.parametrize("report", ["report.json", "jetson.json"])
@pytest.mark.parametrize(("weights", "data", "digest", "may"), SECOND.values(), ids=SECOND.keys())
def test_other_weights_or_pictures_do_not_replace_a_run(
    weights: str | None, data: str | None, digest: str, may: bool, report: str, tmp_path: Path
) -> None:
    first = request(tmp_path, "runs/a.pth", "one")
    folder = finish(first, subject(OLD), report)
    assert folder == tmp_path / "repghostnet_0_5x-32px"
    before = (folder / report).read_bytes()
    second, of = request(tmp_path, weights, data), subject(digest)
    if may:
        finish(second, of, report)
        return
    with pytest.raises(UsageError, match=r"name=NAME .*repghostnet_0_5x-32px-NAME") as caught:
        finish(second, of, report)
    assert "runs/a.pth" in str(caught.value) and str(tmp_path / "one") in str(caught.value)
    assert (folder / report).read_bytes() == before
    named = finish(replace(second, name="july"), of, report)
    assert named == tmp_path / "repghostnet_0_5x-32px-july" and (folder / report).read_bytes() == before


def test_a_quantized_file_may_be_judged_later(tmp_path: Path) -> None:
    whole = random_weights()
    shared = {name: getattr(whole, name) for name in ("name", "preprocess", "labels", "calibration", "test")}
    of = QuantizedSubject(digest=OLD, weights={"kind": "quantized"}, qdq=b"", quantization={}, **shared)
    for data in (None, "one", None):
        finish(request(tmp_path, "a.qdq.onnx", data), of)  # type: ignore[arg-type]
    finish(request(tmp_path, "a.qdq.onnx", "one"), of)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="name=NAME"):
        finish(request(tmp_path, "a.qdq.onnx", "two"), of)  # type: ignore[arg-type]


def test_random_weights_of_another_seed_are_others(tmp_path: Path) -> None:
    first, second = random_weights(), replace(random_weights(), digest="c" * 64)
    assert finish(request(tmp_path, "random"), first).name == "repghostnet_0_5x-32px-random"
    with pytest.raises(UsageError, match="weights random, seed 0; this one is of weights random, seed 1"):
        finish(request(tmp_path, "random", seed=1), second)


@pytest.mark.parametrize("content", [b"", b"{", b'{"made_of": 3}', b'{"weights": {}}'])
def test_a_report_that_does_not_say_is_replaced(content: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "repghostnet_0_5x-32px"
    folder.mkdir()
    (folder / "report.json").write_bytes(content)
    finish(request(tmp_path, "a.pth", "one"), subject())


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "ä", "a b", "\x1b[2J", "x" * 65])
def test_a_name_that_is_no_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most 64 letters") as caught:  # of the request, before any weights are read
        request(tmp_path, "a.pth", "one", name=name)
    assert "\x1b" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_second_run_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    asked, lines = request(tmp_path, "a.pth", "one"), []
    is_held, may_end = threading.Event(), threading.Event()

    def other() -> None:
        with locked(folder_of(asked, subject())):
            is_held.set()
            may_end.wait(60)

    def say(line: str) -> None:
        lines.append(line)
        may_end.set()

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    assert is_held.wait(60)
    with hold_folder(asked, subject(), say):
        assert len(lines) == 1 and "waiting for it" in lines[0]
    thread.join(60)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_swept(tmp_path: Path) -> None:
    folder = tmp_path / "repghostnet_0_5x-32px"
    left = [folder / ".report.md.abcdefgh.tmp", folder / "arm64" / ".int8.abcdefgh.tmp", folder / "arm64" / ".x.old"]
    for path in left:
        path.mkdir(parents=True)
    with hold_folder(request(tmp_path, "a.pth", "one"), subject(), print):
        assert [path.exists() for path in left] == [False, False, True]
