from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from repghost.api.training.recipes import RecipeValues, recipe_with
from repghost.api.training.train_command import train_command
from repghost.cli import cli
from repghost.commands.options.spelled import as_option
from repghost.commands.options.train_flags import FLAGS, PREPROCESS_FLAGS, REFUSALS, opposite
from repghost.commands.training.train import command
from repghost.data.formats.arrays import ArraySet
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError, options_spelled
from repghost.training.build import ClassifierRun, start
from repghost.training.classify import Classes
from repghost.training.core.loop import Loop
from repghost.training.feeds.choose import open_feed
from repghost.training.feeds.loader import LoaderFeed
from repghost.training.follow.hooks import Hooks
from repghost.training.losses import distilled, recipe_loss
from repghost.training.options import Loading, Options
from repghost.training.recipe import Recipe, get_recipe
from repghost.training.state.state import EpochRecord, best_epoch

ORIGINAL = (
    "--model repghost.repghostnet_0_5x -b 128 --lr 0.6 --sched cosine --epochs 300 --opt sgd -j 7 --warmup-epochs 5 "
    "--warmup-lr 1e-4 --weight-decay 1e-5 --drop 0.2 --amp --model-ema --model-ema-decay 0.9999 --remode pixel "
    "--reprob 0.2 --output work_dirs/train/ --data_dir DIR"
)


def recipe_of(arguments: str, recipe: str = "imagenet") -> Recipe:
    """The recipe that the command line would give to `repghost.train`; `--amp` is spelled out by the command."""
    written = [*shlex.split(arguments), "--data", "DIR", "--recipe", recipe]
    with command.make_context("train", written) as context, options_spelled(as_option):
        given: Any = {key: value for key, value in context.params.items() if key in RecipeValues.__annotations__}
        if context.params["mixed"]:
            given["amp_dtype"] = given["amp_dtype"] or "float16"
        return recipe_with(recipe, given)


def built(arguments: str) -> ClassifierRun:
    return start(recipe_of(f"--width 0.25 {arguments}"), 10, 4, Ranks())


def test_the_original_command_is_the_recipe() -> None:
    assert recipe_of(ORIGINAL) == get_recipe("imagenet")
    wide = ORIGINAL.replace("0_5x", "1_3x") + " --aa rand-m9-mstd0.5"
    assert recipe_of(wide, "imagenet-wide") == get_recipe("imagenet-wide")


def rates(arguments: str) -> list[float]:
    run = built(arguments)
    return [run.set_rate(epoch, 0) for epoch in range(run.epochs)]


