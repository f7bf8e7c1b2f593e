"""`-c args.yaml`: the arguments of a run as its script wrote them, the authors', timm's or ours, as defaults here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from repghost.errors import UsageError
from repghost.terminal import escape
from repghost.untrusted import read_bounded

FILE_BYTES = 1 << 16
AMP = ("amp", "native_amp")
IMAGENET_CLASSES = 1000  # what the authors' script writes where nobody chose a number
# What changes no result, or suits the machine that the script ran on; a file of ours says what counts of it.
OF_A_MACHINE = frozenset(
    {"amp_dtype", "amp_impl", "channels_last", "checkpoint_hist", "config", "device", "fuser", "local_rank",
     "log_interval", "patience_epochs", "pin_mem"}
)  # fmt: skip


def args_file_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a click command the option whose file sets the defaults of the others."""
    return click.option(
        "-c", "--config", type=click.Path(path_type=Path), is_eager=True, expose_value=False, callback=_set_defaults,
        help="args.yaml of a run, the authors', timm's or one of this program; other options come before it.",
    )(command)  # fmt: skip


def from_file(context: click.Context) -> frozenset[str]:
    """Return the parameters of a command whose values a file gave."""
    source = click.core.ParameterSource.DEFAULT_MAP
    return frozenset(name for name in context.params if context.get_parameter_source(name) is source)


def _set_defaults(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    if path is not None:
        options = [option for option in context.command.params if isinstance(option, click.Option)]
        context.default_map = defaults(read_args(path), options, path)


def read_args(path: Path) -> dict[str, Any]:
    """Return the values of a file: a number, a text, a truth value, null or a list of them under each key.

    Raises:
        UsageError: when the file is no such table.
    """
    import yaml  # type: ignore[import-untyped]

    try:
        found = yaml.safe_load(read_bounded(path, FILE_BYTES))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not YAML ({type(error).__name__}: {escape(str(error).splitlines()[0])}).") from error
    if not isinstance(found, Mapping) or not found:
        raise UsageError(f"{path}: not a table of arguments; it has lines like 'epochs: 300'.")
    for key, value in found.items():
        items = value if isinstance(value, list) else [value]
        if not isinstance(key, str) or not all(isinstance(item, str | int | float | None) for item in items):
            raise UsageError(f"{path}: {escape(key)} is {escape(value)!s:.80}; values are numbers, words or lists.")
    return dict(found)


def defaults(given: Mapping[str, Any], options: list[click.Option], path: Path) -> dict[str, Any]:
    """Return the defaults of a command's options by a file.

    Args:
        given: from `read_args`.
        options: of the command.
        path: of the file, for messages.

    Raises:
        UsageError: naming keys that no option has, or the reason why an option is refused.
    """
    found: dict[str, Any] = {} if "recipe" in given else {"recipe": "imagenet"}  # every value is in the file
    unknown = []
    for key, value in given.items():
        option = _option(key, options)
        if (key in OF_A_MACHINE and "recipe" not in given) or _says_nothing(value, option):
            continue
        if option is None:
            unknown.append(key)
        elif option.hidden:
            _refuse(option, path)
        elif (key, value) != ("num_classes", IMAGENET_CLASSES):
            found[str(option.name)] = "timm" if option.name == "pretrained" and value is True else value
    if unknown:
        names = ", ".join(map(escape, sorted(unknown)))
        raise UsageError(f"{path}: no option of this command is called {names}; leave such lines out of the file.")
    if set(AMP) & set(given) and not any(given.get(name) for name in AMP):
        found["amp_dtype"] = "off"
    elif any(given.get(name) for name in AMP) and given.get("amp_dtype"):
        found["amp_dtype"] = given["amp_dtype"]
        found.pop("mixed", None)
    return found


def _option(key: str, options: list[click.Option]) -> click.Option | None:
    names = {f"--{key}", f"--{key.replace('_', '-')}"}
    return next((option for option in options if names & set(option.opts)), None)


def _says_nothing(value: object, option: click.Option | None) -> bool:
    """Return whether a value is what a script writes for an argument that nobody gave."""
    if value is None or value in ("", []):
        return True
    if option is None or option.hidden:
        return not value
    return value is False and not option.secondary_opts  # a pair --x/--no-x is turned off by it


def _refuse(option: click.Option, path: Path) -> None:
    """Raise the refusal of a hidden option as that of a file's line."""
    try:
        assert option.callback is not None
        option.callback(click.get_current_context(), option, True)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
