"""Several widths, one after the other: trained, quantized, and trained under quantization where that is asked for.

Each width has a folder of its own. What is finished is not repeated; a training that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.command import run_command
from calib.qat.settings import QatSettings
from calib.qat.train_on_set import train_on_set
from calib.qdq.writer import serialize
from calib.quantize import Quantized, Source, quantize_model
from calib.settings.config import QuantConfig
from calib.settings.config_file import read_config
from compile.storage.measurements import Measurements
from repghost.checkpoints.checkpoint import Checkpoint, build_model, read_checkpoint
from repghost.commands.progress.train import follow
from repghost.data import ImageSet, open_dataset, prepare
from repghost.data.subset import choose_balanced
from repghost.errors import UsageError
from repghost.files import write_bytes_atomically
from repghost.network.spec import WIDTHS, model_name, parse_width
from repghost.training.recipe import Recipe, get_recipe
from repghost.training.result import evaluate, write_trained
from repghost.training.train import Hooks, Options, class_names, train

WEIGHTS, QDQ = "model.safetensors", "model.qdq.onnx"
SPLIT = "train"

Follow = Callable[[Recipe], AbstractContextManager[Hooks]]
Say = Callable[[str], None]


@dataclass(frozen=True)
class WidthsPlan:
    """What is made of each width.

    Attributes:
        recipes: how each is trained, one per width.
        data: a set of images with a split "train".
        output: the folder of the folders.
        config: how each is quantized.
        images: calibration images.
        trainings: under quantization, besides.
    """

    recipes: tuple[Recipe, ...]
    data: Path
    output: Path
    config: QuantConfig
    images: int
    trainings: tuple[QatSettings, ...] = ()


@dataclass
class WidthResult:
    """What there is of a width.

    Attributes:
        name: of the network.
        folder: of its files.
        files: the quantized ones.
        test: top-1 of the float network on the test split, None where the set has none.
    """

    name: str
    folder: Path
    files: list[str] = field(default_factory=list)
    test: float | None = None


def run_widths(plan: WidthsPlan, follow: Follow, say: Say) -> Iterator[WidthResult]:
    """Train and quantize one width after the other, and yield each once it is finished.

    Args:
        plan: what.
        follow: gives the hooks of a training.
        say: is given one line per step.

    Raises:
        UsageError: when a folder holds another run, or the images do not fit.
        TrainingStoppedError: when a hook said so; the next call goes on.
    """
    for recipe in plan.recipes:
        if not recipe.held_out:
            raise UsageError(
                f"recipe {recipe.name!r} judges by a split of its own; widths are trained by one that holds pictures "
                "out: demo or cifar."
            )
    dataset = open_dataset(plan.data, SPLIT)
    for recipe in plan.recipes:
        yield _one_width(plan, recipe, dataset, follow, say)


def _one_width(plan: WidthsPlan, recipe: Recipe, dataset: ImageSet, follow: Follow, say: Say) -> WidthResult:
    name = model_name(recipe.width)
    result, store = WidthResult(name, plan.output / name), Measurements(plan.output / name / ".cache")

    def put(file: str, key: dict[str, Any], make: Callable[[], bytes]) -> None:
        """Write a file of the folder; one that was made from the same key before is taken from the store."""
        made = []

        def run() -> dict[str, bytes]:
            made.append(file)
            return {file: make()}

        content = store.files("widths", {"file": file, **key}, run)[file]
        path = result.folder / file
        if not path.is_file() or path.read_bytes() != content:
            write_bytes_atomically(path, content)
        say(f"{name}: {file}{'' if made else ', as in an earlier run'}")

    images = {"data": plan.data.name, "count": len(dataset), "classes": list(dataset.classes)}
    put(WEIGHTS, {"recipe": recipe.to_dict(), **images}, partial(_train, plan, recipe, dataset, follow))
    trained = read_checkpoint(result.folder / WEIGHTS, width=recipe.width)
    key = {**images, "weights": trained.digest, "config": plan.config.to_dict()}
    put(QDQ, {**key, "images": plan.images, "seed": recipe.seed}, partial(_calibrate, plan, recipe, trained, dataset))
    result.files.append(QDQ)
    for settings in plan.trainings:
        file = f"model.qat-{settings.mode}.qdq.onnx"
        make = partial(_train_quantized, plan, recipe, settings, trained, dataset)
        put(file, {**key, "training": settings.to_dict()}, make)
        result.files.append(file)
    test = trained.metadata.get("test")
    result.test = None if test is None else float(test["top1"])
    return result


def _train(plan: WidthsPlan, recipe: Recipe, dataset: ImageSet, follow: Follow) -> bytes:
    """Return a checkpoint trained as `repghost train` does; a training that was stopped goes on from its last state."""
    folder = plan.output / model_name(recipe.width)
    with follow(recipe) as hooks:
        result = train(recipe, dataset, folder, "auto", hooks, None, Options())
    path = folder / WEIGHTS
    write_trained(path, recipe, result, class_names(dataset), evaluate(result.model.cpu(), recipe, plan.data))
    return path.read_bytes()


def _calibrate(plan: WidthsPlan, recipe: Recipe, trained: Checkpoint, dataset: ImageSet) -> bytes:
    """Return the file that `repghost quantize` makes."""
    chosen = choose_balanced(dataset.labels, min(plan.images, len(dataset)), recipe.seed)
    prepared = prepare(dataset, recipe.preprocess, chosen)
    notes = {"data": plan.data.name, "split": SPLIT, "seed": recipe.seed, "broken": len(prepared.broken)}
    source = Source(class_names(dataset), trained.digest, notes)
    return _content(quantize_model(build_model(trained), prepared.images, recipe.preprocess, plan.config, source))


def _train_quantized(
    plan: WidthsPlan, recipe: Recipe, settings: QatSettings, trained: Checkpoint, dataset: ImageSet
) -> bytes:
    """Return the file that `repghost qat` makes."""
    notes = {"data": plan.data.name, "split": SPLIT, "seed": settings.seed}
    source = Source(class_names(dataset), trained.digest, notes)
    found = train_on_set(build_model(trained), dataset, recipe.preprocess, plan.config, settings, source)
    return _content(found.quantized)


def _content(quantized: Quantized) -> bytes:
    return serialize(quantized.onnx)


@dataclass(frozen=True)
class WidthsRequest:
    """The options of the command, each under its own name; None is the recipe's value."""

    widths: str
    data: Path
    recipe: str
    epochs: int | None
    batch: int | None
    held_out: int | None
    seed: int | None
    images: int
    config: Path | None
    qat: tuple[str, ...]
    qat_epochs: int
    qat_images: int
    threads: int | None
    output: Path

    def plan(self) -> WidthsPlan:
        """Return what is made.

        Raises:
            UsageError: for a width, recipe, mode or configuration that there is not.
        """
        config = read_config(self.config, None)
        recipe = get_recipe(self.recipe).changed(
            epochs=self.epochs, batch=self.batch, held_out=self.held_out, seed=self.seed
        )
        if self.widths.strip() == "all":
            widths = [row.multiplier for row in WIDTHS]
        else:
            widths = [parse_width(name.strip(), custom=True) for name in self.widths.split(",")]
        training = QatSettings(epochs=self.qat_epochs, images=self.qat_images, seed=recipe.seed)
        trainings = tuple(replace(training, mode=mode) for mode in dict.fromkeys(self.qat))
        recipes = tuple(recipe.changed(width=width) for width in dict.fromkeys(widths))
        return WidthsPlan(recipes, self.data, self.output, config, self.images, trainings)


