from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.cli import cli
from repghost.data.formats.arrays import ArraySet
from repghost.data.images.preprocess import Preprocess
from repghost.network.model import RepGhostNet
from repghost.validation.sources import open_checkpoints
from repghost.validation.tables import short_names
from repghost.validation.validate import Reading, validate

CLASSES = ("ant", "bee", "cow")
PREPROCESS = Preprocess(size=32, resize=32, interpolation="bilinear")


def made_set(count: int = 30) -> ArraySet:
    random = np.random.default_rng(0)
    return ArraySet("made", CLASSES, random.integers(0, 256, (count, 32, 32, 3), np.uint8), np.arange(count) % 3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    model = RepGhostNet(width=0.25, num_classes=3)
    with torch.no_grad():
        model(torch.randn(8, 3, 32, 32))  # batch-norm statistics that differ from the initial ones
    write_checkpoint(path, model.eval(), PREPROCESS.to_dict(), CLASSES)
    return path


def make_tree(root: Path) -> Path:
    made = made_set(12)
    for index in range(len(made)):
        folder = root / "test" / CLASSES[made.labels[index]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(made.images[index]).save(folder / f"{index}.png")
    return root


def test_the_fused_form_answers_as_the_checkpoint_does(checkpoint: Path) -> None:
    report = validate(open_checkpoints(checkpoint), made_set())
    plain, fused = report.networks
    assert [plain.name, fused.name] == ["fp32", "fp32 fused"]
    assert (plain.top1, plain.top5, plain.per_class) == (fused.top1, fused.top5, fused.per_class)
    assert fused.change is not None
    assert fused.change.agreeing == fused.change.pictures == 30
    assert Preprocess.from_dict(report.preprocess) == PREPROCESS


def test_chosen_images_are_evaluated_by_their_own_labels(checkpoint: Path) -> None:
    report = validate(open_checkpoints(checkpoint), made_set(), Reading(np.asarray([0, 3, 6, 9])))
    assert report.images == (4, 0, 0)
    assert validate(open_checkpoints(checkpoint), made_set()).images == (10, 10, 10)


def test_command_prints_json_alone(checkpoint: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["validate", str(checkpoint), "--data", str(make_tree(tmp_path)), "--json"])
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    first, fused = values["networks"]
    assert first["top1"]["pictures"] == 12
    assert fused["change"]["agreeing"] == 12
    assert values["broken"] == []
    assert Preprocess.from_dict(values["preprocess"]) == PREPROCESS


def test_command_names_and_counts_broken_images(checkpoint: Path, tmp_path: Path) -> None:
    make_tree(tmp_path)
    (tmp_path / "test" / "ant" / "0.png").write_bytes(b"broken")
    result = CliRunner().invoke(cli, ["validate", str(checkpoint), "--data", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "ant/0.png" in result.stderr
    assert "11 pictures, broken: 1" in result.stdout


def test_command_chooses_images_by_seed(checkpoint: Path, tmp_path: Path) -> None:
    arguments = ["validate", str(checkpoint), "--data", str(make_tree(tmp_path)), "--json", "--images", "6"]
    first, second = (CliRunner().invoke(cli, [*arguments, "--seed", "1"]).stdout for _ in range(2))
    assert json.loads(first) == json.loads(second)
    assert json.loads(first)["networks"][0]["top1"]["pictures"] == 6


def test_command_takes_the_preprocessing_of_a_file(tmp_path: Path) -> None:
    path, preprocess = tmp_path / "bare.safetensors", tmp_path / "preprocess.json"
    write_checkpoint(path, RepGhostNet(width=0.25, num_classes=3).eval())
    arguments = ["validate", str(path), "--data", str(make_tree(tmp_path)), "--json"]
    refused = CliRunner().invoke(cli, arguments)
    assert refused.exit_code == 2
    assert "--preprocess" in refused.output
    preprocess.write_text(json.dumps(PREPROCESS.to_dict()))
    assert CliRunner().invoke(cli, [*arguments, "--preprocess", str(preprocess)]).exit_code == 0


def test_a_network_for_grey_images_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "grey.safetensors"
    write_checkpoint(path, RepGhostNet(width=0.25, num_classes=3, in_chans=1).eval(), PREPROCESS.to_dict(), CLASSES)
    result = CliRunner().invoke(cli, ["validate", str(path), "--data", str(make_tree(tmp_path))])
    assert result.exit_code == 2 and "takes 1 colours, the pictures have 3" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.safetensors", "--data", "{tree}"], "absent.safetensors"),
        (["{checkpoint}", "--data", "absent"], "no such file"),
        (["{checkpoint}", "--data", "{tree}", "--split", "train"], "no split"),
        (["{checkpoint}", "--data", "{tree}", "--images", "13"], "1 to 12"),
        (["--data", "{tree}"], "--all-widths DIR"),
        (["{checkpoint}", "--data", "{tree}", "--all-widths", "{tree}"], "--all-widths DIR"),
        (["--data", "{tree}", "--all-widths", "{tree}"], "holds no checkpoint"),
        (["--data", "{tree}", "--all-widths", "absent"], "no such folder"),
        (["{checkpoint}", "--data", "{tree}", "--width", "0.5"], "width"),
    ],
)
def test_command_names_what_is_wrong(checkpoint: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    tree = make_tree(tmp_path)
    filled = [argument.format(checkpoint=checkpoint, tree=tree) for argument in arguments]
    result = CliRunner().invoke(cli, ["validate", *filled])
    assert result.exit_code == 2, result.output
    assert message in result.output


def test_per_class_counts_add_up(checkpoint: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["validate", str(checkpoint), "--data", str(make_tree(tmp_path)), "--per-class"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith(CLASSES)] == [[name, "4"] for name in CLASSES]


@pytest.mark.slow
def test_all_widths_say_once_how_the_images_were_read(tmp_path: Path) -> None:
    for width in (0.5, 0.8):
        weights = tmp_path / f"runs/{width}/model.safetensors"
        write_checkpoint(weights, RepGhostNet(width, 3).eval(), PREPROCESS.to_dict(), CLASSES)
    tree = make_tree(tmp_path)
    place = next(path for path in sorted(tree.rglob("*.png")) if "test" in path.parts)
    place.with_name("broken.png").write_bytes(b"no image")
    place.with_name("notes.txt").write_text("")
    result = CliRunner().invoke(cli, ["validate", "--all-widths", str(tmp_path / "runs"), "--data", str(tree)])
    assert result.exit_code == 0, result.output
    assert result.stderr.count("not read, files that end in .txt: 1") == 1
    assert result.stderr.count("broken picture, not counted") == 1


@pytest.mark.slow
def test_all_widths_stand_beside_the_published_figures(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "half"
    write_checkpoint(folder / "model.safetensors", RepGhostNet(0.5, 3).eval(), PREPROCESS.to_dict(), CLASSES)
    arguments = ["validate", "--all-widths", str(tmp_path / "runs"), "--data", str(make_tree(tmp_path))]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.stdout.splitlines()[1:9]}
    assert list(rows) == ["0.5", "0.58", "0.8", "1", "1.11", "1.3", "1.5", "2"]
    assert "66.95%" in rows["0.5"]
    assert "no checkpoint" not in rows["0.5"]
    assert all("no checkpoint" in line for name, line in rows.items() if name != "0.5")
    assert "do not compare" in result.stdout
    values = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)["widths"]
    assert values[0]["measured"]["networks"][0]["top1"]["pictures"] == 12
    assert values[1]["measured"] is None
    write_checkpoint(tmp_path / "runs" / "again.safetensors", RepGhostNet(0.5, 3).eval())
    twice = CliRunner().invoke(cli, arguments)
    assert twice.exit_code == 2
    assert "both of width 0.5" in twice.output


@pytest.mark.slow
def test_the_authors_command_is_read(tmp_path: Path) -> None:
    tree, path = make_tree(tmp_path / "tree"), tmp_path / "last.pth.tar"
    raw, averaged = (RepGhostNet(width=0.25, num_classes=3).state_dict() for _ in range(2))
    torch.save({"state_dict": raw, "state_dict_ema": averaged, "epoch": 1}, path)
    written = tmp_path / "preprocess.json"
    written.write_text(json.dumps(PREPROCESS.to_dict()))
    words = ["validate", "-b", "5", "--model-ema", "--model", "repghost.repghostnet_0_25x", "--resume", str(path)]
    words += ["--data_dir", str(tree), "--val-split", "val", "--preprocess", str(written), "--json"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [item["name"] for item in found["networks"]] == ["fp32 raw", "fp32 EMA", "fp32 EMA fused"]
    again = CliRunner().invoke(cli, [*words, "-j", "2"])
    assert json.loads(again.stdout) == found
    other = CliRunner().invoke(cli, [*words, "--img-size", "64", "--crop-pct", "0.8"])
    assert json.loads(other.stdout)["preprocess"] == PREPROCESS.to_dict() | {"size": 64, "resize": 80}
    torch.save({"state_dict": raw}, path)
    without = CliRunner().invoke(cli, words)
    assert without.exit_code == 2 and "--model-ema: no averaged weights in " in without.output
    narrow = CliRunner().invoke(cli, [word.replace("0_25x", "0_5x") for word in words])
    assert narrow.exit_code == 2 and "0.5" in narrow.output


@pytest.mark.slow
def test_rows_name_their_files_and_changes_are_within_one(checkpoint: Path, tmp_path: Path) -> None:
    other, tree = tmp_path / "other.safetensors", make_tree(tmp_path / "tree")
    torch.manual_seed(1)
    write_checkpoint(other, RepGhostNet(width=0.25, num_classes=3).eval(), PREPROCESS.to_dict(), CLASSES)
    predictors = [found for path in (checkpoint, other) for found in open_checkpoints(path)]
    program = replace(predictors[-1], name="int8", source="net.qdq.onnx", program="p")
    report = validate([*predictors, program, replace(program, name="int8 compiled")], made_set())
    assert [item.against for item in report.networks] == [None, 0, 0, 2, 2, 2]
    for place in (1, 3, 4, 5):  # the same answers as the file that the row belongs to
        change = report.networks[place].change
        assert change is not None and change.agreeing == change.pictures == 30
    assert list(short_names(["a/net.pt", "b/net.pt", "b/net.pt"]).values()) == ["a/net.pt", "b/net.pt"]
    result = CliRunner().invoke(cli, ["validate", str(checkpoint), str(other), "--data", str(tree)])
    rows = result.stdout.splitlines()
    assert rows[0].split()[:2] == ["network", "file"] and "against" in rows[0]
    assert [row.split()[1] for row in rows[-5:-1] if "fused" not in row] == ["model.safetensors", "other.safetensors"]
    assert "other.safetensors" in rows[-2].split()[-4:]
