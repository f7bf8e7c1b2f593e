from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from repghost.cli import cli
from repghost.commands.train import _recipe, command
from repghost.errors import UsageError
from repghost.recipe import Recipe, get_recipe
from repghost.training.build import Run, start
from repghost.training.flags import FLAGS, PREPROCESS_FLAGS, REFUSED, REFUSED_SWITCHES
from repghost.training.loader_feed import make_mixup, train_transform
from repghost.training.ranks import Ranks

ORIGINAL = (
    "--model repghost.repghostnet_0_5x -b 128 --lr 0.6 --sched cosine --epochs 300 --opt sgd -j 7 --warmup-epochs 5 "
    "--warmup-lr 1e-4 --weight-decay 1e-5 --drop 0.2 --amp --model-ema --model-ema-decay 0.9999 --remode pixel "
    "--reprob 0.2 --output work_dirs/train/ --data_dir DIR"
)


def recipe_of(arguments: str, recipe: str = "imagenet") -> Recipe:
    with command.make_context("train", [*shlex.split(arguments), "--data", "DIR", "--recipe", recipe]) as context:
        return _recipe(recipe, {key: value for key, value in context.params.items() if value is not None})


def built(arguments: str) -> Run:
    return start(recipe_of(f"--width 0.25 {arguments}"), 10, 4, Ranks())


def test_the_original_command_is_the_recipe() -> None:
    assert recipe_of(ORIGINAL) == get_recipe("imagenet")
    wide = ORIGINAL.replace("0_5x", "1_3x") + " --aa rand-m9-mstd0.5"
    assert recipe_of(wide, "imagenet-wide") == get_recipe("imagenet-wide")


def rates(run: Run) -> list[float]:
    return [run.set_rate(epoch, 0) for epoch in range(run.epochs)]


def transform(arguments: str) -> str:
    return str(train_transform(recipe_of(arguments)))


def group(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run.optimizer.param_groups[1].items() if key != "params"} | {
        "kind": type(run.optimizer).__name__
    }


SHORT = "--epochs 6 --warmup-epochs 2 --amp-dtype off"
# flag -> what it needs besides itself, its value, and what is looked at in the parts of the run
EFFECTS: dict[str, tuple[str, str, Any]] = {
    "--model": ("", "0.3", lambda a: start(recipe_of(a + " --amp-dtype off"), 10, 4, Ranks()).model.spec.width),
    "--epochs": ("", "7", lambda a: len(rates(built(a + " --amp-dtype off")))),
    "--batch-size": ("", "16", lambda a: recipe_of(a).batch),
    "--lr": (SHORT, "0.3", lambda a: rates(built(a))),
    "--held-out": ("", "30", lambda a: recipe_of(a).held_out),
    "--seed": (SHORT, "7", lambda a: float(built(a).model.conv_stem.weight[0, 0, 0, 0].detach())),
    "--opt": (SHORT, "adamw", lambda a: group(built(a))),
    "--opt-eps": (SHORT + " --opt adamw", "0.001", lambda a: group(built(a))),
    "--opt-betas": (SHORT + " --opt adamw", "0.5 0.6", lambda a: group(built(a))),
    "--momentum": (SHORT, "0.5", lambda a: group(built(a))),
    "--weight-decay": (SHORT, "0.5", lambda a: group(built(a))),
    "--clip-grad": (SHORT, "0.001", lambda a: stepped(a)),
    "--clip-mode": (SHORT + " --clip-grad 0.001", "value", lambda a: stepped(a)),
    "--sched": (SHORT, "tanh", lambda a: rates(built(a))),
    "--lr-noise": (SHORT, "0 1", lambda a: rates(built(a))),
    "--lr-noise-pct": (SHORT + " --lr-noise 0 1", "0.1", lambda a: rates(built(a))),
    "--lr-noise-std": (SHORT + " --lr-noise 0 1", "0.01", lambda a: rates(built(a))),
    "--lr-cycle-mul": (SHORT + " --lr-cycle-limit 2", "2", lambda a: rates(built(a))),
    "--lr-cycle-limit": (SHORT, "2", lambda a: rates(built(a))),
    "--warmup-lr": (SHORT, "0.01", lambda a: rates(built(a))),
    "--min-lr": (SHORT, "0.01", lambda a: rates(built(a))),
    "--decay-epochs": (SHORT + " --sched step", "2", lambda a: rates(built(a))),
    "--warmup-epochs": ("--epochs 6 --amp-dtype off", "3", lambda a: rates(built(a))),
    "--cooldown-epochs": (SHORT, "2", lambda a: rates(built(a))),
    "--dr": (SHORT + " --sched step --decay-epochs 2", "0.5", lambda a: rates(built(a))),
    "--no-aug": ("", "", transform),
    "--scale": ("", "0.5 0.9", transform),
    "--ratio": ("", "0.9 1.1", transform),
    "--hflip": ("", "0.1", transform),
    "--vflip": ("", "0.1", transform),
    "--color-jitter": ("", "0.1", transform),
    "--aa": ("", "rand-m3", transform),
    "--reprob": ("", "0.9", lambda a: erasing(a).probability),
    "--remode": ("", "const", lambda a: erasing(a).per_pixel),
    "--recount": ("", "3", lambda a: erasing(a).max_count),
    "--mixup": ("", "0.2", lambda a: make_mixup(recipe_of(a), 10).mixup_alpha),
    "--cutmix": ("", "0.2", lambda a: make_mixup(recipe_of(a), 10).cutmix_alpha),
    "--cutmix-minmax": ("", "0.2 0.4", lambda a: make_mixup(recipe_of(a), 10).cutmix_minmax),
    "--mixup-prob": ("--mixup 0.2", "0.3", lambda a: make_mixup(recipe_of(a), 10).mix_prob),
    "--mixup-switch-prob": ("--mixup 0.2 --cutmix 1", "0.3", lambda a: make_mixup(recipe_of(a), 10).switch_prob),
    "--mixup-mode": ("--mixup 0.2", "elem", lambda a: make_mixup(recipe_of(a), 10).mode),
    "--mixup-off-epoch": ("--mixup 0.2", "3", lambda a: recipe_of(a).augmentation),
    "--smoothing": (SHORT, "0.3", lambda a: recipe_of(a).label_smoothing),
    "--train-interpolation": ("", "bilinear", transform),
    "--drop": (SHORT, "0.5", lambda a: built(a).model.dropout),
    "--bn-momentum": (SHORT, "0.3", lambda a: built(a).model.bn1.momentum),
    "--model-ema": (SHORT, "", lambda a: built(a.replace("--model-ema", "--no-model-ema")).average),
    "--model-ema-decay": (SHORT, "0.5", lambda a: built(a).average.decay),
    "--channels-last": (SHORT, "", lambda a: built(a.replace("--channels-l", "--no-channels-l")).model.blocks[9][0]),
    "--eval-metric": (SHORT, "loss", lambda a: recipe_of(a).eval_metric),
    "--amp-dtype": ("--epochs 6", "bfloat16", lambda a: str(built(a).autocast().fast_dtype)),
    "--compile": (SHORT, "", lambda a: type(built(a).forward).__name__),
    "--grad-accum-steps": (SHORT, "2", lambda a: recipe_of(a).execution.accumulate),
    "--freeze": (SHORT, "backbone", lambda a: sum(p.requires_grad for p in built(a).model.parameters())),
    "--img-size": ("", "128", lambda a: recipe_of(a).preprocess),
    "--input-size": ("", "3 128 128", lambda a: recipe_of(a).preprocess),
    "--crop-pct": ("", "0.95", lambda a: recipe_of(a).preprocess),
    "--mean": ("", "0.1 0.2 0.3", lambda a: recipe_of(a).preprocess),
    "--std": ("", "0.1 0.2 0.3", lambda a: recipe_of(a).preprocess),
    "--interpolation": ("", "bilinear", lambda a: recipe_of(a).preprocess),
}
ELSEWHERE = {"--sync-bn", "--dist-bn"}  # refused with one process: see below


