"""What training costs on this machine, against a bare loop and against timm: `make train-bars`.

Rivals take turns in short rounds of one thread, a ratio is the median over the rounds' own ratios, and what is counted
is the processor's time: waiting for others who use the machine is no part of it.
"""

from __future__ import annotations

import json
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import timm
import torch
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import nn

from repghost.data import MissingSplitError, PictureSet, open_dataset
from repghost.data.subset import choose_balanced
from repghost.files import write_text_atomically
from repghost.recipe import Recipe, get_recipe
from repghost.runstate import Progress
from repghost.training.build import start
from repghost.training.feed import Batch, Feed
from repghost.training.hooks import Hooks
from repghost.training.loader_feed import LoaderFeed, Loading
from repghost.training.loop import Loop, recipe_loss
from repghost.training.options import Options
from repghost.training.pictures import open_feed
from repghost.training.ranks import Ranks

ROUNDS = 9
BATCHES = 6  # of a round
EPOCH_LIMIT, STEP_LIMIT = 1.15, 1.0


class Part:
    """The data set's first pictures per class, so that a bar does not decode more than it trains on."""

    def __init__(self, pictures: PictureSet, count: int) -> None:
        self.pictures, self.chosen = pictures, choose_balanced(pictures.labels, count, 0)
        self.classes, self.labels = pictures.classes, pictures.labels[self.chosen]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Any:
        return self.pictures[int(self.chosen[index])]

    def name(self, index: int) -> str:
        """Return what messages call a picture."""
        return self.pictures.name(int(self.chosen[index]))


class Take:
    """The first batches of a feed as an epoch of their own."""

    def __init__(self, feed: Feed) -> None:
        self.feed, self.broken, self.batches_per_epoch = feed, (), BATCHES

    def batches(self, epoch: int, done: int) -> Iterator[Batch]:
        """Yield the batches of a round."""
        return self.feed.batches(epoch, done)

    def judged(self) -> Iterator[Any]:
        """Judging is not measured here."""
        return iter(())


def ours(recipe: Recipe, feed: Feed, classes: int) -> Callable[[int], None]:
    """Return a round of the product's own loop."""
    run = start(recipe, classes, BATCHES, Ranks())
    loop = Loop(run, Take(feed), Hooks(), Options(), lambda progress: None)

    def train(number: int) -> None:
        loop.train(number % recipe.epochs, Progress())

    return train


def bare(recipe: Recipe, batches: list[Batch], classes: int) -> Callable[[int], None]:
    """Return a round of the plainest loop: tensors that are there already, no average, no schedule, no count."""
    run = start(recipe.changed(ema=False), classes, BATCHES, Ranks())
    optimizer = torch.optim.SGD(run.model.parameters(), 0.05, 0.9, weight_decay=5e-4, nesterov=True)
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)

    def train(number: int) -> None:
        for inputs, labels, _ in batches:
            criterion(run.model(inputs), labels).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return train


def our_step(recipe: Recipe, batches: list[Batch], classes: int) -> Callable[[int], None]:
    """Return a round of the product's step on batches that are there already."""
    run = start(recipe, classes, BATCHES, Ranks())
    loop = Loop(run, Take(None), Hooks(), Options(), lambda progress: None)  # type: ignore[arg-type]
    criterion = recipe_loss(recipe)

    def train(number: int) -> None:
        for step, (inputs, _, targets) in enumerate(batches):
            loop.learn(inputs, targets, criterion, 0, step)

    return train


def timm_step(recipe: Recipe, batches: list[Batch], classes: int) -> Callable[[int], None]:
    """Return a round of timm's network, optimizer, average and step, with the same layout."""
    model = timm.create_model("repghostnet_050", num_classes=classes, drop_rate=recipe.dropout)
    model = model.train().to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, "sgd", lr=0.05, momentum=0.9, weight_decay=5e-4)
    average = ModelEmaV3(model, recipe.ema_decay)
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)

    def train(number: int) -> None:
        for inputs, labels, _ in batches:
            criterion(model(inputs), labels).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update(model)

    return train


def paired(first: Callable[[int], None], second: Callable[[int], None]) -> dict[str, Any]:
    """Return the processor seconds of rounds that take turns, and the ratio of the first to the second."""
    seconds: list[list[float]] = [[], []]
    for number in range(ROUNDS + 1):
        order = (0, 1) if number % 2 else (1, 0)
        for place in order:
            begun = time.process_time()
            (first, second)[place](number)
            if number:  # the first round warms up
                seconds[place].append(time.process_time() - begun)
    ratios = sorted(one / other for one, other in zip(*seconds, strict=True))
    return {
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "ratio_of_minima": min(seconds[0]) / min(seconds[1]),
        "seconds": seconds,
    }


