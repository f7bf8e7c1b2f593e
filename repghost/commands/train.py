"""`repghost train`: train a network by a named recipe and write its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("train", short_help="Train a network by a named recipe.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="A set of pictures (see the README).")
@click.option("--recipe", "recipe_name", default="demo", show_default=True, help="A name in repghost/recipe.py.")
@click.option("--output", "-o", default="runs/train", show_default=True, type=click.Path(path_type=Path),
              help="Folder for model.safetensors, state.pt and log.jsonl.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on from the last whole epoch in --output.")
@click.option("--width", help="Instead of the recipe's width.")
@click.option("--epochs", type=int, help="Instead of the recipe's number of epochs.")
@click.option("--batch", type=int, help="Instead of the recipe's batch size.")
@click.option("--learning-rate", type=float, help="Instead of the recipe's peak learning rate.")
@click.option("--held-out", type=int, help="Instead of the recipe's number of held-out pictures.")
@click.option("--seed", type=int, help="Instead of the recipe's seed.")
@click.option("--threads", type=click.IntRange(1), help="Threads of PyTorch; its own choice by default.")
def command(data: Path, recipe_name: str, output: Path, resume: bool, threads: int | None, **changes: Any) -> None:
    """Train a RepGhostNet from random weights and write OUTPUT/model.safetensors.

    A part of the training pictures is held out to judge each epoch. The set's test split, if there is one, is used
    once, after the last epoch, for the figure that is written into the checkpoint.
    """
    import torch

    from repghost.commands.follow import follow
    from repghost.data import open_dataset
    from repghost.recipe import get_recipe
    from repghost.train import train

    if threads is not None:
        torch.set_num_threads(threads)
    recipe = get_recipe(recipe_name).changed(**changes)
    dataset = open_dataset(data, "train")
    with follow(recipe) as hooks:
        result = train(recipe, dataset, output, "continue" if resume else "new", hooks)
    for message in result.broken:
        click.echo(f"broken picture, left out: {message}", err=True)

    from repghost.trained import judge, write_trained

    tested = judge(result.model, recipe, data)
    path = output / "model.safetensors"
    write_trained(path, recipe, result, dataset.classes, tested)
    if tested is None:
        click.echo("test top-1: not measured, the set has no test split")
    else:
        click.echo(f"test top-1: {tested.top1:.2%} of {tested.pictures} (95 %: {tested.low:.2%} to {tested.high:.2%})")
    click.echo(f"written: {path}")
    click.echo("next:")
    click.echo(f"  repghost validate {path} --data {data}")
    click.echo(f"  repghost fuse {path} {output / 'fused.safetensors'}")
