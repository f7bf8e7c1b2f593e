"""Every command that pairs images with the logits of a network does it by the names of the classes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import onnx
import pytest
import torch
from click.testing import CliRunner, Result

from repghost.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from repghost.cli import cli
from repghost.data.images.preprocess import Preprocess
from repghost.network.model import RepGhostNet
from tests.support.training_sets import made_set, make_tree

PREPROCESS = Preprocess(size=32, resize=32, interpolation="bilinear")
CLASSES = ("blue", "green", "red")
NUMBERS = ("1", "2", "10")  # in the order of the network


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@torch.no_grad()
def bright() -> RepGhostNet:
    """Return a network that tells red, green and blue images apart, with the logits in the order of CLASSES."""
    torch.manual_seed(0)
    model, made = RepGhostNet(width=0.25, num_classes=3), made_set(48)
    inputs = torch.from_numpy(PREPROCESS.normalize(made.images))
    for _ in range(20):  # statistics of the batch norms
        model(inputs)
    model.eval()
    seen: list[torch.Tensor] = []
    hook = model.classifier.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    model(inputs)
    hook.remove()
    labels = torch.tensor([2, 1, 0])[torch.from_numpy(made.labels)]  # the set has red first
    means = torch.stack([seen[0][labels == label].mean(0) for label in range(3)])
    model.classifier.weight.copy_(means - means.mean(0))  # the nearest mean
    model.classifier.bias.copy_(-0.5 * ((means - means.mean(0)) * (means + means.mean(0))).sum(1))
    return model


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that names its classes."""
    path = tmp_path_factory.mktemp("named") / "named.safetensors"
    write_checkpoint(path, bright(), PREPROCESS.to_dict(), CLASSES)
    return path


@pytest.fixture(scope="module")
def plain(named: Path) -> Path:
    """The same network in a file that names no classes."""
    path = named.with_name("plain.safetensors")
    write_checkpoint(path, bright(), PREPROCESS.to_dict())
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "data", train=24, val=12)


@pytest.fixture
def numbers(data: Path) -> Path:
    """The same images in folders whose two orders differ."""
    for split in ("train", "val"):
        for name, number in zip(CLASSES, NUMBERS, strict=True):
            (data / split / name).rename(data / split / number)
    return data


def top1(result: Result) -> float:
    assert result.exit_code == 0, result.output
    return float(json.loads(result.stdout)["networks"][0]["top1"]["top1"])


def asked(command: str, checkpoint: Path, data: Path, output: Path) -> list[object]:
    """Return a command line of a command that pairs images with logits."""
    return {
        "validate": ["validate", checkpoint, "--data", data, "--json"],
        "quantize": ["quantize", checkpoint, "--data", data, "-o", output / "a.qdq.onnx"],
        "sensitivity": ["sensitivity", checkpoint, "--data", data],
        "qat": ["qat", checkpoint, "--data", data, "-o", output / "a.qdq.onnx"],
        "accuracy": ["accuracy", checkpoint, "--data", data, "--cells", output, "--docs", output],
        "compile": ["compile", "--target", "host", "--weights", checkpoint, "--data", data, "-o", output],
    }[command]


COMMANDS = ("validate", "quantize", "sensitivity", "qat", "accuracy", "compile")


@pytest.mark.slow
def test_the_network_of_these_tests_is_good(named: Path, plain: Path, data: Path) -> None:
    for checkpoint in (named, plain):
        assert top1(run("validate", checkpoint, "--data", data, "--json")) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_order_is_asked_for(command: str, plain: Path, numbers: Path, tmp_path: Path) -> None:
    result = run(*asked(command, plain, numbers, tmp_path / "out"))
    assert result.exit_code == 2
    assert "--class-order characters or --class-order natural" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_the_same_classes_with_the_same_sentence(
    command: str, named: Path, data: Path, tmp_path: Path
) -> None:
    for split in ("train", "val"):
        (data / split / "red").rename(data / split / "yellow")
    result = run(*asked(command, named, data, tmp_path / "out"))
    assert result.exit_code == 2
    assert re.search("not among .*'yellow'.* lacks 'red'", result.stderr)


@pytest.mark.parametrize("command", ["validate", "accuracy", "compile"])
def test_a_renamed_class_of_the_split_that_judges_is_refused(
    command: str, plain: Path, data: Path, tmp_path: Path
) -> None:
    (data / "val/green").rename(data / "val/zzz")
    result = run(*asked(command, plain, data, tmp_path / "out"))
    assert result.exit_code == 2
    assert "'zzz'; it lacks 'green'" in result.stderr


@pytest.mark.slow
def test_the_order_that_was_asked_for_is_taken(plain: Path, numbers: Path, tmp_path: Path) -> None:
    (tmp_path / "order.txt").write_text("1\n2\n10\n")
    wanted = {"natural": 1.0, "characters": 1 / 3, str(tmp_path / "order.txt"): 1.0}
    for order, share in wanted.items():
        found = top1(run("validate", plain, "--data", numbers, "--json", "--class-order", order))
        assert found == pytest.approx(share, abs=0.1)


@pytest.mark.slow
def test_labels_of_the_network_answer_the_question(plain: Path, numbers: Path) -> None:
    path = plain.with_name("numbers.safetensors")
    write_checkpoint(path, bright(), PREPROCESS.to_dict(), NUMBERS)
    assert top1(run("validate", path, "--data", numbers, "--json")) > 0.9