def erasing(arguments: str) -> Any:
    from repghost.training.loader_feed import _Finish

    return _Finish(recipe_of(arguments), 10, Ranks()).erasing


def stepped(arguments: str) -> float:
    run = built(arguments)
    run.forward(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    run.set_rate(1, 0)
    run.update(1, 0)
    return float(run.model.conv_head.weight.detach().double().abs().sum())


def test_every_flag_is_tried() -> None:
    assert set(EFFECTS) | ELSEWHERE == {flag.names[-1] for flag in FLAGS + PREPROCESS_FLAGS}


@pytest.mark.parametrize("name", EFFECTS)
def test_a_flag_changes_the_run(name: str) -> None:
    needs, value, look = EFFECTS[name]
    changed = look(f"{needs} {name} {value}")
    if name in ("--mixup", "--cutmix", "--cutmix-minmax"):
        expected = tuple(float(part) for part in value.split())
        assert changed == (expected if len(expected) > 1 else expected[0])
        return
    if name == "--channels-last":
        assert changed.conv.weight.is_contiguous()
        return
    if name == "--amp-dtype":
        assert changed == "torch.bfloat16"
        return
    assert changed != look(needs)


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_have_no_effect_is_refused(name: str, tmp_path: Path) -> None:
    value = [] if name in REFUSED_SWITCHES else ["1"]
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
        ("--amp --amp-dtype bfloat16", "--amp"),
        ("--sched cosin", "Did you mean 'cosine'"),
    ],
)
def test_a_flag_that_needs_another_is_refused_alone(arguments: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe_of(arguments)


def test_flags_of_the_loader_are_refused_by_the_demo() -> None:
    with pytest.raises(UsageError, match="prepares its pictures once"):
        recipe_of("--reprob 0.1", "demo")


@pytest.mark.parametrize("more", [{"sync_bn": True}, {"dist_bn": "reduce"}, {"freeze": "bn", "bn_momentum": 0.2}])
def test_execution_that_cannot_be_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"no effect|needs several"):
        start(get_recipe("demo").changed(width=0.25, **more), 3, 3, Ranks())


def test_the_learning_rate_is_that_of_the_authors_log() -> None:
    run = start(get_recipe("imagenet").changed(width=0.25, amp="off"), 10, 3, Ranks())
    logged = {0: 1e-4, 1: 0.1201, 2: 0.2401, 3: 0.3600, 4: 0.4800, 5: 0.5996, 99: 0.4527, 149: 0.3031, 299: 2.6e-5}
    assert run.epochs == 300
    for epoch, rate in logged.items():
        assert run.set_rate(epoch, 1) == pytest.approx(rate, abs=5.1e-5 if rate > 1e-3 else 5e-7), epoch
