"""Refuses flags of `repghost train` that have an effect only together with others, where those are missing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from repghost.commands.options.train_flags import FLAGS
from repghost.errors import UsageError


def _optimizer_has(recipe: Any, name: str) -> bool:
    """Return whether the recipe's optimizer takes a value of this name; timm ignores it otherwise.

    True for an optimizer that timm does not know, which is refused where it is built.
    """
    from timm.optim import get_optimizer_class

    try:
        optimizer = get_optimizer_class(recipe.optimization.opt.lower().removeprefix("lookahead_"), bind_defaults=False)
    except ValueError:
        return True
    return name in inspect.signature(optimizer).parameters


# A flag that has an effect only together with others: its field -> what has to hold, and how a message says it.
_NEEDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "held_out": (lambda recipe: recipe.augmentation is None, "a --recipe that keeps its pictures in memory"),
    "opt_eps": (lambda recipe: _optimizer_has(recipe, "eps"), "an --opt that has an epsilon"),
    "opt_betas": (lambda recipe: _optimizer_has(recipe, "betas"), "an --opt that has betas"),
    "momentum": (lambda recipe: _optimizer_has(recipe, "momentum"), "an --opt that has a momentum"),
    "clip_mode": (lambda recipe: recipe.optimization.clip_grad is not None, "--clip-grad"),
    "lr_noise_pct": (lambda recipe: recipe.optimization.lr_noise is not None, "--lr-noise"),
    "lr_noise_std": (lambda recipe: recipe.optimization.lr_noise is not None, "--lr-noise"),
    "lr_cycle_mul": (lambda recipe: recipe.optimization.lr_cycle_limit > 1, "--lr-cycle-limit above 1"),
    "lr_cycle_limit": (lambda recipe: recipe.optimization.sched != "step", "another --sched than step"),
    "min_learning_rate": (lambda recipe: recipe.optimization.sched != "step", "another --sched than step"),
    "cooldown_epochs": (lambda recipe: recipe.optimization.sched != "step", "another --sched than step"),
    "decay_epochs": (lambda recipe: recipe.optimization.sched == "step", "--sched step"),
    "decay_rate": (
        lambda recipe: recipe.optimization.sched in ("step", "poly") or recipe.optimization.lr_cycle_limit > 1,
        "--sched step or poly, or --lr-cycle-limit above 1",
    ),
    "warmup_lr": (lambda recipe: recipe.warmup_epochs > 0, "--warmup-epochs above 0"),
    "ema_decay": (lambda recipe: recipe.ema, "--model-ema"),
    "remode": (lambda recipe: recipe.augmentation.reprob > 0, "--reprob above 0"),
    "recount": (lambda recipe: recipe.augmentation.reprob > 0, "--reprob above 0"),
    "color_jitter": (lambda recipe: recipe.augmentation.aa is None, "a recipe without --aa"),
    "mixup_prob": (lambda recipe: recipe.augmentation.mixes, "--mixup or --cutmix"),
    "mixup_mode": (lambda recipe: recipe.augmentation.mixes, "--mixup or --cutmix"),
    "mixup_off_epoch": (
        lambda recipe: recipe.augmentation.mixes and recipe.augmentation.mixup_off_epoch < recipe.epochs,
        "--mixup or --cutmix, and more --epochs",
    ),
    "mixup_switch_prob": (
        lambda recipe: (
            recipe.augmentation.mixup > 0
            and (recipe.augmentation.cutmix > 0 or recipe.augmentation.cutmix_minmax is not None)
        ),
        "--mixup and --cutmix",
    ),
    "distillation": (lambda recipe: bool(recipe.teaching.teacher), "--teacher"),
    "distillation_kind": (lambda recipe: bool(recipe.teaching.teacher), "--teacher"),
    "temperature": (
        lambda recipe: bool(recipe.teaching.teacher) and recipe.teaching.distillation_kind == "soft",
        "--teacher and --distill-kind soft",
    ),
    "cutmix": (lambda recipe: recipe.augmentation.cutmix_minmax is None, "a run without --cutmix-minmax"),
}
_AUGMENTING = (  # all off with --no-aug
    "scale", "ratio", "hflip", "vflip", "color_jitter", "aa", "reprob", "remode", "recount", "train_interpolation",
)  # fmt: skip


def refuse_without_effect(recipe: Any, given: Mapping[str, Any]) -> None:
    """Refuse a flag that would change nothing in this run.

    Args:
        recipe: with the flags applied.
        given: field -> value of the flags on the command line.

    Raises:
        UsageError: naming the first such flag and what it needs.
    """
    names = {flag.sets: flag.names[-1] for flag in FLAGS}
    for field in given:
        holds, need = _NEEDS.get(field, (lambda recipe: True, ""))
        if not holds(recipe):
            raise UsageError(f"{names[field]} has no effect without {need}; give that too, or leave it out.")
        if field in _AUGMENTING and recipe.augmentation is not None and recipe.augmentation.no_aug:
            raise UsageError(f"{names[field]} has no effect with --no-aug; leave one of them out.")
