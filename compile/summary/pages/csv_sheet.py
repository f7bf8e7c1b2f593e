"""The summary as one CSV: every figure with its unit, in full precision."""

from __future__ import annotations

import csv
import io

from compile.summary.facts import Summary
from compile.summary.tables import all_tables

HEAD = ("table", "row", "column", "unit", "value", "text", "note")


def render_csv(summary: Summary) -> str:
    """Return one line per cell; `row` counts from 1 within its table."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HEAD)
    for table in all_tables(summary):
        for index, row in enumerate(table.rows, start=1):
            for column, cell in zip(table.columns, row, strict=True):
                value = "" if cell.value is None else repr(cell.value)
                writer.writerow([table.name, index, column.title, column.unit, value, _inert(cell.text), cell.note])
    return buffer.getvalue()


def _inert(text: str) -> str:
    """Return text that a spreadsheet does not take for a formula; signed numbers stay as they are."""
    return f"'{text}" if text[:1] in "=@\t\r" else text
