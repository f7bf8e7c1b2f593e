"""What a notebook shows: escaped text, tables and images, without style of their own."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence

from PIL import Image

from repghost.terminal import escape


def text(value: object) -> str:
    """Return a text as HTML."""
    return html.escape(escape(value))


def page(title: str, *parts: str) -> str:
    """Return a title above parts that are HTML already; its lines stay lines."""
    lines = "<br>".join(text(line) for line in title.split("\n"))
    return f"<div><p>{lines}</p>{''.join(parts)}</div>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of texts; columns whose head begins with "#" are numbers."""
    numeric = [head.startswith("#") for head in heads]
    first = "".join(f"<th>{text(head.removeprefix('#'))}</th>" for head in heads)
    lines = "".join(
        "<tr>" + "".join(_cell(cell, right) for cell, right in zip(row, numeric, strict=True)) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{first}</tr></thead><tbody>{lines}</tbody></table>"


def picture(image: Image.Image, caption: str) -> str:
    """Return an image with a caption."""
    content = io.BytesIO()
    image.save(content, "PNG")
    data = base64.b64encode(content.getvalue()).decode("ascii")
    shown = f'<img src="data:image/png;base64,{data}" alt="{text(caption)}">'
    return f'<figure style="display:inline-block">{shown}<figcaption>{text(caption)}</figcaption></figure>'


def _cell(cell: str, right: bool) -> str:
    return f'<td style="text-align:right">{text(cell)}</td>' if right else f"<td>{text(cell)}</td>"
