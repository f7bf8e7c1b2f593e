"""A network as one page: its blocks from image to scores, with the cost and the int8 error of every layer."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from compile.passes.layers import Layer
from repghost.terminal import escape

# The block of a layer: its path up to the last of the first numbers that follow each other, e.g. blocks.1.0.
BLOCK = re.compile(r"[./]?(?:[^./]*[^./0-9][^./]*[./])*?[0-9]+(?:[./][0-9]+)*(?=[./])")
RESIDUAL = "residual"  # in the arithmetic of a layer that adds an earlier tensor
CAREFUL_SHARE = 0.1  # of the signal: errors from here on are marked
SMALLEST_BAR = 0.4  # percent of the width, so that no cost is invisible

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --soft: #595959; --line: #d4d4d4; --box: #f5f5f3;
  --cost: #005f99; --error: #00704f; --bad: #b34700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #151515; --soft: #a8a8a8; --line: #3a3a3a;
  --box: #1f1f1f; --cost: #6bbcf5; --error: #45cfa2; --bad: #ff9a4d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1rem 3rem; max-width: 64rem; font: 15px/1.4 system-ui, sans-serif;
  color: var(--ink); background: var(--paper); font-variant-numeric: tabular-nums; }
h1 { font-size: 1.3rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
p { margin: .3rem 0; max-width: 46rem; color: var(--soft); overflow-wrap: anywhere; }
.key b { font-weight: 600; color: var(--cost); } .key b + b { color: var(--error); } .key .bad { color: var(--bad); }
.strip { display: flex; height: 3rem; margin: 1rem 0 0; border: 1px solid var(--line); }
.strip i { background: var(--cost); border-right: 1px solid var(--paper); min-width: 1px; }
.strip i.bad { background: var(--bad); }
.flow { margin: .2rem 0; padding-left: 1.6rem; color: var(--soft); font-size: .85rem; }
.block { position: relative; background: var(--box); border: 1px solid var(--line); border-radius: .4rem;
  padding: .4rem .6rem; }
.block.adds::before { content: "+"; position: absolute; left: -.85rem; top: .7rem; bottom: .7rem; width: .85rem;
  border: 2px solid var(--soft); border-right: 0; border-radius: .5rem 0 0 .5rem; display: flex; align-items: flex-end;
  justify-content: center; line-height: 1; padding-bottom: .3rem; color: var(--soft); }
.net { margin: 1rem 0 0 1rem; }
h2 { font-size: .95rem; margin: 0; display: flex; gap: .3rem 1rem; flex-wrap: wrap; }
h2 span { font-weight: 400; color: var(--soft); }
.row { display: grid; grid-template-columns: minmax(9rem, 15rem) minmax(6rem, 10rem) 1fr 1fr; gap: 0 .8rem;
  align-items: center; font-size: .85rem; padding: .1rem 0; }
.row .name { overflow-wrap: anywhere; } .row .what { color: var(--soft); }
.row.float .what { color: var(--bad); }
.bar { display: grid; grid-template-columns: 1fr 6.2rem; align-items: center; gap: .4rem; text-align: right; }
.bar i { height: .7rem; background: var(--cost); border-radius: 0 .15rem .15rem 0; }
.bar + .bar i { background: var(--error); } .bar.bad i { background: var(--bad) !important; }
.bar.bad b { font-weight: 600; color: var(--bad); } .bar b { font-weight: 400; }
.why { grid-column: 1 / -1; color: var(--bad); }
@media (max-width: 40rem) {
  .row { grid-template-columns: 1fr 1fr; padding: .3rem 0; border-top: 1px solid var(--line); }
  .row .what { text-align: right; } .bar { grid-template-columns: 1fr 5.4rem; } .net { margin-left: .9rem; } }
"""


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
    return "\n".join([
        "<!doctype html>", "<html lang=en>", "<meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>{_safe(page.title)}</title>", f"<style>{STYLE}</style>", *body, "</div>", "</html>", "",
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
