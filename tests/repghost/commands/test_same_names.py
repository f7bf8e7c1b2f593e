"""Options of a command and arguments of the function that it calls have the same names and defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import click
import pytest

import repghost
from repghost.api.training.recipes import SPELLED as OF_TRAINING
from repghost.cli import cli
from repghost.commands.quantization.qat import SPELLED as OF_QAT

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "accuracy": repghost.accuracy, "advise": repghost.advise, "bench": repghost.bench, "compile": repghost.compile,
    "demo": repghost.demo, "deploy": repghost.deploy,
    "detect-export": repghost.export_detector, "detect-train": repghost.train_detector,
    "detect-validate": repghost.evaluate_detector, "doctor": repghost.doctor, "explain": repghost.explain,
    "export": repghost.export, "flops": repghost.flops, "fuse": repghost.fuse, "lint": repghost.lint,
    "pack": repghost.pack, "predict": repghost.predict, "pull": repghost.pull, "push": repghost.push,
    "qat": repghost.train_quantized, "quantize": repghost.quantize, "report": repghost.report,
    "rollback": repghost.rollback, "sign": repghost.sign, "status": repghost.status, "submit": repghost.submit,
    "train": repghost.train,
    "validate": repghost.validate, "verify": repghost.verify,
}  # fmt: skip
# An option that is spelled otherwise because it is repeated, because it turns something off, or because Python keeps
# the word to itself.
SPELLED = {
    "variant": "variants", "method": "methods", "python": "pythons", "for": "runtime", "float": "as_float",
}  # fmt: skip
# What a value says in Python: the set and its splits, what is printed or written, and several networks at once.
SETS = {"class-map", "split", "data", "val-share"}
OUTPUTS = {"json", "output"}
EVERYWHERE = {"json", "quiet", "verbose"}
ONLY_THERE = {
    "compile": {"model"},  # `network` takes it
    "explain": {"html"},  # `to_html` of what it returns
    "detect-train": {"processes"},  # what starts several processes
    "detect-export": {"size"},  # height and width there
    "fuse": {"check", "output"},
    # What `quantize` before it takes, and what starts a program of Python several times:
    "qat": SETS | OUTPUTS | {"processes", "weights", "preprocess", "size", "width", "config", "policy"},
    "quantize": SETS | OUTPUTS,
    "report": SETS | OUTPUTS | {"format", "build", "target", "widths", "weights", "size", "images", "test-images",
                                "class-order"},
    # The folder below another one, what starts several processes, and what torch is told for the whole process:
    "train": {"args", "dataset", "experiment", "processes", "threads", "native-amp"},
    "validate": {"all-widths", "args", "dataset", "checkpoint", "per-class", "processes"},
}  # fmt: skip


def options(command: str) -> dict[str, click.Option]:
    """The options of a command by their longest name."""
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    shown = (it for it in found.params if isinstance(it, click.Option) and it.opts and not it.hidden)
    return {max(getattr(it, "shown", it.opts), key=len).removeprefix("--"): it for it in shown}


def names(option: click.Option) -> list[str]:
    """What an argument may be called that an option gives."""
    long = [word.removeprefix("--") for word in option.opts]
    return [name for word in long for name in (word.replace("-", "_"), SPELLED.get(word, "")) if name]


def arguments(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments of a function, those that a `TypedDict` names among them."""
    found = dict(inspect.signature(function).parameters)
    if "values" in found:
        for name in repghost.RecipeValues.__annotations__:
            found[name] = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
    return found


@pytest.mark.parametrize("command", FUNCTIONS)
def test_options_are_arguments_with_the_same_default(command: str) -> None:
    known = arguments(FUNCTIONS[command])
    differing = []
    for name, option in options(command).items():
        if name in ONLY_THERE.get(command, ()) or name in EVERYWHERE:
            continue
        argument = next((known[word] for word in names(option) if word in known), None)
        if argument is None:
            differing.append(f"--{name} is no argument")
        elif argument.default is not argument.empty and not same(option, argument.default):
            differing.append(f"--{name} is {option.default!r} there and {argument.default!r} here")
    assert differing == []


def test_every_value_of_a_recipe_is_an_option() -> None:
    known = {name for option in options("train").values() for name in names(option)}
    assert sorted(set(repghost.RecipeValues.__annotations__) - known) == []
    said = repghost.RecipeValues.__doc__ or ""
    assert [name for name in repghost.RecipeValues.__annotations__ if f"{name}: " not in said] == []


def test_both_trainings_call_a_value_alike() -> None:
    assert {field: name for name, field in OF_TRAINING.items()} == OF_QAT


def same(option: click.Option, default: object) -> bool:
    """Whether two defaults mean the same; where click has none, None or nothing stands."""
    given = option.default
    if callable(given) or type(given).__name__ == "Sentinel":
        return default in (None, (), False)
    return given == default or str(given) == str(default)


def test_a_difference_would_be_found() -> None:
    assert not same(options("deploy")["keep"], 4) and same(options("deploy")["keep"], 3)
    assert "images" in options("quantize") and "mistakes" in options("validate")
