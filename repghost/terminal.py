"""Text from outside, made safe to show: names of files, answers of boards, texts in networks."""

from __future__ import annotations

import html
import os
import shlex
import shutil
import sys
from collections.abc import Sequence

MOST_BROKEN = 10  # pictures that are named; a set on a failing disk has thousands

# What the user of the command line asked for; Python never sets them.
quiet = False  # print results and errors only
verbose = False
live = False  # somebody looks at stderr

_passing = False  # whether the last line of the terminal is one that does not stay


def escape(text: object, limit: int | None = None) -> str:
    r"""Return `text` on one line and without anything that a terminal obeys; to do it twice changes nothing.

    Line breaks, escape sequences, marks that turn the direction of writing and bytes that are no UTF-8 become what
    Python writes for them, e.g. \n, \x1b, \u202e and \udcff. Everything else stays, backslashes too.

    Args:
        text: what was given; an object that is no text is shown as `str` shows it.
        limit: characters of the result; a longer one is cut and ends in "...".
    """
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in str(text))
    return shown if limit is None or len(shown) <= limit else f"{shown[: max(0, limit - 3)]}..."


def shell_command(*words: object) -> str:
    """Return a command to copy into a shell: every word is quoted where it has to be, and safe to show."""
    return escape(shlex.join(str(word) for word in words))


def say(*lines: object, err: bool = False) -> None:
    """Print lines, each safe to show whatever names and answers are in it.

    Args:
        lines: what is printed.
        err: print to standard error.
    """
    end_passing()
    # Not click's: the processes that run other tools in their own interpreters need nothing but what they measure.
    print("\n".join(escape(line) for line in lines), file=sys.stderr if err else sys.stdout, flush=True)


def say_broken(messages: Sequence[str], meaning: str) -> None:
    """Name the first pictures that could not be read on standard error, and count the others.

    Args:
        messages: one for each, which begins with its name.
        meaning: what became of them: "left out".
    """
    for message in messages[:MOST_BROKEN]:
        say(f"broken picture, {meaning}: {message}", err=True)
    if len(messages) > MOST_BROKEN:
        say(f"{len(messages) - MOST_BROKEN} other broken pictures, {meaning}", err=True)


def say_progress(*lines: object, err: bool = False) -> None:
    """Print lines that nobody needs who waits for the result alone; nothing where --quiet was given."""
    if not quiet:
        say(*lines, err=err)


def say_next(*commands: str) -> None:
    """Print the commands that usually come next, each from `shell_command`."""
    if commands:
        say_progress("next:", *(f"  {command}" for command in commands))


def bars_off() -> bool | None:
    """Return tqdm's `disable`: None leaves bars out where stderr is no terminal, True everywhere."""
    return quiet or None


def say_passing(text: object) -> None:
    """Show in a terminal what is being done, until the next line takes its place; nothing elsewhere."""
    global _passing
    if live:
        end_passing()
        print(escape(text, shutil.get_terminal_size().columns - 1), end="", file=sys.stderr, flush=True)
        _passing = True


def end_passing() -> None:
    """Take the line of `say_passing` away."""
    global _passing
    if _passing:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        _passing = False


def say_summary(title: str, *lines: object) -> None:
    """Print what came out: in a terminal within a frame that is open to the right, elsewhere as plain lines.

    Args:
        title: of the frame.
        lines: what is printed; empty ones at both ends are left out of the frame.
    """
    if not (sys.stdout.isatty() and "utf" in (sys.stdout.encoding or "").lower()):
        say(*lines)
        return
    text = "\n".join(escape(line) for line in lines).strip("\n").split("\n")
    width = min(shutil.get_terminal_size().columns, 100)
    shown = f"\x1b[1m{title}\x1b[0m" if has_colours() else title
    end_passing()
    print(f"╭─ {shown} {'─' * max(0, width - 4 - len(title))}", *(f"│ {line}" for line in text), sep="\n")
    print(f"╰{'─' * (width - 1)}", flush=True)


def has_colours() -> bool:
    """Return whether the terminal of stdout shows bold and coloured text and its user wants it, see no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def say_page(text: str) -> None:
    """Print a text of several lines, safe to show; its last line break is not doubled."""
    say(*text.removesuffix("\n").split("\n"))


class Shown:
    """A result that a notebook shows as it is printed: the lines of its repr, each safe to show."""

    def _repr_html_(self) -> str:
        lines = "\n".join(html.escape(escape(line)) for line in repr(self).split("\n"))
        return f"<pre>{lines}</pre>"
