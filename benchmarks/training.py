"""What training costs on this machine, against a bare loop and against timm's step: `make train-bars`.

The two sides take turns batch by batch, so that whatever else the machine does slows both down, and processor time is
measured: waiting for other programs is no part of it.
"""

from __future__ import annotations

import itertools
import json
import platform
import resource
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import timm
import torch
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import nn

from benchmarks.pages.training import render_training
from benchmarks.shared.command import run_command
from benchmarks.shared.turns import Step, take_turns
from benchmarks.training_demo import compare_runs
from benchmarks.training_loader import paired_loaders
from compile.bench.statistics import paired_ratio
from repghost.data import ImageSet, MissingSplitError, open_dataset
from repghost.data.subset import choose_balanced
from repghost.distributed.ranks import Ranks
from repghost.files import write_text_atomically
from repghost.training.build import start
from repghost.training.classify import Classes
from repghost.training.core.hooks import StepHooks, StepRecord
from repghost.training.core.loop import Loop
from repghost.training.core.progress import Progress
from repghost.training.epoch_accuracy import evaluate_epoch
from repghost.training.feeds.base import Batch, Feed
from repghost.training.feeds.choose import open_feed
from repghost.training.feeds.loader import LoaderFeed
from repghost.training.follow.hooks import Hooks
from repghost.training.options import Loading, Options
from repghost.training.recipe import Recipe, get_recipe

PAIRS = 120  # of steps
READ = 6  # batches that the loader's and the memory's measurements take
PEAK_EPOCHS = 6


class Part:
    """The data set's first images per class, so that a measurement does not decode more than it trains on."""

    def __init__(self, images: ImageSet, count: int) -> None:
        self.images, self.chosen = images, choose_balanced(images.labels, count, 0)
        self.classes, self.labels = images.classes, images.labels[self.chosen]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Any:
        return self.images[int(self.chosen[index])]

    def name(self, index: int) -> str:
        """Return what messages call an image."""
        return self.images.name(int(self.chosen[index]))


def bare_step(recipe: Recipe, batches: list[Batch], classes: int) -> Step:
    """Return a step of the plainest loop: tensors in memory, no averaged weights, no schedule, no counting."""
    run = start(recipe.changed(ema=False), classes, len(batches), Ranks())
    optimizer = torch.optim.SGD(run.model.parameters(), 0.05, 0.9, weight_decay=5e-4, nesterov=True)
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    turns = itertools.cycle(batches)

    def train() -> None:
        inputs, labels, _ = next(turns)
        criterion(run.model(inputs), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return train


def our_step(recipe: Recipe, batch: Batch, classes: int) -> Step:
    """Return the product's step on a batch in memory."""
    run = start(recipe, classes, PAIRS, Ranks())
    loop, numbers = Loop(Classes(run, None, run.loss)), itertools.count()  # type: ignore[arg-type]

    def train() -> None:
        loop.learn(batch, 0, next(numbers))

    return train


def timm_step(recipe: Recipe, batch: Batch, classes: int) -> Step:
    """Return a step of timm's network, optimizer and averaged weights, with the same memory layout."""
    model = timm.create_model("repghostnet_050", num_classes=classes, drop_rate=recipe.dropout)
    model = model.train().to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, "sgd", lr=0.05, momentum=0.9, weight_decay=5e-4)
    average = ModelEmaV3(model, recipe.ema_decay)
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)

    def train() -> None:
        criterion(model(batch[0]), batch[1]).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(model)

    return train


def paired(first: Step, second: Step, pairs: int) -> dict[str, Any]:
    """Return the processor seconds of steps that take turns, and the median of their ratios with its 95 % interval."""
    seconds = take_turns({"first": first, "second": second}, pairs)
    ratio = paired_ratio(np.array(seconds["first"]), np.array(seconds["second"]))
    return {"ratio": ratio.pop("median"), **ratio, "pairs": pairs, "seconds": list(seconds.values())}


def whole_epoch(recipe: Recipe, feed: Feed, bare: Step, classes: int) -> dict[str, Any]:
    """Return the processor seconds of one whole epoch of the product and of as many bare steps in between.

    Args:
        recipe: of both.
        feed: of the whole set; reading, augmenting, counting and the schedule are the product's cost.
        bare: takes one step after each of the product's.
        classes: of the network.
    """
    run = start(recipe, classes, feed.batches_per_epoch, Ranks())
    spent = [0.0]

    def take_turn(record: StepRecord) -> None:
        begun = time.process_time()
        bare()
        spent[0] += time.process_time() - begun

    bare()  # warms up
    loop = Loop(Classes(run, feed, run.loss), StepHooks(take_turn))
    begun = time.process_time()
    loop.train(0, Progress())
    ours = time.process_time() - begun - spent[0]
    begun = time.process_time()
    for network in run.networks.values():
        evaluate_epoch(network, feed, recipe.preprocess, run.ranks)
    validation = time.process_time() - begun
    images = feed.batches_per_epoch * recipe.batch
    return {
        "ratio": ours / spent[0],
        "ratio_with_judging": (ours + validation) / spent[0],
        "seconds": {"ours": ours, "bare": spent[0], "judging": validation},
        "pictures": images,
        "ours_pictures_per_second": images / ours,
    }


