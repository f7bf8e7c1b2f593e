"""A table as one value, and the two ways to write it: Markdown, and aligned columns of plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repghost.terminal import escape


@dataclass(frozen=True)
class Cell:
    """What a table shows at one place.

    Attributes:
        text: for a reader.
        value: the number behind it, exactly as the JSON has it; None for words.
        note: more, shown on demand.
    """

    text: str
    value: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column's head; the cells of a numeric column stand on the right."""

    title: str
    unit: str = ""
    numeric: bool = False

    @property
    def head(self) -> str:
        """The title with its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True)
class Table:
    """Rows of as many cells as there are columns, with what has to be said of them.

    Attributes:
        columns: the heads.
        rows: cells, [rows][columns].
        name: for links and file names.
        title: of the section it stands in; "" where the page has its own.
        about: a paragraph above the table; "" for none.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    name: str = ""
    title: str = ""
    about: str = ""


def make_table(
    heads: Sequence[str], rows: Iterable[Sequence[str | Cell]], name: str = "", title: str = "", about: str = ""
) -> Table:
    """Return a table of texts and cells.

    Args:
        heads: "title", or "title | unit"; with "#" before it the column is numeric.
        rows: a text stands for a cell that is nothing else.
        name: see `Table`, as the rest.
        title: of the section.
        about: the paragraph above it.
    """
    parts = [(head.startswith("#"), *head.removeprefix("#").partition(" | ")[::2]) for head in heads]
    columns = tuple(Column(title, unit, numeric) for numeric, title, unit in parts)
    cells = tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows)
    return Table(columns, cells, name, title, about)


def markdown_lines(table: Table) -> list[str]:
    """Return the lines of a table in Markdown, below its title and paragraph where it has them."""
    lines = ["" if column.head == "" else f" {_escape(column.head)}" for column in table.columns]
    ruler = ["---:" if column.numeric else "---" for column in table.columns]
    rows = [f"| {' | '.join(_escape(cell.text) for cell in row)} |" for row in table.rows]
    above = [f"## {table.title}", ""] if table.title else []
    above += [table.about, ""] if table.about else []
    return [*above, f"|{' |'.join(lines)} |", f"|{'|'.join(ruler)}|", *rows]


def folded(summary: str, lines: Sequence[str]) -> list[str]:
    """Return lines of Markdown that are shown on demand, for GitHub and for MkDocs, which needs the attribute."""
    return ['<details markdown="1">', f"<summary>{summary}</summary>", "", *lines, "", "</details>"]


def _escape(text: str) -> str:
    return escape(text).replace("|", "\\|")


def text_lines(table: Table) -> list[str]:
    """Return the heads and one line per row in columns of equal width; numeric columns are aligned on the right."""
    lines = [[column.head for column in table.columns], *([escape(cell.text) for cell in row] for row in table.rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(table.columns))]
    return [
        "  ".join(
            text.rjust(width) if column.numeric else text.ljust(width)
            for text, width, column in zip(line, widths, table.columns, strict=True)
        ).rstrip()
        for line in lines
    ]