@click.command("widths")
@click.option("--widths", required=True, help="Separated by commas, e.g. 0.5,0.58; or all.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="A set of pictures (see the README).")
@click.option("--recipe", default="demo", show_default=True, help="demo or cifar.")
@click.option("--epochs", type=int, help="Passes over the pictures, instead of the recipe's.")
@click.option("--batch", type=int, help="Pictures per step, instead of the recipe's.")
@click.option("--held-out", type=int, help="Training pictures that judge each epoch, instead of the recipe's.")
@click.option("--seed", type=int, help="Start of every random choice.")
@click.option("--images", default=512, show_default=True, type=click.IntRange(1), help="Calibration pictures.")
@click.option("--config", type=click.Path(path_type=Path), help="Quantization settings as JSON.")
@click.option("--qat", multiple=True, metavar="MODE", help="Also train under quantization: fused, reparam.")
@click.option("--qat-epochs", default=4, show_default=True, type=click.IntRange(1), help="Passes of that training.")
@click.option("--qat-images", default=12_500, show_default=True, type=click.IntRange(1), help="Pictures of a pass.")
@click.option("--threads", type=click.IntRange(1), help="Threads of PyTorch; its own choice by default.")
@click.option("--output", "-o", default="runs/widths", show_default=True, type=click.Path(path_type=Path),
              help="A folder in it for each width.")  # fmt: skip
def command(**options: Any) -> None:
    """Train each width by the recipe, quantize it, and with --qat train it under quantization.

    OUTPUT/repghostnet_0_5x and so on hold the weights and the quantized files. A finished step is not repeated; a
    training that was stopped goes on from its last state. `repghost accuracy` measures what came out.
    """
    request = WidthsRequest(**options)
    plan = request.plan()
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    for result in list(run_widths(plan, follow, click.echo)):
        test = "not measured" if result.test is None else f"{result.test:.2%}"
        click.echo(f"{result.name}: float32 test top-1 {test}; {result.folder}: {', '.join(result.files)}")
    click.echo("next:")
    click.echo(f"  repghost accuracy {request.output}/*/model.safetensors --data {request.data}")


if __name__ == "__main__":
    run_command(command)
