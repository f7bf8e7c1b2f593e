from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.training.recipe import RECIPES, Recipe, get_recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_named_after_its_row_and_survives_json(name: str) -> None:
    recipe = get_recipe(name)
    assert recipe.name == name
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_an_unknown_recipe_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="Did you mean 'demo'"):
        get_recipe("dem")


def test_changes_leave_the_rest_alone() -> None:
    demo = get_recipe("demo")
    changed = demo.changed(width="1.0x", epochs=3, seed=None)
    assert (changed.width, changed.epochs, changed.seed) == (1.0, 3, demo.seed)
    assert dataclasses.replace(changed, width=demo.width, epochs=demo.epochs) == demo
    assert demo.changed() == demo


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": "huge"}, "width"),
        ({"epochs": 0}, "epochs must be from 1"),
        ({"epochs": 1}, "give more epochs=, or warmup_epochs=0"),
        ({"epochs": 2.5}, "whole number"),
        ({"batch": 1}, "batch must be from 2"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"dropout": 1.0}, "dropout"),
        ({"ema_decay": "0.9"}, "ema_decay"),
        ({"crop_padding": 64}, "below the 64 pixels"),
        ({"cutout": 64}, "below the 64 pixels"),
        ({"held_out": 0}, "held_out"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        get_recipe("demo").changed(**changes)


def test_from_dict_guesses_nothing() -> None:
    values = get_recipe("demo").to_dict()
    with pytest.raises(UsageError, match="mixup"):
        Recipe.from_dict(values | {"mixup": 0.1})
    del values["seed"]
    with pytest.raises(UsageError, match="seed"):
        Recipe.from_dict(values)


@pytest.mark.parametrize("changes", [{"size": (64, 96), "resize": (64, 96)}, {"squash": True}])
def test_training_refuses_pictures_that_are_not_square(changes: dict[str, Any]) -> None:
    preprocess = dataclasses.replace(Preprocess(64, 64), **changes)
    with pytest.raises(UsageError, match="training takes square pictures, not 64x"):
        get_recipe("demo").changed(preprocess=preprocess)