def loader_speed(recipe: Recipe, pictures: Part) -> float:
    """Return the pictures that decoding and augmentation give per second of one processor."""
    feed = LoaderFeed(recipe, pictures, pictures, len(pictures.classes), Loading(workers=0), Ranks())
    for _ in feed.batches(0, 0):  # warms up
        pass
    begun, count = time.process_time(), 0
    for _, labels, _ in feed.batches(1, 0):
        count += len(labels)
    return count / (time.process_time() - begun)


def peaks(train: Callable[[int], None], epochs: int = 6) -> list[int]:
    """Return the largest memory of this process so far, in bytes, after each of some rounds."""
    found = []
    for number in range(epochs):
        train(number)
        found.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    return found


def measure(data: Path) -> dict[str, Any]:
    """Measure everything on this machine with the threads that are set."""
    recipe, pictures = get_recipe("cifar").changed(held_out=100), _open(data)
    part, classes = Part(pictures, 100 + BATCHES * recipe.batch), len(pictures.classes)
    feed = open_feed(recipe, part, None, classes, Hooks(), Loading(), Ranks())
    batches = [
        (inputs.contiguous(memory_format=torch.channels_last), labels, targets)
        for inputs, labels, targets in feed.batches(0, 0)
    ]
    epoch = paired(ours(recipe, feed, classes), bare(recipe, batches, classes))
    step = paired(our_step(recipe, batches, classes), timm_step(recipe, batches, classes))
    augmented = get_recipe("finetune").changed(width=0.5, batch=128, preprocess=recipe.preprocess)
    trained = BATCHES * recipe.batch / min(epoch["seconds"][0])
    return {
        "format": "repghost-training-bars",
        "machine": {"system": platform.platform(), "threads": torch.get_num_threads(), "torch": torch.__version__},
        "pictures": {"set": data.name, "count": len(part), "size": recipe.preprocess.size, "batch": recipe.batch},
        "epoch": epoch | {"limit": EPOCH_LIMIT, "ours_pictures_per_second": trained},
        "step": step | {"limit": STEP_LIMIT, "timm": timm.__version__},
        "loader": {"pictures_per_second": loader_speed(augmented, part)},
        "peak_bytes": peaks(ours(recipe, feed, classes)),
    }


def _open(data: Path) -> PictureSet:
    """Return the training pictures; what the repository carries has calibration pictures in their place."""
    try:
        return open_dataset(data, "train")
    except MissingSplitError:
        return open_dataset(data, "calibration")


def page(found: dict[str, Any]) -> str:
    """Return the measurements as Markdown."""
    epoch, step, memory = found["epoch"], found["step"], found["peak_bytes"]
    fed = found["loader"]["pictures_per_second"] / epoch["ours_pictures_per_second"]
    rows = [
        ("our loop / bare loop over preloaded tensors", f"{epoch['ratio']:.3f}", f"{EPOCH_LIMIT} at most",
         epoch["ratio"] <= EPOCH_LIMIT),
        ("our step / timm's network and step", f"{step['ratio']:.3f}", f"{STEP_LIMIT} at most",
         step["ratio"] <= STEP_LIMIT),
        ("pictures that one core decodes / that one core trains on", f"{fed:.2f}", "1.0 at least", fed >= 1),
        ("peak memory after the last round / after the second", f"{memory[-1] / memory[1]:.3f}", "1.01 at most",
         memory[-1] <= 1.01 * memory[1]),
    ]  # fmt: skip
    lines = ["| bar | measured | limit | |", "|---|---|---|---|"]
    lines += [f"| {name} | {value} | {limit} | {'met' if met else 'missed'} |" for name, value, limit, met in rows]
    pictures = found["pictures"]
    lines += ["", f"0.5x, {pictures['size']} px, batch {pictures['batch']}, {ROUNDS} rounds of {BATCHES} batches of "
              f"{pictures['set']} in turns, {found['machine']['threads']} thread(s), processor time, median "
              f"of the rounds' ratios; {epoch['ours_pictures_per_second']:.0f} pictures/s."]  # fmt: skip
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), help="A set of pictures with a split train.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder of the two files.")
def main(data: Path, output: Path) -> None:
    """Measure and write training-bars.json and training-bars.md."""
    torch.set_num_threads(1)
    found = measure(data)
    write_text_atomically(output / "training-bars.json", json.dumps(found, indent=1) + "\n")
    write_text_atomically(output / "training-bars.md", "# Training bars\n\n" + page(found))
    click.echo(page(found))


if __name__ == "__main__":
    main()
