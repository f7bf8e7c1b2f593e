"""Options of a command and arguments of the function that it calls have the same names and defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import click
import pytest

import repghost
from repghost.cli import cli

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "bench": repghost.bench, "compile": repghost.compile, "deploy": repghost.deploy, "explain": repghost.explain,
    "export": repghost.export, "fuse": repghost.fuse, "qat": repghost.train_quantized, "quantize": repghost.quantize,
    "report": repghost.report, "validate": repghost.evaluate, "verify": repghost.verify,
}  # fmt: skip
# An option that is spelled otherwise because it is repeated, or because it turns something off.
SPELLED = {"variant": "variants", "no-host": "host", "no-fetch": "fetch"}
# What a value says in Python: the set and its splits, what is printed or written, and several networks at once.
SETS = {"class-map", "split", "data"}
OUTPUTS = {"json", "output"}
ONLY_THERE = {
    "compile": {"model"},  # `network` takes it
    "fuse": {"check"},
    # What `quantize` before it takes, and what starts a program of Python several times:
    "qat": SETS | OUTPUTS | {"processes", "weights", "preprocess", "size", "width", "config", "policy"},
    "quantize": SETS | OUTPUTS,
    "report": SETS | OUTPUTS | {"format", "build", "target", "widths", "weights", "size", "images", "test-images",
                                "class-order"},
    "validate": SETS | {"compiled", "cache", "all-widths", "per-class", "device", "dist-timeout"},
}  # fmt: skip


def options(command: str) -> dict[str, click.Option]:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    return {
        max(it.opts, key=len).removeprefix("--"): it for it in found.params if isinstance(it, click.Option) and it.opts
    }


@pytest.mark.parametrize("command", FUNCTIONS)
def test_options_are_arguments_with_the_same_default(command: str) -> None:
    arguments = inspect.signature(FUNCTIONS[command]).parameters
    differing = []
    for name, option in options(command).items():
        if name in ONLY_THERE.get(command, ()) or name == "json":
            continue
        argument = arguments.get(name.replace("-", "_")) or arguments.get(SPELLED.get(name, ""))
        if argument is None:
            differing.append(f"--{name} is no argument")
        elif argument.default is not argument.empty and not same(option, argument.default):
            differing.append(f"--{name} is {option.default!r} there and {argument.default!r} here")
    assert differing == []


def same(option: click.Option, default: object) -> bool:
    """Whether two defaults mean the same; where click has none, None or nothing stands."""
    given = option.default
    if callable(given) or type(given).__name__ == "Sentinel":
        return default in (None, (), False)
    return given == default or str(given) == str(default)


def test_a_difference_would_be_found() -> None:
    assert not same(options("deploy")["keep"], 4) and same(options("deploy")["keep"], 3)
    assert "images" in options("quantize") and "split" in options("validate")
