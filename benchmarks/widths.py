"""Several widths, one after the other: trained, quantized, and trained under quantization where that is asked for.

Each width has a folder of its own. What is finished is not repeated; a training that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.ledger import Ledger
from repghost.checkpoints.checkpoint import Checkpoint, build_model, read_checkpoint
from repghost.data import ImageSet, open_dataset, prepare
from repghost.data.subset import choose_balanced
from repghost.errors import UsageError
from repghost.files import write_bytes_atomically
from repghost.network.spec import model_name
from repghost.training.recipe import Recipe
from repghost.training.result import evaluate, write_trained
from repghost.training.train import Hooks, Options, class_names, train

if TYPE_CHECKING:
    from calib.qat.settings import QatSettings
    from calib.quantize import Quantized
    from calib.settings.config import QuantConfig

WEIGHTS, QDQ = "model.safetensors", "model.qdq.onnx"
SPLIT = "train"
EARLIER = ", as in an earlier run"

Follow = Callable[[Recipe], AbstractContextManager[Hooks]]


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


@dataclass(frozen=True)
class WidthResult:
    """What there is of a width.

    Attributes:
        name: of the network.
        folder: of its files.
        files: the quantized ones.
        test: top-1 of the float network on the test split, None where the set has none.
        made: the files that this run made.
    """

    name: str
    folder: Path
    files: tuple[str, ...]
    test: float | None
    made: tuple[str, ...]


def run_widths(plan: WidthsPlan, follow: Follow, say: Callable[[str], None]) -> Iterator[WidthResult]:
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


def _one_width(
    plan: WidthsPlan, recipe: Recipe, dataset: ImageSet, follow: Follow, say: Callable[[str], None]
) -> WidthResult:
    name = model_name(recipe.width)
    ledger, made = Ledger(plan.output / name), []
    images = {"data": plan.data.name, "count": len(dataset), "classes": list(dataset.classes)}
    key: dict[str, Any] = {"recipe": recipe.to_dict(), **images}
    if ledger.make(WEIGHTS, key, partial(_train, plan, recipe, dataset, follow)):
        made.append(WEIGHTS)
    say(f"{name}: {WEIGHTS}{'' if made else EARLIER}")
    trained = read_checkpoint(ledger.folder / WEIGHTS, width=recipe.width)
    files = []
    for file, decided_by, quantize in _quantizations(plan, recipe):
        key = {**decided_by, **images, "weights": trained.digest, "config": plan.config.to_dict()}
        fresh = ledger.make(file, key, partial(_write, partial(quantize, trained, dataset)))
        made += [file] if fresh else []
        files.append(file)
        say(f"{name}: {file}{'' if fresh else EARLIER}")
    test = trained.metadata.get("test")
    return WidthResult(name, ledger.folder, tuple(files), None if test is None else float(test["top1"]), tuple(made))


Quantize = Callable[[Checkpoint, ImageSet], "Quantized"]


def _quantizations(plan: WidthsPlan, recipe: Recipe) -> Iterator[tuple[str, dict[str, Any], Quantize]]:
    """Yield the quantized files: name, what decides it, and how it is made."""
    yield QDQ, {"images": plan.images, "seed": recipe.seed}, partial(_calibrate, plan, recipe)
    for settings in plan.trainings:
        yield (
            f"model.qat-{settings.mode}.qdq.onnx",
            settings.to_dict(),
            partial(_train_quantized, plan, recipe, settings),
        )


def _train(plan: WidthsPlan, recipe: Recipe, dataset: ImageSet, follow: Follow, path: Path) -> None:
    with follow(recipe) as hooks:
        result = train(recipe, dataset, path.parent, "auto", hooks, None, Options())
    write_trained(path, recipe, result, class_names(dataset), evaluate(result.model.cpu(), recipe, plan.data))


def _write(quantize: Callable[[], Quantized], path: Path) -> None:
    from calib.qdq.writer import serialize

    write_bytes_atomically(path, serialize(quantize().onnx))


def _calibrate(plan: WidthsPlan, recipe: Recipe, trained: Checkpoint, dataset: ImageSet) -> Quantized:
    """Quantize as `repghost quantize` does."""
    from calib.quantize import Source, quantize_model

    chosen = choose_balanced(dataset.labels, min(plan.images, len(dataset)), recipe.seed)
    prepared = prepare(dataset, recipe.preprocess, chosen)
    notes = {"data": plan.data.name, "split": SPLIT, "seed": recipe.seed, "broken": len(prepared.broken)}
    source = Source(class_names(dataset), trained.digest, notes)
    return quantize_model(build_model(trained), prepared.images, recipe.preprocess, plan.config, source)


def _train_quantized(
    plan: WidthsPlan, recipe: Recipe, settings: QatSettings, trained: Checkpoint, dataset: ImageSet
) -> Quantized:
    """Train under quantization as `repghost qat` does."""
    from calib.qat.train_aware import QatPlan
    from calib.qat.train_on_set import train_on_set
    from calib.quantize import Source

    notes = {"data": plan.data.name, "split": SPLIT, "seed": settings.seed}
    source = Source(class_names(dataset), trained.digest, notes)
    both = QatPlan(plan.config, settings)
    return train_on_set(build_model(trained), dataset, recipe.preprocess, both, source).quantized
