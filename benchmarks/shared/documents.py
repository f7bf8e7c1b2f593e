"""Pages of docs/ with sections that commands write, between two markers; the rest of a page stays as it is.

docs/performance.json and docs/performance.md belong to three commands: each owns one key of the JSON and the section of
the page that is made from this key alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.storage import formats
from compile.storage.strict_json import parse_strict
from repghost.errors import UsageError
from repghost.files import write_text_atomically
from repghost.locks import locked
from repghost.tables import folded

FORMAT, VERSION = formats.PERFORMANCE
FOLDED = "How it was measured, and every figure"
JSON_FILE, PAGE_FILE = "performance.json", "performance.md"


@dataclass(frozen=True)
class Markers:
    """The two lines of a page around what a command writes."""

    begin: str
    end: str
    belongs: str  # for messages, e.g. "the table belongs"

    def replace(self, text: str, section: str, page: str) -> str:
        """Return the text of a page with the lines between the markers replaced.

        Raises:
            UsageError: when the page, called `page`, lacks a marker.
        """
        before, found, rest = text.partition(self.begin)
        _, closed, after = rest.partition(self.end)
        if not found or not closed:
            marker = self.end if found else self.begin
            raise UsageError(f"{page} lacks the line {marker!r}, where {self.belongs}; add it.")
        return f"{before}{self.begin}\n{section}\n{self.end}{after}"

    def empty(self, title: str) -> str:
        """Return a new page with nothing between the markers."""
        return f"# {title}\n\n{self.begin}\n{self.end}\n"


@dataclass(frozen=True)
class Section:
    """What one command owns of docs/performance.json and docs/performance.md.

    Attributes:
        key: of the JSON.
        markers: of the page.
        render: from the value of the key to Markdown: a title, and what is below it.
        says: from the value to one line, which stands in the open; the rest is folded. Without it nothing is.
    """

    key: str
    markers: Markers
    render: Callable[[Mapping[str, Any]], str]
    says: Callable[[Mapping[str, Any]], str] | None = None

    def text(self, value: Mapping[str, Any]) -> str:
        """Return the section as it stands in the page."""
        title, _, rest = self.render(value).partition("\n\n")
        if self.says is None:
            return f"{title}\n\n{rest}"
        return "\n".join([title, "", self.says(value), "", *folded(FOLDED, rest.splitlines())])


def read_performance(docs: Path) -> dict[str, Any]:
    """Return docs/performance.json, empty where there is none yet."""
    data = docs / JSON_FILE
    return dict(parse_strict(data.read_bytes(), str(data))) if data.is_file() else {}


def write_section(docs: Path, section: Section, value: Mapping[str, Any]) -> None:
    """Replace one key of docs/performance.json, its section of docs/performance.md, and nothing else.

    Raises:
        UsageError: when the page has no place for it.
    """
    with locked(docs / JSON_FILE):  # another command replaces another key
        document = {**read_performance(docs), "format": FORMAT, "version": VERSION, section.key: value}
        page, text = docs / PAGE_FILE, section.markers.empty("Performance")
        text = section.markers.replace(page.read_text() if page.is_file() else text, section.text(value), str(page))
        write_json(docs / JSON_FILE, document)
        write_text_atomically(page, text)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON document of docs/, whole, with its keys in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, json.dumps(value, indent=1, sort_keys=True) + "\n")
