"""The flags of `repghost train`, those of the authors by their own names: what each sets, or why it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from repghost.commands.options.number_lists import NumberList
from repghost.errors import UsageError


@dataclass(frozen=True)
class Flag:
    """One value of a recipe as an option of the command line.

    Args:
        sets: the argument of `repghost.train` that it gives.
        names: how it is written; the original's name is among them.
        kind: its click type, or bool for a pair --x/--no-x.
        text: help.
        values: how many values follow.
    """

    sets: str
    names: tuple[str, ...]
    kind: Any
    text: str
    values: int = 1


FLAGS: tuple[Flag, ...] = (
    Flag("width", ("--width", "--model"), str, "0.5, 1.0x, repghostnet_0_5x, repghost.repghostnet_0_5x, ..."),
    Flag("epochs", ("--epochs",), int, "Passes over the pictures."),
    Flag("batch", ("--batch", "-b", "--batch-size"), int, "Pictures per step and process."),
    Flag("learning_rate", ("--learning-rate", "--lr"), float, "The peak."),
    Flag("held_out", ("--held-out",), int, "Training pictures that each epoch is evaluated on."),
    Flag("seed", ("--seed",), int, "Start of every random choice."),
    Flag("opt", ("--opt",), str, "timm's optimizer."),
    Flag("opt_eps", ("--opt-eps",), float, "Epsilon of the optimizer."),
    Flag("opt_betas", ("--opt-betas",), float, "Betas of the optimizer.", 2),
    Flag("momentum", ("--momentum",), float, "Of the optimizer."),
    Flag("weight_decay", ("--weight-decay",), float, "On weights with two or more dimensions."),
    Flag("layer_decay", ("--layer-decay",), float, "Rate of a block relative to that of the next one."),
    Flag("clip_grad", ("--clip-grad",), float, "Limit of the gradient."),
    Flag("clip_mode", ("--clip-mode",), str, "norm, value or agc."),
    Flag("sched", ("--sched",), str, "cosine, tanh, step or poly."),
    Flag("lr_noise", ("--lr-noise",), float, "From and to which share of the epochs the rate is noisy.", 2),
    Flag("lr_noise_pct", ("--lr-noise-pct",), float, "Largest relative noise."),
    Flag("lr_noise_std", ("--lr-noise-std",), float, "Deviation of the noise."),
    Flag("lr_cycle_mul", ("--lr-cycle-mul",), float, "Length of a cycle relative to the one before."),
    Flag("lr_cycle_limit", ("--lr-cycle-limit",), int, "Number of cycles."),
    Flag("warmup_lr", ("--warmup-lr",), float, "Where the warm-up begins."),
    Flag("min_learning_rate", ("--min-lr",), float, "Where the schedule ends."),
    Flag("decay_epochs", ("--decay-epochs",), float, "Epochs between two decays of --sched step."),
    Flag("warmup_epochs", ("--warmup-epochs",), float, "Counted inside --epochs."),
    Flag("cooldown_epochs", ("--cooldown-epochs",), int, "Epochs at the lowest rate after the schedule."),
    Flag("decay_rate", ("--decay-rate", "--dr"), float, "Of --sched step, or of each further cycle."),
    Flag("no_aug", ("--no-aug",), bool, "Resize and centre crop only."),
    Flag("scale", ("--scale",), float, "Area of the random crop.", 2),
    Flag("ratio", ("--ratio",), float, "Width / height of the random crop.", 2),
    Flag("hflip", ("--hflip",), float, "Probability of mirroring left to right."),
    Flag("vflip", ("--vflip",), float, "Probability of mirroring top to bottom."),
    Flag("color_jitter", ("--color-jitter",), float, "Strength."),
    Flag("aa", ("--aa",), str, "A policy, e.g. rand-m9-mstd0.5."),
    Flag("reprob", ("--reprob",), float, "Probability of erasing a rectangle."),
    Flag("remode", ("--remode",), str, "const, rand or pixel."),
    Flag("recount", ("--recount",), int, "At most so many rectangles."),
    Flag("mixup", ("--mixup",), float, "Alpha."),
    Flag("cutmix", ("--cutmix",), float, "Alpha."),
    Flag("cutmix_minmax", ("--cutmix-minmax",), float, "Side of the rectangle, instead of --cutmix.", 2),
    Flag("mixup_prob", ("--mixup-prob",), float, "Probability that a batch is mixed."),
    Flag("mixup_switch_prob", ("--mixup-switch-prob",), float, "Probability of cutmix where both are on."),
    Flag("mixup_mode", ("--mixup-mode",), str, "batch, pair or elem."),
    Flag("mixup_off_epoch", ("--mixup-off-epoch",), int, "Mixing ends after so many epochs."),
    Flag("label_smoothing", ("--smoothing",), float, "Share of the target spread over all classes."),
    Flag("bce_loss", ("--bce-loss",), bool, "Binary cross-entropy of each class."),
    Flag("bce_target_thresh", ("--bce-target-thresh",), float, "Targets above it are 1, others 0, where images mix."),
    Flag("train_crop_mode", ("--train-crop-mode",), str, "rrc, rkrc or rkrr."),
    Flag("aug_repeats", ("--aug-repeats",), int, "How often an epoch augments each of its pictures."),
    Flag("train_interpolation", ("--train-interpolation",), str, "random, bilinear or bicubic."),
    Flag("dropout", ("--drop",), float, "Before the classifier."),
    Flag("bn_momentum", ("--bn-momentum",), float, "Of the running statistics."),
    Flag("sync_bn", ("--sync-bn",), bool, "Batch statistics over all GPUs."),
    Flag("dist_bn", ("--dist-bn",), str, "After each epoch: broadcast or reduce."),
    Flag("ema", ("--model-ema",), bool, "Average the weights."),
    Flag("ema_decay", ("--model-ema-decay",), float, "Of the average."),
    Flag("ema_warmup", ("--model-ema-warmup",), bool, "At first the average covers the latest steps only."),
    Flag("channels_last", ("--channels-last",), bool, "Memory layout."),
    Flag("eval_metric", ("--eval-metric",), str, "What the best epoch is: top1, top5 or loss."),
    Flag("amp_dtype", ("--amp-dtype",), str, "float16, bfloat16 or off."),
    Flag("compile", ("--compile",), bool, "torch.compile."),
    Flag("accumulate", ("--accumulate", "--grad-accum-steps"), int, "Batches per step."),
    Flag("grad_checkpointing", ("--grad-checkpointing",), bool, "Less memory, a third more time, the same result."),
    Flag("freeze", ("--freeze",), str, "bn or backbone do not learn."),
    Flag("teacher", ("--teacher",), str, "Also learn from its predictions: timm:NAME, a checkpoint or an ONNX file."),
    Flag("distill_alpha", ("--distillation", "--distill-alpha"), float, "The teacher's share of the loss, 0.5."),
    Flag("distill_kind", ("--distillation-kind", "--distill-kind"), str, "soft: probabilities; hard: its class."),
    Flag("distill_temperature", ("--temperature", "--distill-temperature"), float, "Of the soft comparison, 1."),
)

PREPROCESS_FLAGS: tuple[Flag, ...] = (
    Flag("in_chans", ("--in-chans",), int, "1 for a network of grey pictures, 3 for RGB, 4 or 2 with a band more."),
    Flag("img_size", ("--size", "--img-size"), int, "Pixels of the input."),
    Flag("input_size", ("--input-size",), int, "3, height and width of the input.", 3),
    Flag("crop_pct", ("--crop-pct",), float, "Input size / resize, when evaluating."),
    Flag("mean", ("--mean",), NumberList(), "Of each channel."),
    Flag("std", ("--std",), NumberList(), "Of each channel."),
    Flag("interpolation", ("--interpolation",), str, "bilinear or bicubic, when evaluating."),
)


@dataclass(frozen=True)
class Refusal:
    """Flags of the authors' script that are refused, and why."""

    reason: str
    valued: tuple[str, ...] = ()  # flags that are followed by a value
    switches: tuple[str, ...] = ()  # flags that stand alone


