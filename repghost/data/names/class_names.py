"""Names of classes: one spelling for each, the orders that tools give them, and files that list them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from repghost.errors import UsageError
from repghost.untrusted import read_bounded

CHARACTERS, NATURAL = "characters", "natural"  # orders of names: torchvision's, and timm's
MAX_CLASSES = 100_000
CLASSES_FILE = "classes.txt"  # beside shards, a name on each line
SHOWN = 5  # names in a message

_FILE_BYTES = 16 << 20
# Control characters, line and paragraph separators, and what stands for bytes that are not UTF-8.
_REFUSED = frozenset({"Cc", "Zl", "Zp", "Cs"})


def composed(name: str) -> str:
    """Return a name with composed accents (NFC), by which classes are told apart; macOS stores decomposed ones."""
    return unicodedata.normalize("NFC", name)


def not_utf8(name: str) -> str:
    """Return the bytes of a file name that is not UTF-8, as a message shows them, "" for any other name."""
    if any(unicodedata.category(character) == "Cs" for character in name):
        return repr(name.encode("utf-8", "surrogateescape"))
    return ""


def check_class_name(name: str, where: object) -> str:
    """Return the name of a class with composed accents.

    Args:
        name: of a folder, or a line of a file.
        where: the folder or file, for the message.

    Raises:
        UsageError: when it is empty, is not UTF-8, or would not stay one line of labels.txt.
    """
    wrong = next((character for character in name if unicodedata.category(character) in _REFUSED), None)
    if wrong is None and name.strip():
        return composed(name)
    shown = ascii(name)
    if wrong is None:
        reason = "is blank"
    elif bytes_shown := not_utf8(name):
        reason, shown = "is not UTF-8", bytes_shown
    else:
        reason = f"holds the control character or separator U+{ord(wrong):04X}"
    raise UsageError(f"{where}: the class name {shown} {reason}; a name is one line of UTF-8 text. Rename it.")


def sorted_classes(names: Iterable[str], where: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the classes of folders in the order of their characters, and notes on names that were not composed.

    Raises:
        UsageError: naming a folder that `check_class_name` refuses.
    """
    found = {name: check_class_name(name, where) for name in names}
    classes = tuple(sorted(set(found.values())))
    other = sorted(spelling for spelling, name in found.items() if spelling != name)
    if not other:
        return classes, ()
    twice = ", also where both are there" if len(found) > len(classes) else ""
    return classes, (
        f"{where}: class names with decomposed accents are those with composed ones{twice}: "
        f"{shown_names(found[name] for name in other)}",
    )


def natural_key(name: str) -> list[str | int]:
    """Return what timm sorts class folders by: without case, and digits as numbers."""
    parts = re.split(r"(\d+)", name.lower())
    return [int(part[:4000]) if place % 2 else part for place, part in enumerate(parts)]  # int takes 4300 digits


def in_natural_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return names in timm's order."""
    return tuple(sorted(sorted(names), key=natural_key))


def orders_of(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the orders that programs give names, by what messages call them; equal ones count as the first."""
    classes = tuple(sorted(names))
    decomposed = tuple(sorted(classes, key=lambda name: unicodedata.normalize("NFD", name)))
    orders = {
        "by characters (torchvision, Keras)": classes,
        "naturally (timm)": in_natural_order(classes),
        "by characters with decomposed accents (macOS)": decomposed,
    }
    found: dict[str, tuple[str, ...]] = {}
    for how, order in orders.items():
        if order not in found.values():
            found[how] = order
    return found


def shown_names(names: Iterable[str]) -> str:
    """Return some names for a message."""
    names = list(names)
    return ", ".join(repr(name) for name in names[:SHOWN]) + (
        f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
    )


def one_line(name: str) -> str:
    """Return a class name of a network as it stands in labels.txt: a line break is a space."""
    return name.replace("\r\n", " ").replace("\n", " ")


def to_lines(names: Iterable[str]) -> bytes:
    """Return labels.txt: one name a line, each as it is, in UTF-8."""
    return "".join(f"{one_line(name)}\n" for name in names).encode("utf-8", "backslashreplace")


def from_lines(data: bytes) -> tuple[str, ...]:
    """Return the names in labels.txt; a line ends at a line feed and nowhere else, as in the runner."""
    text = data.decode("utf-8", "replace")
    return tuple(text.removesuffix("\n").split("\n")) if text else ()


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the lines of a file, one class name each, in their order; a byte order mark is no part of a name.

    Raises:
        UsageError: when there is no such file, it is no UTF-8 text, or a name is blank, there twice or refused.
    """
    text = read_text(path, "class names")
    names = tuple(check_class_name(line, path) for line in text.removesuffix("\n").split("\n")) if text else ()
    if not 0 < len(names) <= MAX_CLASSES or len(set(names)) < len(names):
        raise UsageError(f"{path}: needs one line for each class, each another name, {MAX_CLASSES} at most.")
    return names


def read_text(path: Path, what: str) -> str:
    """Return the content of a text file, with lines that end in a line feed, without a byte order mark.

    Raises:
        UsageError: when there is no such regular file, it is too large, or no UTF-8 text.
    """
    try:
        text = read_bounded(path, _FILE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text ({error}); it has to hold {what}, one line each.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