def images(count: int = 24) -> ArraySet:
    """Larger than the input and not square, so that crop and interpolation matter."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 40, 48, 3), np.uint8)
    return ArraySet("made", tuple("0123456789"), pixels, np.arange(count) % 10)


def feed_of(arguments: str) -> LoaderFeed:
    size = "" if "-size 3" in arguments else "--img-size 32"
    recipe = recipe_of(f"--width 0.25 -b 8 {size} {arguments}")
    return LoaderFeed(recipe, images(), images(), 10, Loading(workers=0), Ranks())


def fed(arguments: str, epoch: int = 0) -> Any:
    """The inputs and targets of an epoch, to the bit."""
    batches = list(feed_of(arguments).batches(epoch, 0))
    return [(inputs.shape, inputs.numpy().tobytes(), targets.numpy().tobytes()) for inputs, _, targets in batches]


def evaluated(arguments: str) -> Any:
    """The images that evaluate an epoch, to the bit."""
    return [(shown.shape, shown.tobytes()) for shown, _ in feed_of(arguments).evaluated()]


def held_out(arguments: str) -> int:
    recipe = recipe_of(f"-b 8 --img-size 32 {arguments}", "demo")
    feed = open_feed(recipe, images(100), None, 10, Hooks(), Options())
    return sum(len(labels) for _, labels in feed.evaluated())


INPUTS = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def moved(arguments: str, look: Any = None) -> Any:
    """Two steps on the same images; by default, the learned weights."""
    run = built(arguments)
    for step in range(2):
        torch.manual_seed(0)
        run.forward(INPUTS).square().sum().backward()
        run.set_rate(1, step)
        run.update(1, step)
    return [float(p.detach().double().sum()) for p in run.model.parameters()] if look is None else look(run)


def average(run: ClassifierRun) -> Any:
    """Return a layer of the averaged weights."""
    return run.networks["averaged"].conv_stem.weight.tolist()


def loss(arguments: str) -> float:
    return float(recipe_loss(recipe_of(arguments))(INPUTS, INPUTS.flatten(1)[:, :10], torch.arange(4)))


def mixed_loss(arguments: str) -> float:
    """The loss of targets that share each image between two classes."""
    targets = torch.eye(10)[:4] * 0.7 + torch.eye(10)[4:8] * 0.3
    return float(recipe_loss(recipe_of(arguments))(INPUTS, INPUTS.flatten(1)[:, :10], targets))


def taught(arguments: str) -> float:
    """The loss with a teacher whose logits are other numbers of the inputs."""
    recipe = recipe_of(arguments)
    how = recipe.teaching.distillation, recipe.teaching.temperature, recipe.teaching.distillation_kind
    teacher = (lambda inputs: inputs.flatten(1)[:, 10:20]) if recipe.teaching.teacher else None
    return float(distilled(recipe_loss(recipe), teacher, *how)(INPUTS, INPUTS.flatten(1)[:, :10], torch.arange(4)))


def logits(arguments: str) -> torch.Tensor:
    run = built(arguments)
    torch.manual_seed(0)
    with run.autocast():
        return run.forward(INPUTS)


def learned_from_one_batch(arguments: str) -> bool:
    run = built(arguments)
    before = run.model.conv_head.weight.clone()
    run.set_rate(1, 0)
    Loop(Classes(run, feed_of(arguments), run.loss)).learn((INPUTS, torch.arange(4), torch.arange(4)), 1, 0)
    return not torch.equal(before, run.model.conv_head.weight)


def kept(arguments: str) -> int:
    """The epoch that is kept of two, of which the first has the better loss and the second the better top-1."""
    history = [EpochRecord(1, 0, 0, 0, 0, 0, 0.5, 0.9, 1.0), EpochRecord(2, 0, 0, 0, 0, 0, 0.6, 0.9, 2.0)]
    best = best_epoch(history, recipe_of(arguments).eval_metric)
    assert best is not None
    return best.epoch


SHORT = "--epochs 6 --warmup-epochs 2 --amp-dtype off"
# flag -> what it needs besides itself, its value or how it is written, and what of the run has to change
EFFECTS: dict[str, tuple[str, str, Any]] = {
    "--model": (SHORT, "0.3", lambda a: start(recipe_of(a), 10, 4, Ranks()).model.conv_head.weight.shape),
    "--epochs": ("--amp-dtype off", "7", rates),
    "--batch-size": ("", "16", fed),
    "--lr": (SHORT, "0.3", rates),
    "--held-out": ("--held-out 20", "30", held_out),
    "--seed": (SHORT, "7", moved),
    "--opt": (SHORT, "adamw", moved),
    "--opt-eps": (SHORT + " --opt adamw", "0.1", moved),
    "--opt-betas": (SHORT + " --opt adamw", "0.5 0.6", moved),
    "--momentum": (SHORT, "0.5", moved),
    "--weight-decay": (SHORT, "0.5", moved),
    "--layer-decay": (SHORT, "0.5", moved),
    "--clip-grad": (SHORT, "0.001", moved),
    "--clip-mode": (SHORT + " --clip-grad 0.001", "value", moved),
    "--sched": (SHORT, "tanh", rates),
    "--lr-noise": (SHORT, "0 1", rates),
    "--lr-noise-pct": (SHORT + " --lr-noise 0 1", "0.1", rates),
    "--lr-noise-std": (SHORT + " --lr-noise 0 1", "0.01", rates),
    "--lr-cycle-mul": (SHORT + " --lr-cycle-limit 2", "2", rates),
    "--lr-cycle-limit": (SHORT, "2", rates),
    "--warmup-lr": (SHORT, "0.01", rates),
    "--min-lr": (SHORT, "0.01", rates),
    "--decay-epochs": (SHORT + " --sched step", "2", rates),
    "--warmup-epochs": ("--epochs 6 --amp-dtype off", "3", rates),
    "--cooldown-epochs": (SHORT, "2", rates),
    "--dr": (SHORT + " --sched step --decay-epochs 2", "0.5", rates),
    "--no-aug": ("", "", fed),
    "--scale": ("", "0.5 0.9", fed),
    "--ratio": ("", "0.9 1.1", fed),
    "--hflip": ("", "0.1", fed),
    "--vflip": ("", "0.9", fed),
    "--color-jitter": ("", "0.1", fed),
    "--aa": ("", "rand-m3", fed),
    "--reprob": ("", "0.9", fed),
    "--remode": ("--reprob 0.9", "const", fed),
    "--recount": ("--reprob 0.9", "3", fed),
    "--mixup": ("", "0.2", fed),
    "--cutmix": ("", "0.2", fed),
    "--cutmix-minmax": ("", "0.2 0.4", fed),
    "--mixup-prob": ("--mixup 0.2", "0", fed),
    "--mixup-switch-prob": ("--mixup 0.2 --cutmix 1", "1", fed),
    "--mixup-mode": ("--mixup 0.2", "elem", fed),
    "--mixup-off-epoch": ("--mixup 0.2", "3", lambda a: fed(a, 3)),
    "--smoothing": (SHORT, "0.3", loss),
    "--bce-loss": (SHORT, "", loss),
    "--bce-target-thresh": (SHORT + " --bce-loss --mixup 0.2", "0.4", mixed_loss),
    "--train-crop-mode": ("", "rkrc", fed),
    "--aug-repeats": ("", "3", fed),
    "--train-interpolation": ("", "bilinear", fed),
    "--drop": (SHORT, "0.5", lambda a: logits(a).tolist()),
    "--bn-momentum": (SHORT, "0.3", lambda a: moved(a, lambda run: run.model.bn1.running_mean.tolist())),
    "--model-ema": (SHORT, "--no-model-ema", lambda a: moved(a, lambda run: list(run.networks))),
    "--model-ema-decay": (SHORT, "0.5", lambda a: moved(a, average)),
    "--model-ema-warmup": (SHORT, "", lambda a: moved(a, average)),
    "--channels-last": (SHORT, "--no-channels-last", lambda a: built(a).model.conv_stem.weight.is_contiguous()),
    "--eval-metric": (SHORT, "loss", kept),
    "--amp-dtype": ("--amp-dtype off", "bfloat16", lambda a: logits(a).dtype),
    "--compile": (SHORT, "", lambda a: type(built(a).forward)),
    "--grad-accum-steps": (SHORT, "2", learned_from_one_batch),
    "--grad-checkpointing": (SHORT, "", lambda a: type(built(a).forward)),
    "--freeze": (SHORT, "backbone", moved),
    "--teacher": (SHORT, "timm:resnet18", taught),
    "--distill-alpha": (SHORT + " --teacher timm:resnet18", "0.3", taught),
    "--distill-kind": (SHORT + " --teacher timm:resnet18", "hard", taught),
    "--distill-temperature": (SHORT + " --teacher timm:resnet18", "3", taught),
    "--in-chans": ("", "1", fed),
    "--img-size": ("", "48", fed),
    "--input-size": ("", "3 48 48", fed),
    "--crop-pct": ("", "0.95", evaluated),
    "--mean": ("", "0.1 0.2 0.3", fed),
    "--std": ("", "0.1 0.2 0.3", fed),
    "--interpolation": ("", "bilinear", evaluated),
}
ELSEWHERE = {"--sync-bn", "--dist-bn"}  # refused with one process: see below


def test_every_flag_is_tried() -> None:
    assert set(EFFECTS) | ELSEWHERE == {flag.names[-1] for flag in FLAGS + PREPROCESS_FLAGS}


@functools.cache
def without(look: Any, needs: str) -> Any:
    before = look(needs)
    assert before == look(needs)  # nothing else changes it
    return before


@pytest.mark.slow
@pytest.mark.parametrize("name", EFFECTS)
def test_a_flag_changes_the_run(name: str) -> None:
    needs, value, look = EFFECTS[name]
    written = value if value.startswith("--") else f"{name} {value}"
    assert look(f"{needs} {written}") != without(look, needs)


REFUSED = [(name, ["1"]) for row in REFUSALS for name in row.valued]
REFUSED += [(name, []) for row in REFUSALS for name in row.switches]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=[name for name, _ in REFUSED])
def test_what_would_have_no_effect_is_refused(name: str, value: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["train", "--data", str(tmp_path), name, *value])
    assert result.exit_code == 2, result.output
    assert f"{name} is refused" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--clip-mode value", "--clip-grad"),
        ("--lr-noise-pct 0.1", "--lr-noise"),
        ("--decay-epochs 3", "--sched step"),
        ("--sched step --min-lr 0.1", "--sched than step"),
        ("--no-model-ema --model-ema-decay 0.9", "--model-ema"),
        ("--mixup-prob 0.5", "--mixup or --cutmix"),
        ("--aa rand-m9 --color-jitter 0.1", "--aa"),
        ("--reprob 0 --remode rand", "--reprob above 0"),
        ("--no-aug --scale 0.5 1", "--no-aug"),
        ("--input-size 3 32 64", "--input-size"),
        ("--in-chans 5", "--in-chans must be 1 .grey., 2 "),
        ("--in-chans 1 --mean 0.1 0.2 0.3", "--mean needs as many numbers as the network has channels, 1, not 3"),
        ("--in-chans 4 --mean 0.5 --std 0.5", "--mean needs .* 4, not 1"),
        ("--mean 0.5 0.5 0.5 0.5 --std 0.5 0.5 0.5 0.5", "--mean needs .* 3, not 4"),
        ("--std 0.5", "--std needs .* 3, not 1"),
        ("--bce-target-thresh 0.3", "--bce-loss"),
        ("--bce-loss --bce-target-thresh 0.3", "--mixup"),
        ("--train-crop-mode rr", "Did you mean 'rkrr'|Did you mean 'rrc'"),
        ("--no-aug --aug-repeats 3", "--no-aug"),
        ("--no-model-ema --model-ema-warmup", "--model-ema"),
        ("--layer-decay 2", "layer_decay must be from"),
        ("--held-out 30", "keeps its pictures in memory"),
        ("--opt-eps 0.1", "--opt .*epsilon"),
        ("--opt-betas 0.5 0.6", "--opt .*betas"),
        ("--opt adamw --momentum 0.5", "--opt .*momentum"),
        ("--sched step --cooldown-epochs 2", "--sched than step"),
        ("--mixup 0.2 --mixup-off-epoch 300", "more --epochs"),
        ("--sched cosin", "Did you mean 'cosine'"),
        ("--distill-alpha 0.3", "--teacher"),
        ("--teacher net.onnx --distill-kind hard --distill-temperature 2", "--distillation-kind soft"),
        ("--teacher net.onnx --distill-kind hrd", "Did you mean 'hard'"),
        ("--teacher net.onnx --distill-alpha 2", "distillation must be from 0"),
    ],
)
def test_a_flag_that_needs_another_is_refused_alone(arguments: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe_of(arguments)


def test_flags_of_the_loader_are_refused_by_the_demo() -> None:
    with pytest.raises(UsageError, match="prepares its pictures once"):
        recipe_of("--reprob 0.1", "demo")


@pytest.mark.parametrize(
    "more",
    [{"sync_bn": True}, {"dist_bn": "reduce"}] + [{"freeze": what, "bn_momentum": 0.2} for what in ("bn", "backbone")],
)
def test_execution_that_cannot_be_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"no effect|needs several"):
        start(get_recipe("demo").changed(width=0.25, **more), 3, 3, Ranks())


def test_the_learning_rate_is_that_of_the_authors_log() -> None:
    run = start(get_recipe("imagenet").changed(width=0.25, amp="off"), 10, 3, Ranks())
    logged = {0: 1e-4, 1: 0.1201, 2: 0.2401, 3: 0.3600, 4: 0.4800, 5: 0.5996, 99: 0.4527, 149: 0.3031, 299: 2.6e-5}
    assert run.epochs == 300
    for epoch, rate in logged.items():
        assert run.set_rate(epoch, 1) == pytest.approx(rate, abs=5.1e-5 if rate > 1e-3 else 5e-7), epoch


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "imagenet", "--pin-mem"], "--pin-mem.* GPU"),
        (["--recipe", "imagenet", "--log-interval", "5"], "--log-interval.* GPU"),
        (["--dist-timeout", "5"], "--dist-timeout.* one process"),
        (["--amp", "--amp-dtype", "bfloat16"], "--amp is --amp-dtype float16"),
        (["--recipe", "demo", "-j", "0"], "--workers.*'demo'"),
        (["--recipe", "demo", "-vb", "2"], "--validation-batch-size-multiplier.*'demo'"),
        (["--recipe", "demo", "--broken-limit", "0"], "--broken-limit.*'demo'"),
        (["--recipe", "demo", "--val-split", "test"], "--val-split.*'demo'"),
    ],
)
def test_flags_of_the_command_without_effect_are_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, ["train", "--data", str(tmp_path), "--device", "cpu", *arguments])
    assert result.exit_code == 2, result.output
    assert re.search(message, result.output)


@pytest.mark.parametrize(("switch", "taken_back"), [("--sync-bn", "--no-sync-bn"), ("--no-aug", "--aug")])
def test_a_switch_is_taken_back_by_its_opposite(switch: str, taken_back: str) -> None:
    assert opposite(switch) == taken_back
    text = CliRunner().invoke(cli, ["train", "--help"]).output
    assert f"{switch} / {taken_back}" in text


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("demo", {}),
        ("demo", {"width": "0.8", "held_out": 100}),
        ("demo", {"in_chans": 2, "img_size": 32, "warmup_epochs": 0.0, "ema": False}),
        ("cifar", {"in_chans": 4, "mean": (0.5, 0.4, 0.3, 0.2), "std": (0.5,) * 4, "bn_momentum": 0.2}),
        ("imagenet", {"opt": "rmsprop", "opt_eps": 0.01, "scale": (0.5, 1.0), "crop_pct": 0.9, "teacher": "a b.onnx"}),
    ],
)
def test_a_checkpoint_names_the_command_that_trains_so_again(name: str, values: dict[str, Any]) -> None:
    recipe = recipe_with(name, values)  # type: ignore[arg-type]
    again = train_command(recipe)
    assert recipe_of(again.removeprefix("repghost train --data DIR "), name) == recipe
    assert train_command(recipe, pretrained=True).endswith(" --pretrained CKPT")
