"""Aligned columns of text."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def format_columns(rows: Sequence[Sequence[str]], numbers: Collection[int]) -> list[str]:
    """Return one line per row.

    Args:
        rows: cells; every row has as many.
        numbers: the columns whose cells stand on the right.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
