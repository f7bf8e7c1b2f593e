"""The recipe of a training: one of the table, with the values that the caller gives in place of its own."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypedDict

from repghost.data.images.chosen_preprocess import with_values
from repghost.errors import UsageError, option
from repghost.sizes import sides
from repghost.training.recipe import Recipe, get_recipe

Pair = tuple[float, float]
Channels = tuple[float, float, float]


class RecipeValues(TypedDict, total=False):
    """Values of a recipe as arguments of `repghost.train`; one that is left out stays as the recipe has it.

    Attributes:
        width: of the network: 0.5, "1.0x", "repghostnet_0_5x".
        epochs: passes over the images.
        batch: images per step and process.
        learning_rate: the peak.
        held_out: training images that each epoch is evaluated on, of a recipe that keeps its images in memory.
        seed: the start of every random choice.
        opt: timm's optimizer.
        opt_eps: its epsilon.
        opt_betas: its betas.
        momentum: its momentum.
        weight_decay: on weights with two or more dimensions.
        layer_decay: the rate of a block relative to that of the next one.
        clip_grad: limit of the gradient.
        clip_mode: "norm", "value" or "agc".
        sched: "cosine", "tanh", "step" or "poly".
        lr_noise: from and to which share of the epochs the rate is noisy.
        lr_noise_pct: largest relative noise.
        lr_noise_std: deviation of the noise.
        lr_cycle_mul: length of a cycle relative to the one before.
        lr_cycle_limit: number of cycles.
        warmup_lr: where the warm-up begins.
        min_learning_rate: where the schedule ends.
        decay_epochs: epochs between two decays of the schedule "step".
        warmup_epochs: counted inside `epochs`.
        cooldown_epochs: epochs at the lowest rate after the schedule.
        decay_rate: of the schedule "step", or of each further cycle.
        no_aug: resize and centre crop only.
        scale: area of the random crop.
        ratio: width / height of the random crop.
        hflip: probability of mirroring left to right.
        vflip: probability of mirroring top to bottom.
        color_jitter: its strength.
        aa: a policy of timm, e.g. "rand-m9-mstd0.5".
        reprob: probability of erasing a rectangle.
        remode: "const", "rand" or "pixel".
        recount: at most so many rectangles.
        mixup: alpha.
        cutmix: alpha.
        cutmix_minmax: side of the rectangle, instead of `cutmix`.
        mixup_prob: probability that a batch is mixed.
        mixup_switch_prob: probability of cutmix where both are on.
        mixup_mode: "batch", "pair" or "elem".
        mixup_off_epoch: mixing ends after so many epochs.
        label_smoothing: share of the target that is spread over all classes.
        bce_loss: binary cross-entropy of each class.
        bce_target_thresh: targets above it are 1, the others 0, where images are mixed.
        train_crop_mode: "rrc", "rkrc" or "rkrr".
        aug_repeats: how often an epoch augments each of its images.
        train_interpolation: "random", "bilinear" or "bicubic".
        dropout: before the classifier.
        bn_momentum: of the running statistics.
        sync_bn: batch statistics over all GPUs.
        dist_bn: after each epoch: "broadcast" or "reduce".
        ema: average the weights.
        ema_decay: of the average.
        ema_warmup: at first the average covers the latest steps only.
        channels_last: the memory layout.
        eval_metric: what the best epoch is: "top1", "top5" or "loss".
        amp_dtype: "float16", "bfloat16" or "off".
        compile: use torch.compile.
        accumulate: batches per step.
        grad_checkpointing: less memory, a third more time, the same result.
        freeze: "bn" or "backbone" do not learn.
        teacher: also learn from its predictions: "timm:NAME", a checkpoint or an ONNX file.
        distill_alpha: the teacher's share of the loss.
        distill_kind: "soft" compares probabilities, "hard" with the teacher's class.
        distill_temperature: of the soft comparison.
        in_chans: 1 for a network of grey images, 3 for RGB; 4 for RGB and a fourth band, 2 for grey and a second one,
            as PNG and TIFF files store them.
        img_size: pixels of the input.
        input_size: 3, height and width of the input.
        crop_pct: input size / resize, when evaluating.
        mean: of the pixels, per channel.
        std: their deviation, per colour.
        interpolation: "bilinear" or "bicubic", when evaluating.
    """

    width: str | float
    epochs: int
    batch: int
    learning_rate: float
    held_out: int
    seed: int
    opt: str
    opt_eps: float
    opt_betas: Pair
    momentum: float
    weight_decay: float
    layer_decay: float
    clip_grad: float
    clip_mode: str
    sched: str
    lr_noise: Pair
    lr_noise_pct: float
    lr_noise_std: float
    lr_cycle_mul: float
    lr_cycle_limit: int
    warmup_lr: float
    min_learning_rate: float
    decay_epochs: float
    warmup_epochs: float
    cooldown_epochs: int
    decay_rate: float
    no_aug: bool
    scale: Pair
    ratio: Pair
    hflip: float
    vflip: float
    color_jitter: float
    aa: str
    reprob: float
    remode: str
    recount: int
    mixup: float
    cutmix: float
    cutmix_minmax: Pair
    mixup_prob: float
    mixup_switch_prob: float
    mixup_mode: str
    mixup_off_epoch: int
    label_smoothing: float
    bce_loss: bool
    bce_target_thresh: float
    train_crop_mode: str
    aug_repeats: int
    train_interpolation: str
    dropout: float
    bn_momentum: float
    sync_bn: bool
    dist_bn: str
    ema: bool
    ema_decay: float
    ema_warmup: bool
    channels_last: bool
    eval_metric: str
    amp_dtype: str
    compile: bool
    accumulate: int
    grad_checkpointing: bool
    freeze: str
    teacher: str
    distill_alpha: float
    distill_kind: str
    distill_temperature: float
    in_chans: int
    img_size: int
    input_size: tuple[int, int, int]
    crop_pct: float
    mean: Channels
    std: Channels
    interpolation: str


OF_PREPROCESS = ("in_chans", "img_size", "input_size", "crop_pct", "mean", "std", "interpolation")
# Fields of a recipe that arguments call otherwise, as those of `train_quantized`.
SPELLED = {
    "amp_dtype": "amp",
    "distill_alpha": "distillation",
    "distill_kind": "distillation_kind",
    "distill_temperature": "temperature",
}
_AUGMENTING = (  # all off with no_aug
    "scale", "ratio", "hflip", "vflip", "color_jitter", "aa", "reprob", "remode", "recount", "train_interpolation",
    "train_crop_mode", "aug_repeats",
)  # fmt: skip


def recipe_with(recipe: str | Recipe, values: RecipeValues) -> Recipe:
    """Return a recipe with other values, each of which has to have an effect.

    Args:
        recipe: its name in the table, or itself.
        values: in place of the recipe's own.

    Raises:
        UsageError: for an unknown recipe, a value out of range, or one without effect.
    """
    base = get_recipe(recipe) if isinstance(recipe, str) else recipe
    given = {name: value for name, value in values.items() if value is not None}
    images = {name: given.pop(name) for name in OF_PREPROCESS if name in given}
    changes: dict[str, Any] = {SPELLED.get(name, name): value for name, value in given.items()}
    if "width" in changes:  # the authors write repghost.repghostnet_0_5x
        changes["width"] = str(changes["width"]).removeprefix("repghost.")
    if images:
        changes["preprocess"] = with_values(base.preprocess, images)
    changed = base.changed(**changes)
    _refuse_without_effect(changed, given)
    return changed


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


def _mixes(recipe: Any) -> bool:
    return recipe.augmentation is not None and recipe.augmentation.mixes


def _is_taught(recipe: Any) -> bool:
    return bool(recipe.teaching.teacher)


# A value that has an effect only together with others: what has to hold, and how a message says it; {name} is an
# argument.
_NEEDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "held_out": (lambda recipe: recipe.augmentation is None, "a {recipe} that keeps its pictures in memory"),
    "opt_eps": (lambda recipe: _optimizer_has(recipe, "eps"), "an {opt} that has an epsilon"),
    "opt_betas": (lambda recipe: _optimizer_has(recipe, "betas"), "an {opt} that has betas"),
    "momentum": (lambda recipe: _optimizer_has(recipe, "momentum"), "an {opt} that has a momentum"),
    "clip_mode": (lambda recipe: recipe.optimization.clip_grad is not None, "{clip_grad}"),
    "lr_noise_pct": (lambda recipe: recipe.optimization.lr_noise is not None, "{lr_noise}"),
    "lr_noise_std": (lambda recipe: recipe.optimization.lr_noise is not None, "{lr_noise}"),
    "lr_cycle_mul": (lambda recipe: recipe.optimization.lr_cycle_limit > 1, "{lr_cycle_limit} above 1"),
    "lr_cycle_limit": (lambda recipe: recipe.optimization.sched != "step", "another {sched} than step"),
    "min_learning_rate": (lambda recipe: recipe.optimization.sched != "step", "another {sched} than step"),
    "cooldown_epochs": (lambda recipe: recipe.optimization.sched != "step", "another {sched} than step"),
    "decay_epochs": (lambda recipe: recipe.optimization.sched == "step", "{sched step}"),
    "decay_rate": (
        lambda recipe: recipe.optimization.sched in ("step", "poly") or recipe.optimization.lr_cycle_limit > 1,
        "{sched step} or poly, or {lr_cycle_limit} above 1",
    ),
    "warmup_lr": (lambda recipe: recipe.warmup_epochs > 0, "{warmup_epochs} above 0"),
    "ema_decay": (lambda recipe: recipe.ema, "{ema}"),
    "ema_warmup": (lambda recipe: recipe.ema, "{ema}"),
    "bce_target_thresh": (lambda recipe: recipe.optimization.bce_loss and _mixes(recipe), "{bce_loss}, and {mixup}"),
    "remode": (lambda recipe: recipe.augmentation.reprob > 0, "{reprob} above 0"),
    "recount": (lambda recipe: recipe.augmentation.reprob > 0, "{reprob} above 0"),
    "color_jitter": (lambda recipe: recipe.augmentation.aa is None, "a recipe without {aa}"),
    "mixup_prob": (lambda recipe: recipe.augmentation.mixes, "{mixup} or {cutmix}"),
    "mixup_mode": (lambda recipe: recipe.augmentation.mixes, "{mixup} or {cutmix}"),
    "mixup_off_epoch": (
        lambda recipe: recipe.augmentation.mixes and recipe.augmentation.mixup_off_epoch < recipe.epochs,
        "{mixup} or {cutmix}, and more {epochs}",
    ),
    "mixup_switch_prob": (
        lambda recipe: (
            recipe.augmentation.mixup > 0
            and (recipe.augmentation.cutmix > 0 or recipe.augmentation.cutmix_minmax is not None)
        ),
        "{mixup} and {cutmix}",
    ),
    "distill_alpha": (_is_taught, "{teacher}"),
    "distill_kind": (_is_taught, "{teacher}"),
    "distill_temperature": (
        lambda recipe: _is_taught(recipe) and recipe.teaching.distillation_kind == "soft",
        "{teacher} and {distill_kind soft}",
    ),
    "cutmix": (lambda recipe: recipe.augmentation.cutmix_minmax is None, "a run without {cutmix_minmax}"),
}


def values_of(recipe: Recipe) -> dict[str, Any]:
    """Return the values by which `recipe_with` makes a recipe of the table into this one, all that have an effect."""
    parts = (recipe, recipe.augmentation, recipe.optimization, recipe.execution, recipe.teaching)
    found: dict[str, Any] = {}
    for name in RecipeValues.__annotations__:
        field = SPELLED.get(name, name)
        value = next((getattr(part, field) for part in parts if hasattr(part, field)), None)
        if value not in (None, "") and not _without_effect(recipe, name):
            found[name] = list(value) if isinstance(value, tuple) else value
    images, (resize, _) = recipe.preprocess, sides(recipe.preprocess.resize)
    share = images.height / resize
    if int(images.height / share) != resize:
        share = images.height / (resize + 0.5)
    found |= {"in_chans": images.channels, "img_size": images.height, "crop_pct": share}
    found |= {"interpolation": images.interpolation}
    return found | {"mean": list(images.mean), "std": list(images.std)}


def without_idle(recipe: str, values: Mapping[str, Any], idle: Collection[str]) -> dict[str, Any]:
    """Return values of a recipe without some that would change nothing in this run, where others are refused.

    Args:
        recipe: its name.
        values: by the names of the arguments.
        idle: names of those that may be without effect: a file that names every argument has such ones.
    """
    given = {name: value for name, value in values.items() if name in RecipeValues.__annotations__}
    changes = {SPELLED.get(name, name): value for name, value in given.items() if name not in (*OF_PREPROCESS, "width")}
    changed = get_recipe(recipe).changed(**changes)
    return {name: value for name, value in values.items() if name not in idle or not _without_effect(changed, name)}


def _refuse_without_effect(recipe: Any, given: Mapping[str, Any]) -> None:
    """Refuse a value that would change nothing in this run.

    Args:
        recipe: with the values in it.
        given: by the names of the arguments.

    Raises:
        UsageError: naming the first such argument and what it needs.
    """
    for name in given:
        if why := _without_effect(recipe, name):
            raise UsageError(f"{option(name)} has no effect {why}")


def _without_effect(recipe: Any, name: str) -> str:
    """Return why an argument changes nothing in a run of this recipe, "" where it does."""
    holds, need = _NEEDS.get(name, (lambda recipe: True, ""))
    if not holds(recipe):
        needed = re.sub(r"\{(\w+) ?(\w*)\}", lambda found: option(found[1], found[2] or None), need)
        return f"without {needed}; give that too, or leave it out."
    if name in _AUGMENTING and recipe.augmentation is not None and recipe.augmentation.no_aug:
        return f"with {option('no_aug')}; leave one of them out."
    return ""