def test_a_class_that_the_judging_split_lacks_leaves_the_others_right(plain: Path, named: Path, data: Path) -> None:
    shutil.rmtree(data / "val/green")
    for checkpoint in (plain, named):
        result = run("validate", checkpoint, "--data", data, "--json")
        assert top1(result) > 0.9
        assert re.search("note: the set lacks .*'green'", result.stderr)
        assert json.loads(result.stdout)["split"] == "val"  # which stood in for test


def test_a_run_to_compile_has_the_same_classes(plain: Path, named: Path, numbers: Path) -> None:
    from compile.subject.load import load_subject
    from compile.subject.request import SubjectRequest

    shutil.rmtree(numbers / "val/2")
    subject = load_subject(SubjectRequest(weights=str(plain), data=numbers, class_order="natural"))
    assert subject.labels == NUMBERS  # what labels.txt says on the device
    assert subject.test is not None
    assert sorted(set(subject.test.labels.tolist())) == [0, 2]
    assert any("lacks" in note and "'2'" in note for note in subject.notes)
    assert sorted(set(subject.calibration.labels.tolist())) == [0, 1, 2]


@pytest.mark.slow
def test_networks_with_other_orders_are_compared_class_by_class(plain: Path, numbers: Path) -> None:
    turned, model = plain.with_name("turned.safetensors"), bright()
    with torch.no_grad():
        for parameter in (model.classifier.weight, model.classifier.bias):
            parameter.copy_(parameter[[2, 0, 1]].clone())
    write_checkpoint(turned, model, PREPROCESS.to_dict(), ("10", "1", "2"))
    result = run("validate", turned, plain, "--data", numbers, "--json", "--class-order", "natural")
    assert top1(result) > 0.9
    values = json.loads(result.stdout)
    assert values["classes"] == ["10", "1", "2"]
    assert [network["change"]["agreeing"] for network in values["networks"][1:]] == [12, 12, 12]


@pytest.mark.slow
def test_a_quantized_file_names_the_classes_in_the_order_that_was_asked_for(
    plain: Path, numbers: Path, tmp_path: Path
) -> None:
    file = tmp_path / "a.qdq.onnx"
    made = run("quantize", plain, "--data", numbers, "-o", file, "--class-order", "natural", "--algorithm", "min_max")
    assert made.exit_code == 0, made.output
    assert "--class-order natural" in made.stdout  # in the command that comes next
    labels = {entry.key: entry.value for entry in onnx.load(file).metadata_props}["repghost.labels"]
    assert json.loads(labels) == list(NUMBERS)


@pytest.mark.parametrize(
    "command", ["train", "validate", "quantize", "sensitivity", "qat", "accuracy", "compile", "report"]
)
def test_every_command_that_takes_labelled_images_takes_order_and_map(command: str) -> None:
    words = re.sub(r"\s+", " ", run(command, "--help").stdout)
    assert "--class-order natural|characters|FILE" in words and "--class-map PATH" in words
    found = cli.get_command(None, command)  # type: ignore[arg-type]
    assert found is not None
    takes_data = any("--data" in parameter.opts for parameter in found.params)
    assert takes_data


def test_no_other_command_takes_labelled_images() -> None:
    for name in cli.list_commands(None):  # type: ignore[arg-type]
        found = cli.get_command(None, name)  # type: ignore[arg-type]
        assert found is not None
        options = {option for parameter in found.params for option in parameter.opts}
        assert ("--class-order" in options) == ("--data" in options and not name.startswith("detect"))


@pytest.fixture
def trained_on(data: Path, tmp_path: Path) -> list[object]:
    """A short training by a recipe whose epochs a split of its own evaluates."""
    words = "--recipe finetune --width 0.25 --epochs 1 --warmup-epochs 0 --batch 8 --img-size 32 --workers 0 --no-aug"
    return ["train", "--data", data, *words.split(), "--no-tensorboard", "--output", tmp_path / "run"]


@pytest.mark.slow
def test_a_test_split_that_judged_no_epoch_is_used(trained_on: list[object], data: Path, tmp_path: Path) -> None:
    result = run(*trained_on)
    assert result.exit_code == 0, result.output
    assert "not measured, the set has no test split" in result.stdout
    shutil.copytree(data / "val", data / "test")
    shutil.rmtree(data / "test/green")
    result = run(*trained_on, "--resume", "auto")
    assert result.exit_code == 0, result.output
    assert re.search(r"test top-1: \d+\.\d\d% of 8 ", result.stdout)
    assert re.search("the set lacks .*'green'", result.stderr)
    checkpoint = read_checkpoint(tmp_path / "run/model.safetensors")
    assert checkpoint.metadata["test"]["pictures"] == 8
    assert checkpoint.labels == CLASSES


@pytest.mark.parametrize("split", ["val", "test"])
def test_training_refuses_other_classes_before_the_first_step(
    trained_on: list[object], data: Path, tmp_path: Path, split: str
) -> None:
    shutil.copytree(data / "val", data / "test")
    (data / split / "green").rename(data / split / "zzz")
    result = run(*trained_on)
    assert result.exit_code == 2
    assert "'zzz'; it lacks 'green'" in result.stderr
    assert not (tmp_path / "run").exists()


def test_training_says_why_a_test_split_without_labels_is_not_used(data: Path) -> None:
    from repghost.training.result import open_tested

    shutil.copytree(data / "val/red", data / "test")
    found, reason = open_tested(data, CLASSES)
    assert found is not None and found.name(0).startswith(str(data / "val"))  # as for every other command
    shutil.rmtree(data / "val")
    found, reason = open_tested(data, CLASSES)
    assert found is None and "class_map=FILE" in reason
