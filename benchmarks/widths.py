"""Several widths: trained, quantized, and trained under quantization where that is asked for.

One comes after the other, or some at the same time, each in a process of its own. Each is a run of `repghost train`,
`quantize` and `qat` in a folder of its own. What is finished is not repeated; a training that was stopped goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from benchmarks.shared.command import run_command
from benchmarks.shared.side_by_side import run_side_by_side
from calib.qat.settings import QatSettings
from calib.settings.config_file import read_config
from compile.storage.measurements import Measurements
from repghost.checkpoints.checkpoint import read_checkpoint
from repghost.cli import cli
from repghost.data import ImageSet, open_dataset
from repghost.errors import UsageError
from repghost.files import write_bytes_atomically
from repghost.network.spec import WIDTHS, model_name, parse_width
from repghost.training.recipe import Recipe, get_recipe
from repghost.untrusted import file_digest

WEIGHTS, QDQ, LOG, SPLIT = "model.safetensors", "model.qdq.onnx", "widths.log", "train"
STATE_INTERVAL = "100"  # batches between two states: what a killed run repeats at most, two minutes at 2.0x


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
    amp_dtype: str | None
    images: int
    config: Path | None
    qat: tuple[str, ...]
    qat_epochs: int
    qat_images: int
    threads: int | None
    at_once: int
    output: Path

    def multipliers(self) -> tuple[float, ...]:
        """Return the widths, each once."""
        if self.widths.strip() == "all":
            return tuple(row.multiplier for row in WIDTHS)
        return tuple(dict.fromkeys(parse_width(name.strip(), custom=True) for name in self.widths.split(",")))

    def words(self) -> list[str]:
        """Return the words of the command that makes such a request."""
        several = {item.name: getattr(self, item.name) for item in fields(self)}
        given = {name: value if isinstance(value, tuple) else (value,) for name, value in several.items()}
        pairs = [(f"--{name.replace('_', '-')}", each) for name, values in given.items() for each in values]
        return [word for option, each in pairs if each is not None for word in (option, str(each))]

    def check(self) -> tuple[Recipe, ImageSet]:
        """Refuse before anything is trained what a later command would refuse; return the recipe and the images.

        Raises:
            UsageError: for a width, recipe, mode, configuration or set of images that there is not.
        """
        recipe = get_recipe(self.recipe).changed(
            epochs=self.epochs, batch=self.batch, held_out=self.held_out, seed=self.seed, amp=self.amp_dtype
        )
        if not recipe.held_out:
            raise UsageError(
                f"recipe {recipe.name!r} evaluates on a split of its own; widths are trained by one that holds "
                "pictures out: demo, cifar or cifar-short."
            )
        self.multipliers()
        read_config(self.config, None)
        for mode in self.qat:
            QatSettings(mode=mode)
        return recipe, open_dataset(self.data, SPLIT)


def run_width(width: float, request: WidthsRequest, recipe: Recipe, images: ImageSet) -> None:
    """Train and quantize one width."""
    folder = request.output / model_name(width)
    weights, set_of, seed = folder / WEIGHTS, ["--data", str(request.data)], str(recipe.seed)
    sizes = {"epochs": request.epochs, "batch": request.batch, "held-out": request.held_out,
             "amp-dtype": request.amp_dtype}  # fmt: skip
    given = [word for name, value in sizes.items() if value is not None for word in (f"--{name}", str(value))]
    train = ["train", *set_of, "--recipe", request.recipe, "--width", f"{width:g}", "--seed", seed, *given]
    unchanging = ["--recovery-interval", STATE_INTERVAL]
    unchanging += [] if request.threads is None else ["--threads", str(request.threads)]
    decided = {"recipe": recipe.changed(width=width).to_dict(), "data": [len(images), list(images.classes)]}
    make_once(weights, [*train, "--output", str(folder), "--resume", "auto"], decided, unchanging)
    settings = ["--split", SPLIT, "--seed", seed]
    settings += ["--config", str(request.config)] if request.config else []
    key = decided | {"weights": file_digest(weights), "config": request.config.read_text() if request.config else ""}
    quantize = ["quantize", str(weights), *set_of, *settings, "--images", str(request.images)]
    make_once(folder / QDQ, [*quantize, "--output", str(folder / QDQ)], key)
    for mode in dict.fromkeys(request.qat):
        file = folder / f"model.qat-{mode}.qdq.onnx"
        passes = ["--epochs", str(request.qat_epochs), "--images", str(request.qat_images)]
        qat = ["qat", str(weights), *set_of, *settings, "--mode", mode, *passes, "--resume", "auto"]
        make_once(file, [*qat, "--output", str(file)], key)


def make_once(file: Path, words: list[str], key: dict[str, Any], more: Sequence[str] = ()) -> None:
    """Run a command of `repghost` that writes a file, unless it did so before from the same words and key.

    Args:
        file: what the command writes.
        words: of the command.
        key: JSON values; what decides the result besides.
        more: words that do not decide it.
    """
    made = []

    def make() -> dict[str, bytes]:
        made.append(file)
        cli.main([*words, *more], prog_name="repghost", standalone_mode=False)
        return {file.name: file.read_bytes()}

    content = Measurements(file.parent / ".cache").files("widths", {"command": words, **key}, make)[file.name]
    if not file.is_file() or file.read_bytes() != content:
        write_bytes_atomically(file, content)
    click.echo(f"{file.parent.name}: {file.name}{'' if made else ', as in an earlier run'}")


@click.command("widths")
@click.option("--widths", required=True, help="Separated by commas, e.g. 0.5,0.58; or all.")
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="A set of pictures (see docs/pictures.md)."
)
@click.option("--recipe", default="demo", show_default=True, help="demo, cifar or cifar-short.")
@click.option("--epochs", type=int, help="Passes over the pictures, instead of the recipe's.")
@click.option("--batch", type=int, help="Pictures per step, instead of the recipe's.")
@click.option("--held-out", type=int, help="Training pictures to evaluate each epoch on, instead of the recipe's.")
@click.option("--seed", type=int, help="Start of every random choice.")
@click.option("--amp-dtype", help="bfloat16 or float16, for a GPU, which is used where there is one.")
@click.option("--images", default=512, show_default=True, type=click.IntRange(1), help="Calibration pictures.")
@click.option("--config", type=click.Path(path_type=Path), help="Quantization settings as JSON.")
@click.option("--qat", multiple=True, metavar="MODE", help="Also train under quantization: fused, reparam.")
@click.option("--qat-epochs", default=4, show_default=True, type=click.IntRange(1), help="Passes of that training.")
@click.option("--qat-images", default=12_500, show_default=True, type=click.IntRange(1), help="Pictures of a pass.")
@click.option("--threads", type=click.IntRange(1), help="Threads of PyTorch; its own choice by default.")
@click.option("--at-once", default=1, show_default=True, type=click.IntRange(1), help="Widths at the same time.")
@click.option("--output", "-o", default="runs/widths", show_default=True, type=click.Path(path_type=Path),
              help="A folder in it for each width.")  # fmt: skip
def command(**options: Any) -> None:
    """Train each width by the recipe, quantize it, and with --qat train it under quantization.

    OUTPUT/repghostnet_0_5x and so on hold the weights and the quantized files. A finished step is not repeated; a
    training that was stopped goes on from its last state. With --at-once each width writes its lines to widths.log in
    its folder. `repghost accuracy` measures what came out.
    """
    request = WidthsRequest(**options)
    recipe, images = request.check()
    widths = request.multipliers()
    if request.at_once > 1:
        alone = {width: replace(request, widths=f"{width:g}", at_once=1) for width in widths}
        words = {width: [sys.executable, "-m", "benchmarks.widths", *alone[width].words()] for width in widths}
        logs = {request.output / model_name(width) / LOG: words[width] for width in widths}
        run_side_by_side(logs, request.at_once, click.echo)
    else:
        for width in widths:
            run_width(width, request, recipe, images)
    for width in widths:
        folder = request.output / model_name(width)
        test = read_checkpoint(folder / WEIGHTS, width=width).metadata.get("test")
        said = "not measured" if test is None else f"{test['top1']:.2%}"
        click.echo(f"{folder.name}: float32 test top-1 {said}; {folder}")
    click.echo("next:")
    click.echo(f"  repghost accuracy {request.output}/*/model.safetensors --data {request.data}")


if __name__ == "__main__":
    run_command(command)
