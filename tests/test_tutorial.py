"""The commands of docs/tutorial.md on three classes of 40 drawn pictures, each with what makes it shorter."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from compile.bundle.manifest import check_bundle
from compile.targets.table import host_target
from repghost.cli import cli
from tests.support import ROOT
from tests.support.fake_board import MEASURED, VERIFIED, FakeBoard, in_place_of_ssh
from tests.support.own_pictures import CLASSES, draw_pictures

PAGE = (ROOT / "docs/tutorial.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
# What is left out here: 14 of 20 epochs, the float builds, and most of the pictures that calibrate.
SHORTER = {"train": "--epochs 6 --batch 8", "compile": "--precision int8 --images 24 --no-fetch"}
NETWORK = Path("build/repghostnet_0_5x-64px")


class Board(FakeBoard):
    """A board that proves and measures the bundle of the tutorial."""

    def _runner(self, words: str, **_: object) -> bytes:
        return json.dumps(VERIFIED | {"pictures": 24} if "--verify" in words else MEASURED).encode()


def run(command: str) -> str:
    """Run a command of the page in this process and return what it printed."""
    program, *words = shlex.split(f"{command} {SHORTER.get(command.split()[1], '')}")
    done = CliRunner().invoke(cli, words)
    assert program == "repghost" and done.exit_code == 0, f"{command}\n{done.output}"
    return done.output


def test_the_page_has_four_commands_and_one_for_boards() -> None:
    verbs = [command.split()[1] for command in COMMANDS]
    assert verbs == ["train", "validate", "compile", "predict", "deploy"]


@pytest.mark.slow
def test_own_pictures_reach_a_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if host_target() is None:
        pytest.skip("no target fits this machine")
    draw_pictures(tmp_path / "shapes", side=72)
    monkeypatch.chdir(tmp_path)
    train, validate, build, predict, deploy = COMMANDS
    said = run(train)
    assert "24 of its 120 pictures are held out" in said and "at 64 px, 96 pictures of 3 classes" in said
    judged = run(validate)
    assert "24 pictures, broken: 0" in judged and (tmp_path / "mistakes/confusion.png").is_file()
    matrix = json.loads((tmp_path / "mistakes/confusion.json").read_text())
    assert matrix["classes"] == list(CLASSES) and [sum(row) for row in matrix["rows"]] == [8, 8, 8]
    assert matrix["correct"] >= 18  # of 24; 8 by chance
    made = run(build)
    report = json.loads((NETWORK / "report.json").read_text())
    assert report["accuracy"]["test"]["pictures"] == 24 and report["accuracy"]["int8"]["top1"] >= 0.7
    assert report["quantization"]["calibration"]["pictures"] == 24
    following = [line.partition("#")[0].strip() for line in made.split("next:")[1].splitlines() if "#" in line]
    assert [shlex.split(line)[1] for line in following][:3] == ["predict", "deploy", "verify"]
    told = run(predict)
    assert told == run(predict) and f"{NETWORK}" not in told and "41 pictures, by" in told
    assert told.count("circle_00.jpg") == 1 and told.count("cross_") == 40
    run("repghost " + following[0].partition(" ")[2])  # what compile named works as it was printed
    board = Board("aarch64", [check_bundle(NETWORK / "arm64/int8")])
    with in_place_of_ssh(board):
        assert "pi@board" in run(deploy.replace("USER@BOARD", "pi@board"))
    next_ones = [line.strip() for line in said.split("next:")[1].splitlines() if line.strip()]
    assert run(next_ones[0]) and next_ones[1] == build
