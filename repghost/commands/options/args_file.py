"""`-c args.yaml`: the arguments of a run as its script wrote them, the authors', timm's or ours, as defaults here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from repghost.commands.options.earlier import Renamed
from repghost.commands.options.gather import Option
from repghost.errors import UsageError
from repghost.terminal import escape
from repghost.untrusted import read_bounded

Read = Callable[[Mapping[str, Any], list[click.Option], Path], dict[str, Any]]
FILE_BYTES = 1 << 16
FILE = f"{__name__}.file"  # where the context of a command keeps the path
# JSON that options of other names take: keys that tell it -> what it is, and where it goes.
OTHERS = (
    ({"policy", "layers"}, "the settings of a quantization, which 'repghost quantize --config' takes"),
    ({"mean", "std", "resize"}, "how pictures are prepared, which --preprocess takes"),
)
AMP = ("amp", "native_amp")
IMAGENET_CLASSES = 1000  # what the authors' script writes where nobody chose a number
# What changes no result, or suits the machine that the script ran on; a file of ours says what counts of it.
OF_A_MACHINE = frozenset(
    {"amp_dtype", "amp_impl", "channels_last", "checkpoint_hist", "config", "device", "fuser", "local_rank",
     "log_interval", "patience_epochs", "pin_mem"}
)  # fmt: skip


def args_file_option(read: Read | None = None) -> Option:
    """Return a decorator that gives a click command the option whose file sets the defaults of the others.

    Args:
        read: what the command takes of a file; None: `defaults`.
    """

    def set_defaults(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
        if path is not None:
            options = [option for option in context.command.params if isinstance(option, click.Option)]
            context.meta[FILE] = path
            found = (read or defaults)(read_args(path), options, path)
            context.default_map = {**found, **(context.default_map or {})}  # --dataset may have been first

    return click.option(
        "-c", "--args", cls=Renamed, earlier=("--config",), type=click.Path(path_type=Path), is_eager=True,
        expose_value=False, callback=set_defaults,
        help="args.yaml of a run, the authors', timm's or one of this program; other options come before it.",
    )  # fmt: skip


def given_file() -> Path | None:
    """Return the file of the command that runs."""
    return click.get_current_context().meta.get(FILE)


def from_file(context: click.Context) -> frozenset[str]:
    """Return the parameters of a command whose values a file gave."""
    if context.meta.get(FILE) is None:  # --dataset gives a default, too
        return frozenset()
    source = click.core.ParameterSource.DEFAULT_MAP
    return frozenset(name for name in context.params if context.get_parameter_source(name) is source)


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
    for keys, what in OTHERS:
        if "version" in found and keys <= set(found):
            raise UsageError(f"{path} says {what}; here give the arguments of a training run, its args.yaml.")
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
        option = option_of(key, options)
        if (key in OF_A_MACHINE and "recipe" not in given) or says_nothing(value, option):
            continue
        if option is None:
            unknown.append(key)
        elif option.hidden:
            _refuse(option, path)
        elif (key, value) != ("num_classes", IMAGENET_CLASSES):
            found[str(option.name)] = "timm" if option.name == "pretrained" and value is True else value
    refuse_unknown(unknown, path)
    if set(AMP) & set(given) and not any(given.get(name) for name in AMP):
        found["amp_dtype"] = "off"
    elif any(given.get(name) for name in AMP) and given.get("amp_dtype"):
        found["amp_dtype"] = given["amp_dtype"]
        found.pop("mixed", None)
    return found


def refuse_unknown(keys: list[str], path: Path) -> None:
    """Refuse keys that no option has.

    Raises:
        UsageError: naming them.
    """
    if keys:
        names = ", ".join(map(escape, sorted(keys)))
        raise UsageError(f"{path}: no option of this command is called {names}; leave such lines out of the file.")


def option_of(key: str, options: list[click.Option]) -> click.Option | None:
    """Return the option that a key is a name of."""
    names = {f"--{key}", f"--{key.replace('_', '-')}"}
    return next((option for option in options if names & set(option.opts)), None)


def says_nothing(value: object, option: click.Option | None) -> bool:
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
