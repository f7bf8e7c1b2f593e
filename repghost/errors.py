"""Errors a user can meet, each with the exit code of the command line.

RepGhostError
├── UsageError             2   a wrong argument, file or configuration
├── AccuracyGateError      3   the accuracy drop is above what was allowed
├── ToolMissingError       4   a program or package that is needed is not installed
├── TimeLimitError         4   a program did not end in time (`repghost.processes`)
├── DeviceUnreachableError 5   a board did not answer
└── IntegrityError         6   a digest, signature or replayed vector did not match

Every message answers four questions: what is wrong, what was given, what is allowed, what to do next.
"""

from __future__ import annotations

import difflib
import errno
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires

from repghost.terminal import escape, shell_command

DISTRIBUTION = "repghost-deploy"
LINE_LIMIT = 20_000  # characters of one line of a message
LONG_TABLE, SHOWN_OF_MANY = 100, 5  # entries of a table that messages list, and those shown of a longer one
# What PyTorch, oneDNN, the C++ library, the dynamic loader, Rust, a GPU's driver and zlib (Z_MEM_ERROR) say.
OUT_OF_MEMORY = re.compile(
    r"not enough memory|allocate memory|out of memory|bad_alloc|failed to map segment|could not create a primitive$"
    r"|^PyObject pointer is null$|^Error -4 while ",
    re.IGNORECASE,
)


def as_argument(name: str, value: object = None) -> str:
    """Return an argument as a caller in Python writes it: name=, or name=value; words in capitals stand for a value."""
    text = str(value)
    shown = text if isinstance(value, bool | int | float) or text.isupper() else repr(text)
    return f"{name}=" if value is None else f"{name}={shown}"


def as_command(name: str, values: dict[str, object]) -> str:
    """Return how a command is started with options of these names."""
    words = [word for key, value in values.items() for word in (f"--{key.replace('_', '-')}", value)]
    return shell_command("repghost", name, *words)


_spelled: Callable[[str, object], str] = as_argument  # the command line alone sets others
_started: Callable[[str, dict[str, object]], str] = as_command


def option(name: str, value: object = None) -> str:
    """Return what a message calls an argument: `name=` where Python called, `--name` where the command line did.

    Args:
        name: of the argument.
        value: that it is given; True for a switch, capitals for a place where one stands.
    """
    return _spelled(name, value)


def command(name: str, **values: object) -> str:
    """Return how a command is started: `repghost compile --target web`, or as make does where make was used.

    Args:
        name: of the command.
        values: of its options; words in capitals stand for a value.
    """
    return _started(name, values)


@contextmanager
def options_spelled(
    spelled: Callable[[str, object], str], started: Callable[[str, dict[str, object]], str] = as_command
) -> Iterator[None]:
    """Let messages call arguments and commands as two functions do, in every thread, until the block ends."""
    global _spelled, _started
    before, _spelled, _started = (_spelled, _started), spelled, started
    try:
        yield
    finally:
        _spelled, _started = before


class RepGhostError(Exception):
    """An error whose cause lies outside the program; printed without a traceback.

    Each argument is one line of the message: names and answers in it cannot add lines or move a terminal's cursor.
    """

    exit_code = 1

    def __str__(self) -> str:
        """Return the lines, safe to show."""
        return "\n".join(escape(line, LINE_LIMIT) for line in self.args)


class UsageError(RepGhostError):
    """A wrong argument, input file or configuration."""

    exit_code = 2


class AccuracyGateError(RepGhostError):
    """The measured accuracy drop is larger than the limit that was asked for."""

    exit_code = 3


class ToolMissingError(RepGhostError):
    """A program or an optional package is not installed."""

    exit_code = 4


class DeviceUnreachableError(RepGhostError):
    """A board did not answer in time or refused the connection."""

    exit_code = 5


class IntegrityError(RepGhostError):
    """Bytes differ from what their digest, signature or test vector promises."""

    exit_code = 6


class NoteWarning(UserWarning):
    """What a caller of the library should know of its images; the commands print it as a note."""


ONNX_SUFFIXES = (".onnx", "")  # of the name of a quantized network; a name without one is taken as it is


def not_onnx(path: object) -> UsageError:
    """Return the error for the name of another format where a quantized network is to be written."""
    return UsageError(f"a quantized network is written as ONNX, so {str(path)!r} has to end in .onnx.")


def unknown_value(kind: str, given: object, allowed: Iterable[object]) -> UsageError:
    """Return the error for a value outside a table, with the nearest entry as a suggestion.

    Of a long table the nearest entries are listed alone.

    Args:
        kind: what the value names, e.g. "target" or "width".
        given: the value as the user wrote it.
        allowed: every entry of the table.
    """
    names = [str(name) for name in allowed]
    close = difflib.get_close_matches(str(given), names, n=SHOWN_OF_MANY, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    if len(names) > LONG_TABLE:
        shown = close or names[:SHOWN_OF_MANY]
        names = [*shown[:-1], f"{shown[-1]} and {len(names) - len(shown)} more"]
    return UsageError(f"unknown {kind} {str(given)!r}; allowed: {', '.join(names)}.{hint}")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the system had no memory left, which libraries say in their own words."""
    number = getattr(error, "errno", None)
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return True
    of_system = isinstance(error, OSError) and number is not None  # its text holds the name of a file
    return not of_system and OUT_OF_MEMORY.search(str(error)) is not None


def requirement(package: str) -> str:
    """Return what to install for a package that this one needs, with the versions that it needs: "click>=8.2"."""
    try:
        found = [line.partition(";")[0].strip() for line in requires(DISTRIBUTION) or () if ";" not in line]
    except PackageNotFoundError:  # run from a checkout that is not installed
        found = []
    return next((line for line in found if re.match(rf"{re.escape(package)}(?![\w.-])", line)), package)


def install_command(extra: str) -> str:
    """Return the command that installs the packages of an extra, by their own names: no index has this project.

    Args:
        extra: a name in pyproject.toml's optional-dependencies.
    """
    try:
        lines = [line.partition(";") for line in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:  # run from a checkout that is not installed
        lines = []
    of_extra = re.compile(rf"extra == [\"']{re.escape(extra)}[\"']")
    packages = [package.strip() for package, _, marker in lines if of_extra.search(marker)]
    return shlex.join(["pip", "install", *(packages or [f".[{extra}]"])])