def loader_speed(recipe: Recipe, images: Part) -> float:
    """Return the images that decoding and augmentation give per second of one processor."""
    feed = LoaderFeed(recipe, images, images, len(images.classes), Loading(workers=0), Ranks())
    for _ in feed.batches(0, 0):  # warms up
        pass
    begun, count = time.process_time(), 0
    for _, labels, _ in feed.batches(1, 0):
        count += len(labels)
    return count / (time.process_time() - begun)


def peaks(recipe: Recipe, feed: Feed, classes: int) -> list[int]:
    """Return the largest memory of this process so far, in bytes, after each of `PEAK_EPOCHS` epochs."""
    run = start(recipe, classes, feed.batches_per_epoch, Ranks())
    loop = Loop(Classes(run, feed, run.loss))
    found = []
    for number in range(PEAK_EPOCHS):
        loop.train(number, Progress())
        found.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    return found


def measure(data: Path, epoch_images: int | None) -> dict[str, Any]:
    """Measure everything on this machine with one thread.

    Args:
        data: a set of images with a split train.
        epoch_images: of the epoch; by default all that the recipe trains on.
    """
    recipe, images = get_recipe("cifar").changed(held_out=100), _open(data)
    part, classes = Part(images, 100 + READ * recipe.batch), len(images.classes)
    feed = open_feed(recipe, part, None, classes, Hooks(), Options())
    batches = [
        (inputs.contiguous(memory_format=torch.channels_last), labels, targets)
        for inputs, labels, targets in feed.batches(0, 0)
    ]
    found: dict[str, Any] = {
        "format": "repghost-training-bars",
        "machine": {"system": platform.platform(), "threads": torch.get_num_threads(), "torch": torch.__version__},
        "pictures": {"set": data.name, "size": recipe.preprocess.size, "batch": recipe.batch},
        "peak_bytes": peaks(recipe, feed, classes),
    }
    say("memory measured")
    ours, theirs = our_step(recipe, batches[0], classes), timm_step(recipe, batches[0], classes)
    found["step"] = paired(ours, theirs, PAIRS) | {"timm": timm.__version__}
    say(f"step measured: {found['step']['ratio']:.4f}")
    augmented = get_recipe("finetune").changed(width=0.5, batch=128, preprocess=recipe.preprocess)
    found["loader"] = {"pictures_per_second": loader_speed(augmented, part)}
    found["photographs"] = paired_loaders(_open(data))
    say("loader measured")
    whole = images if epoch_images is None else Part(images, min(epoch_images, len(images)))
    recipe = recipe.changed(held_out=len(whole) // 10)
    feed = open_feed(recipe, whole, None, classes, Hooks(), Options())
    bare = bare_step(recipe, batches, classes)
    found["epoch"] = whole_epoch(recipe, feed, bare, classes)
    return found


def say(text: str) -> None:
    """Print where a long measurement is."""
    click.echo(text, err=True)


def _open(data: Path) -> ImageSet:
    """Return the training images; the bundled set has calibration images in their place."""
    try:
        return open_dataset(data, "train")
    except MissingSplitError:
        return open_dataset(data, "calibration")


@click.command("training")
@click.option("--data", type=click.Path(path_type=Path), help="A set of pictures with a split train; measures on it.")
@click.option("--demo", type=click.Path(path_type=Path), help="A finished run of --recipe demo; compares its accuracy.")
@click.option("--carried", default="bundled", show_default=True,
              type=click.Path(path_type=Path), help="What --demo is compared with.")  # fmt: skip
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder of the two files.")
@click.option("--photographs", type=click.Path(path_type=Path), help="Measures the loader alone, on this set.")
@click.option("--epoch-images", type=click.IntRange(1000), help="Of the epoch.  [default: the whole split]")
def command(
    data: Path | None,
    demo: Path | None,
    carried: Path,
    output: Path,
    photographs: Path | None,
    epoch_images: int | None,
) -> None:
    """Measure and write training-bars.json and training-bars.md; what is not measured again stays."""
    torch.set_num_threads(1)
    path = output / "training-bars.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    if data is not None:
        found |= measure(data, epoch_images)
    if photographs is not None:
        found["photographs"] = paired_loaders(_open(photographs))
    if demo is not None:
        found["demo"] = compare_runs(demo, carried)
    write_text_atomically(path, json.dumps(found, indent=1) + "\n")
    write_text_atomically(output / "training-bars.md", render_training(found))
    click.echo(render_training(found))


if __name__ == "__main__":
    run_command(command)
