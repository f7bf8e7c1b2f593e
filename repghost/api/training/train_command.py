"""The command that trains as a run did, which its checkpoint keeps."""

from __future__ import annotations

from typing import Any

from repghost.api.training.recipes import values_of
from repghost.terminal import shell_command
from repghost.training.recipe import RECIPES, Recipe


def train_command(recipe: Recipe, pretrained: bool = False) -> str:
    """Return the command that trains by this recipe, with DIR for the folder of the images and CKPT for weights.

    Args:
        recipe: of the table, with other values; of one that is not there the name alone is said.
        pretrained: the run began with weights.
    """
    said: dict[str, Any] = {"recipe": recipe.name, "seed": recipe.seed, "epochs": recipe.epochs}
    if recipe.name in RECIPES:
        usual = values_of(RECIPES[recipe.name])
        said |= {name: value for name, value in values_of(recipe).items() if value != usual.get(name)}
    if pretrained:
        said["pretrained"] = "CKPT"
    words = [word for name, value in said.items() for word in _option(name, value)]
    return shell_command("repghost", "train", "--data", "DIR", *words)


def _option(name: str, value: Any) -> list[str]:
    """Return an option of `repghost train` as words."""
    spelled = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{spelled}" if value else f"--no-{spelled}"]
    return [f"--{spelled}", *map(str, value if isinstance(value, list) else [value])]
