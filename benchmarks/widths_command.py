"""Train and quantize several widths, one after the other (`make widths`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from benchmarks.command import run_command
from calib.qat.settings import QatSettings
from calib.settings.config_file import read_config
from repghost.commands.progress.train import follow
from repghost.network.spec import WIDTHS, parse_width


@click.command("widths", short_help="Train and quantize several widths.")
@click.option("--widths", "names", required=True, help="Separated by commas, e.g. 0.5,0.58; or all.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="A set of pictures (see the README).")
@click.option("--recipe", "recipe_name", default="demo", show_default=True, help="demo or cifar.")
@click.option("--epochs", type=int, help="Passes over the pictures, instead of the recipe's.")
@click.option("--batch", type=int, help="Pictures per step, instead of the recipe's.")
@click.option("--held-out", type=int, help="Training pictures that judge each epoch, instead of the recipe's.")
@click.option("--seed", type=int, help="Start of every random choice.")
@click.option("--images", default=512, show_default=True, type=click.IntRange(1), help="Calibration pictures.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Quantization settings as JSON.")
@click.option("--qat", "modes", multiple=True, metavar="MODE", help="Also train under quantization: fused, reparam.")
@click.option("--qat-epochs", default=4, show_default=True, type=click.IntRange(1), help="Passes of that training.")
@click.option("--qat-images", default=12_500, show_default=True, type=click.IntRange(1), help="Pictures of a pass.")
@click.option("--threads", type=click.IntRange(1), help="Threads of PyTorch; its own choice by default.")
@click.option("--output", "-o", default="runs/widths", show_default=True, type=click.Path(path_type=Path),
              help="A folder in it for each width.")  # fmt: skip
def command(
    names: str,
    data: Path,
    recipe_name: str,
    epochs: int | None,
    batch: int | None,
    held_out: int | None,
    seed: int | None,
    images: int,
    config_path: Path | None,
    modes: tuple[str, ...],
    qat_epochs: int,
    qat_images: int,
    threads: int | None,
    output: Path,
) -> None:
    """Train each width by the recipe, quantize it, and with --qat train it under quantization.

    OUTPUT/repghostnet_0_5x and so on hold the weights and the quantized files. A finished step is not repeated; a
    training that was stopped goes on from its last state. `repghost accuracy` measures what came out.
    """
    config = read_config(config_path, None)

    import torch

    from benchmarks.widths import WidthsPlan, run_widths
    from repghost.training.recipe import get_recipe

    if threads is not None:
        torch.set_num_threads(threads)
    recipe = get_recipe(recipe_name).changed(epochs=epochs, batch=batch, held_out=held_out, seed=seed)
    if names.strip() == "all":
        widths = [row.multiplier for row in WIDTHS]
    else:
        widths = [parse_width(name.strip(), custom=True) for name in names.split(",")]
    training = QatSettings(epochs=qat_epochs, images=qat_images, seed=recipe.seed)
    trainings = tuple(replace(training, mode=mode) for mode in dict.fromkeys(modes))
    recipes = tuple(recipe.changed(width=width) for width in dict.fromkeys(widths))
    plan = WidthsPlan(recipes, data, output, config, images, trainings)
    results = list(run_widths(plan, follow, click.echo))
    for result in results:
        test = "not measured" if result.test is None else f"{result.test:.2%}"
        click.echo(f"{result.name}: float32 test top-1 {test}; {result.folder}: {', '.join(result.files)}")
    click.echo("next:")
    click.echo(f"  repghost accuracy {output}/*/model.safetensors --data {data}")


if __name__ == "__main__":
    run_command(command)