REFUSALS: tuple[Refusal, ...] = (
    Refusal("the network's pooling is the mean; the original parsed this and ignored it", ("--gp",)),
    Refusal("--resume knows the epoch, and another one would not be the same run", ("--start-epoch",)),
    Refusal(
        "a resumed run is the same run; give --pretrained PATH to begin a new one with its weights",
        switches=("--no-resume-opt",),
    ),
    Refusal("give more --epochs", ("--epoch-repeats",)),
    Refusal("the plateau schedule is not offered: it depends on the pictures evaluated on", ("--patience-epochs",)),
    Refusal("augmentation splits are not offered", ("--aug-splits",), ("--jsd", "--resplit", "--split-bn")),
    Refusal("the network has no drop-connect; the original parsed this and ignored it", ("--drop-connect",)),
    Refusal("the network has no drop-path; the original parsed this and ignored it", ("--drop-path",)),
    Refusal("the network has no drop-block; the original parsed this and ignored it", ("--drop-block",)),
    Refusal("the original parsed this and ignored it", ("--tta",), ("--bn-tf",)),
    Refusal("checkpoints do not record it, so a reloaded network would differ", ("--bn-eps",)),
    Refusal(
        "each epoch is evaluated with the average, which has to be where the network is",
        switches=("--model-ema-force-cpu",),
    ),
    Refusal("the last state and the best weights are kept", ("--checkpoint-hist",)),
    Refusal("not offered", switches=("--save-images",)),
    Refusal("Apex is no longer maintained; use --amp", switches=("--apex-amp",)),
    Refusal("pictures are always normalized on the device", switches=("--no-prefetcher",)),
    Refusal("workers always live through all epochs", switches=("--use-multi-epochs-loader",)),
    Refusal("train first; the trained network can be scripted", switches=("--torchscript",)),
    Refusal("the log is log.jsonl and log.csv, and --wandb sends each epoch", switches=("--log-wandb",)),
    Refusal("start with torchrun, which tells each process by its environment", ("--local_rank", "--local-rank")),
)


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command an option for every flag of the tables."""
    for row in REFUSALS:
        for name in (*row.valued, *row.switches):
            command = _refused_option(name, row.reason, switch=name in row.switches)(command)
    for flag in reversed(FLAGS + PREPROCESS_FLAGS):
        names = dict.fromkeys((*flag.names, f"--{flag.sets.replace('_', '-')}"))  # the argument's name is one of them
        if flag.kind is bool:
            pairs = (f"{name}/{opposite(name)}" for name in names)
            option = click.option(*pairs, flag.sets, default=None, help=flag.text)
        else:
            option = click.option(*names, flag.sets, type=flag.kind, nargs=flag.values, default=None, help=flag.text)
        command = option(command)
    return command


def opposite(name: str) -> str:
    """Return the opposite switch: --no-x for --x, and --x for --no-x."""
    return f"--{name.removeprefix('--no-')}" if name.startswith("--no-") else f"--no-{name.removeprefix('--')}"


def _refused_option(name: str, reason: str, switch: bool) -> Callable[..., Any]:
    """Return an option that is not shown in --help, and refused when it is given."""

    def refuse(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None and value is not False:
            raise UsageError(f"{name} is refused: {reason}. Leave it out.")

    return click.option(
        name, f"refused{name.replace('-', '_')}", is_flag=switch, expose_value=False, hidden=True, callback=refuse,
        default=None,
    )  # fmt: skip
