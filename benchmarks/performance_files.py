"""docs/performance.json and docs/performance.md: one key of the JSON and one section of the page for each command.

The JSON is the truth; a section of the page, between its two markers, is made from its key alone. Other keys of the
JSON and other sections of the page stay as they are.
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

FORMAT, VERSION = formats.PERFORMANCE
JSON_FILE, PAGE_FILE = "performance.json", "performance.md"


@dataclass(frozen=True)
class Section:
    """What one command owns."""

    key: str  # of the JSON
    begin: str  # the line of the page after which its text stands
    end: str  # the line before which its text ends
    what: str  # for messages, e.g. "the host's table"
    render: Callable[[Mapping[str, Any]], str]  # from the value of the key to Markdown


def read_performance(docs: Path) -> dict[str, Any]:
    """Return the JSON, empty where there is none yet."""
    data = docs / JSON_FILE
    return dict(parse_strict(data.read_bytes(), str(data))) if data.is_file() else {}


def write_section(docs: Path, section: Section, value: Mapping[str, Any]) -> None:
    """Replace one key of the JSON and its section of the page, and nothing else.

    Raises:
        UsageError: when the page has no place for it.
    """
    page = docs / PAGE_FILE
    begin, end = section.begin, section.end
    text = page.read_text() if page.is_file() else f"# Performance\n\n{begin}\n{end}\n"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UsageError(f"{page} lacks the line {(end if found else begin)!r}, where {section.what} belongs; add it.")
    document = read_performance(docs)
    document.update({"format": FORMAT, "version": VERSION, section.key: value})
    docs.mkdir(parents=True, exist_ok=True)
    write_text_atomically(docs / JSON_FILE, json.dumps(document, indent=1, sort_keys=True) + "\n")
    write_text_atomically(page, f"{before}{begin}\n{section.render(document[section.key])}\n{end}{after}")
