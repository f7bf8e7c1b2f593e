"""Several widths in a row, of which nothing is made twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks.widths import WidthsRequest, command
from repghost.errors import UsageError
from repghost.training.train import STATE_FILE
from tests.support.image_folders import make_set

FILES = ("model.safetensors", "model.qdq.onnx", "model.qat-fused.qdq.onnx")


def widths(data: Path, output: Path, *more: str) -> Result:
    config = data.with_name("config.json")
    config.write_text('{"ranges_by_answers": false}')
    sizes = ["--epochs", "2", "--batch", "32", "--held-out", "40", "--images", "4", "--qat-images", "16"]
    words = ["--data", str(data), "-o", str(output), "--config", str(config), *sizes, *more]
    return CliRunner().invoke(command, words)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_repeats_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, output = make_set(tmp_path / "data"), tmp_path / "runs"

    def interrupt(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("repghost.api.training.train.train_aware", interrupt)
        stopped = widths(data, output, "--widths", "0.1,0.2", "--qat", "fused")
    assert stopped.exit_code == 130, stopped.output
    first = output / "repghostnet_0_1x"
    assert not (first / FILES[2]).exists()
    before = {path: path.stat().st_mtime_ns for path in (first / FILES[0], first / FILES[1], first / STATE_FILE)}
    finished = widths(data, output, "--widths", "0.1,0.2", "--qat", "fused", "--at-once", "2")
    assert finished.exit_code == 0, finished.output
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "repghostnet_0_1x: model.qdq.onnx, as in an earlier run" in (first / "widths.log").read_text()
    assert finished.output.count("float32 test top-1") == 2 and "repghostnet_0_2x: done" in finished.output
    made = [output / name / file for name in ("repghostnet_0_1x", "repghostnet_0_2x") for file in FILES]
    times = [path.stat().st_mtime_ns for path in made]
    again = widths(data, output, "--widths", "0.1,0.2", "--qat", "fused")
    assert again.exit_code == 0, again.output
    assert [path.stat().st_mtime_ns for path in made] == times
    assert again.output.count("as in an earlier run") == len(made)


def test_the_words_of_a_request_make_the_same_request() -> None:
    for words in (
        ["--widths", "all", "--data", "x"],
        [
            "--widths",
            "0.5",
            "--data",
            "x",
            "--qat",
            "fused",
            "--qat",
            "reparam",
            "--amp-dtype",
            "bfloat16",
            "--at-once",
            "3",
        ],
    ):
        request = WidthsRequest(**command.make_context("widths", list(words)).params)
        assert WidthsRequest(**command.make_context("widths", request.words()).params) == request


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--widths", "0"], "width"),
        (["--widths", "0.1", "--recipe", "finetune", "--held-out", "0"], "demo, cifar or cifar-short"),
        (["--widths", "0.1", "--amp-dtype", "half"], "unknown amp 'half'"),
        (["--widths", "0.1", "--qat", "fusd"], "Did you mean 'fused'"),
        (["--widths", "0.1", "--data", "/nowhere"], "/nowhere"),
    ],
)
def test_wrong_usage_trains_nothing(more: list[str], message: str, tmp_path: Path) -> None:
    result = widths(make_set(tmp_path / "data", 8), tmp_path / "runs", *more)
    assert isinstance(result.exception, UsageError) and message in str(result.exception)
    assert not (tmp_path / "runs").exists()
