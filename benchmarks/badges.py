"""docs/badges: the labels at the top of the README, drawn from pyproject.toml, so that none can be out of date."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import click

from benchmarks.shared.command import docs_option, run_command
from repghost.files import write_text_atomically
from repghost.svg_figure import BLUE

FOLDER, PROJECT = "badges", Path("pyproject.toml")
DARK_GREEN = "#00734f"  # white text on it has to be read
CHARACTER, MARGIN = 6.1, 8  # pixels: the usual width of one at 11 px (textLength makes it so), and beside each text
SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{label}: {value}">
<title>{label}: {value}</title>
<clipPath id="r"><rect width="{width}" height="20" rx="3"/></clipPath>
<g clip-path="url(#r)"><rect width="{split}" height="20" fill="#444"/>\
<rect x="{split}" width="{rest}" height="20" fill="{colour}"/></g>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{margin}" y="14" textLength="{label_px}">{label}</text>
<text x="{value_x}" y="14" textLength="{value_px}">{value}</text>
</g>
</svg>
"""


@dataclass(frozen=True)
class Badge:
    """What one says: a label, and a value beside it."""

    label: str
    value: str
    colour: str = BLUE

    def to_svg(self) -> str:
        """Return the badge as an SVG file; white on its colours has a contrast of at least 4.5."""
        label_px, value_px = (round(CHARACTER * len(text)) for text in (self.label, self.value))
        split, rest = label_px + 2 * MARGIN, value_px + 2 * MARGIN
        return SVG.format(
            label=escape(self.label), value=escape(self.value), colour=self.colour, width=split + rest, split=split,
            rest=rest, margin=MARGIN, label_px=label_px, value_x=split + MARGIN, value_px=value_px,
        )  # fmt: skip


def badges(project: Mapping[str, Any]) -> dict[str, Badge]:
    """Return the badges of a project by the names of their files.

    Args:
        project: the table of that name in pyproject.toml.
    """
    return {
        "version": Badge("version", project["version"]),
        "python": Badge("Python", project["requires-python"].removeprefix(">=") + " or newer"),
        "licence": Badge("licence", project["license"]),
        "docs": Badge("docs", "in this repository", DARK_GREEN),
    }


def read_project(path: Path = PROJECT) -> dict[str, Any]:
    """Return the table `project` of a pyproject.toml."""
    table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return table


@click.command("badges")
@docs_option
def main(docs: Path) -> None:
    """Draw the badges of the README from pyproject.toml."""
    for name, badge in badges(read_project()).items():
        write_text_atomically(docs / FOLDER / f"{name}.svg", badge.to_svg())


if __name__ == "__main__":
    run_command(main)
