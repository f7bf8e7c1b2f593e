"""A network as one page: its blocks from image to scores, with the cost and the int8 error of every layer."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby

from compile.passes.layers import Layer
from repghost.terminal import escape

# The block of a layer: its path up to the last of the first numbers that follow each other, e.g. blocks.1.0.
BLOCK = re.compile(r"[./]?(?:[^./]*[^./0-9][^./]*[./])*?[0-9]+(?:[./][0-9]+)*(?=[./])")
RESIDUAL = "residual"  # in the arithmetic of a layer that adds an earlier tensor
CAREFUL_SHARE = 0.1  # of the signal: errors from here on are marked
SMALLEST_BAR = 0.4  # percent of the width, so that no cost is invisible


@dataclass(frozen=True)
class LayersPage:
    """What the page shows.

    Attributes:
        title: of the page.
        lines: sentences below it: what the network is, and what was measured on what.
        layers: in execution order.
        costs: of each layer, in `unit`.
        unit: e.g. "multiply-adds".
        errors: the error of int8 as a share of the signal, by the name of the layer; {} where it was not measured.
    """

    title: str
    lines: Sequence[str]
    layers: Sequence[Layer]
    costs: Sequence[float]
    unit: str
    errors: Mapping[str, float]


def render_layers_page(page: LayersPage) -> str:
    """Return the page as HTML that refers to nothing outside."""
    total, most = sum(page.costs) or 1.0, max(page.costs, default=0.0) or 1.0
    rows = list(zip(page.layers, page.costs, strict=True))
    body = [
        f"<h1>{_safe(page.title)}</h1>",
        *[f"<p>{_safe(line)}</p>" for line in page.lines],
        f"<p class=key><b>Blue bars</b>: {_safe(page.unit)}, {total:,.0f} in all. {_key(page.errors)}</p>",
        f'<div class=strip role=img aria-label="Cost of each layer, from image to scores">{_strip(page, rows)}</div>',
        "<div class=net>",
    ]
    for index, (block, members) in enumerate(groupby(rows, key=lambda row: block_of(row[0].name))):
        layers = list(members)
        if index == 0:
            body.append(f"<p class=flow>{_shape(layers[0][0].input)} image</p>")
        body += _block(block, layers, total, most, page.errors)
    style = (files("compile.report") / "layers_page.css").read_text("utf-8")
    return "\n".join([
        "<!doctype html>", "<html lang=en>", "<meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">', '<link rel=icon href="data:,">',
        f"<title>{_safe(page.title)}</title>", f"<style>{style}</style>", *body, "</div>", "</html>", "",
    ])  # fmt: skip


def block_of(name: str) -> str:
    """Return the block that a layer belongs to, by its name: blocks.1.0 of blocks.1.0.ghost1.primary."""
    found = BLOCK.match(name)
    return found[0] if found else re.split(r"[./]", name.lstrip("./"))[0] or name


def _block(
    block: str, rows: Sequence[tuple[Layer, float]], total: float, most: float, errors: Mapping[str, float]
) -> Iterator[str]:
    cost, last = sum(cost for _, cost in rows), rows[-1][0]
    adds = " adds" if any(RESIDUAL in layer.arithmetic for layer, _ in rows) else ""
    worst = max((errors[layer.name] for layer, _ in rows if layer.name in errors), default=None)
    error = "" if worst is None else f"<span>largest error {worst:.1%}</span>"
    yield f"<section class='block{adds}'>"
    yield f"<h2>{_safe(block)} <span>{cost / total:.1%} of the cost</span>{error}</h2>"
    for layer, own in rows:
        yield _row(layer, block, own, own / total, own / most, errors)
    yield "</section>"
    yield f"<p class=flow>&darr; {_shape(last.output)}</p>"


def _row(layer: Layer, block: str, cost: float, share: float, of_most: float, errors: Mapping[str, float]) -> str:
    short = layer.name.removeprefix(block).lstrip("./") or layer.name
    kind = "row float" if layer.is_float else "row"
    title = f"{layer.name}: {_shape(layer.input)} to {_shape(layer.output)}, {layer.arithmetic}, {layer.kernel}"
    cells = [
        f'<span class=name title="{_safe(title)}">{_safe(short)}</span>',
        f"<span class=what>{_safe(layer.operator)}</span>",
        _bar(of_most, f"{cost:,.0f}", f"{share:.1%} of the cost", False),
        _error_bar(errors.get(layer.name)) if errors else "<span></span>",
    ]
    reason = f"<span class=why>{_safe(layer.reason or layer.note)}</span>" if layer.reason or layer.note else ""
    return f'<div class="{kind}">{"".join(cells)}{reason}</div>'


def _error_bar(error: float | None) -> str:
    if error is None:
        return "<span></span>"
    return _bar(min(error / (3 * CAREFUL_SHARE), 1.0), f"{error:.1%}", "of the signal", error >= CAREFUL_SHARE)


def _bar(share: float, text: str, title: str, bad: bool) -> str:
    width = max(SMALLEST_BAR, 100 * share) if share else 0.0
    return (
        f'<span class="bar{" bad" if bad else ""}" title="{text} {title}"><i style="width:{width:.1f}%"></i>'
        f"<b>{text}</b></span>"
    )


def _strip(page: LayersPage, rows: Sequence[tuple[Layer, float]]) -> str:
    marks = (
        (" class=bad" if page.errors.get(layer.name, 0.0) >= CAREFUL_SHARE else "", layer.name, cost)
        for layer, cost in rows
        if cost
    )
    return "".join(f'<i{kind} style="flex:{cost:.0f}" title="{_safe(name)}"></i>' for kind, name, cost in marks)


def _key(errors: Mapping[str, float]) -> str:
    if not errors:
        return ""
    return (
        "<b>Green bars</b>: how far int8 is from float32 there, as a share of the signal (root mean square, with the "
        f"errors of the layers before); <b class=bad>orange</b> from {CAREFUL_SHARE:.0%} on."
    )


def _shape(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))


def _safe(text: str) -> str:
    return html.escape(escape(text, 300))
