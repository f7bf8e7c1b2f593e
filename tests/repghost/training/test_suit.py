from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from repghost.checkpoints.checkpoint import read_checkpoint
from repghost.cli import cli
from repghost.training.recipe import get_recipe
from repghost.training.suit import LEAST_STEPS, few_steps, steps_of, suit_device, suit_images
from tests.support.training_sets import make_tree

FINETUNE = get_recipe("finetune")
TINY = ["--recipe", "finetune", "--width", "0.25", "--img-size", "32", "--interpolation", "bilinear", "-j", "0"]


@pytest.mark.parametrize(
    ("images", "batch", "epochs"),
    [
        (72, 8, 20),  # 20 steps of 64 left 37.5 % where 180 of 8 gave 100 %
        (500, 32, 20),  # 140 steps of 64
        (200, 16, 20),
        (24, 8, 50),
        (10, 8, 150),
        (5, 5, 150),
    ],
)
def test_few_images_get_a_batch_and_epochs_that_give_enough_steps(images: int, batch: int, epochs: int) -> None:
    recipe, note = suit_images(FINETUNE, images, 1, {"width"})
    assert (recipe.batch, recipe.epochs) == (batch, epochs)
    assert steps_of(recipe, images, 1) >= LEAST_STEPS
    assert f"batch={batch} epochs={epochs}" in note and f"{steps_of(FINETUNE, images, 1)} steps" in note


@pytest.mark.parametrize("given", ["batch", "epochs"])
def test_what_the_user_chose_stays_and_is_only_commented_on(given: str) -> None:
    recipe, note = suit_images(FINETUNE, 72, 1, {given})
    assert recipe == FINETUNE
    assert "20 steps" in note and "batch=8 epochs=20 learning_rate=0.02" in note and "180 steps" in note


def test_the_rate_falls_with_the_batch_unless_it_was_chosen() -> None:
    assert suit_images(FINETUNE, 72, 1, ())[0].learning_rate == FINETUNE.learning_rate == 0.02
    demo = get_recipe("demo")
    assert suit_images(demo, 700, 1, ())[0].learning_rate == pytest.approx(0.2 * 32 / 128)
    assert suit_images(demo, 72, 1, ())[0].learning_rate == 0.02
    assert suit_images(demo, 72, 1, {"learning_rate"})[0].learning_rate == 0.2


def test_enough_images_change_nothing() -> None:
    assert suit_images(FINETUNE, 512, 1, ()) == (FINETUNE, "")
    assert suit_images(get_recipe("demo"), 55_000, 1, ()) == (get_recipe("demo"), "")
    assert suit_images(FINETUNE, 1, 1, ()) == (FINETUNE, "")  # refused where the run starts
    assert suit_images(FINETUNE, 512, 8, ())[0].batch == 8  # processes share the images


def test_other_trainings_say_that_their_steps_are_few() -> None:
    assert few_steps(4).startswith("4 steps in all: too few")
    assert re.match("400 steps.* 500: too few", few_steps(400, 500))
    assert few_steps(LEAST_STEPS) == few_steps(501, 500) == ""


def test_float16_on_a_processor_becomes_float32() -> None:
    half = get_recipe("imagenet")
    recipe, note = suit_device(half, torch.device("cpu"))
    assert recipe == half.changed(amp="off")
    assert "float32" in note
    assert suit_device(half, torch.device("cuda", 0)) == (half, "")
    bfloat16 = half.changed(amp="bfloat16")
    assert suit_device(bfloat16, torch.device("cpu")) == (bfloat16, "")


@pytest.mark.slow
def test_the_command_says_both_and_the_checkpoint_has_what_was_done(tmp_path: Path) -> None:
    data, run = make_tree(tmp_path / "data"), tmp_path / "run"
    command = ["train", "--data", str(data), "-o", str(run), *TINY, "--amp", "--device", "cpu", "--epochs", "2"]
    result = CliRunner().invoke(cli, [*command, "--batch", "16"])
    assert result.exit_code == 0, result.output
    assert "computes in float32" in result.stderr
    assert "6 steps in 2 epochs, too few" in result.stderr
    assert "kept: epoch " in result.stdout and " weights, held-out top-1 " in result.stdout
    recipe = read_checkpoint(run / "model.safetensors").metadata["recipe"]
    assert (recipe["execution"]["amp"], recipe["batch"], recipe["epochs"]) == ("off", 16, 2)


@pytest.mark.slow
def test_finetuning_on_few_images_learns_without_a_choice_of_batch_and_epochs(tmp_path: Path) -> None:
    data, run = make_tree(tmp_path / "data", 72, 24), tmp_path / "run"
    result = CliRunner().invoke(cli, ["train", "--data", str(data), "-o", str(run), *TINY, "--threads", "1"])
    assert result.exit_code == 0, result.output
    assert read_checkpoint(run / "model.safetensors").metadata["held_out"]["top1"] > 0.9  # a third would be chance
