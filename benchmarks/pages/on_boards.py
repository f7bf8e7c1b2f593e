"""docs/boards.md: our builds on boards, measured or estimated, beside what others published for the same boards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.published_on_boards import PUBLISHED, Published
from compile.cycles.boards import BOARDS, digits
from compile.cycles.widths import Figure, figures
from compile.summary.board_advice import SHOWN, SIZE, briefly_known, int8_shares, own_widths, width_label
from compile.summary.choices import board_choices, device_table
from compile.summary.published import published_figures
from compile.summary.submission import Result, Submission
from repghost.tables import folded, make_table, markdown_lines

HEAD = """# Boards

Nobody has published an int8 time of RepGhostNet on a Raspberry Pi, an RK3588, an Orin or a phone. Until somebody sends
one, our times here are **estimates**: modelled cycles over the clock, with the errors that such estimates had on
networks whose times were published ([boards-model.md](boards-model.md)). A count of instructions alone is never turned
into milliseconds. `python -m benchmarks.boards` makes this page from docs/boards/, docs/performance.json and the table
of what others published (benchmarks/published_on_boards.py).
"""
SEND = """## Send yours

```sh
repghost bench --all-widths --on pi@raspberry.local --json board.json # builds the eight widths, measures int8 and fp32
repghost submit board.json                                            # docs/boards/BOARD-DIGEST.json: figures alone
```

Open a pull request with that file. It holds the kind of board, chip and core, the governor, and for each build its
network, times, clock, temperature and, where it was measured there, accuracy. It has no free text: no host name, serial
number, address, user name or path, and a file with a key or a word that is in no table is refused by name. Its schema:
[boards.schema.json](boards.schema.json).
"""
DEVICES = """The widest RepGhostNet that stays below a time, and its own time: one thread, {size} px.
{faster}For another time: `repghost advise --board pi4 --ms 30`.

"Known by" says **measured** where somebody sent a time. Everything else is an estimate: modelled cycles over the clock.
The two percentages are how far such estimates were off on networks whose times were published for that board, or for
the one that is named ([boards-model.md]({docs}boards-model.md)). A width stands here only if it stays below the time
even when its estimate is as far off as that; - means that none does.

Build with `make compile TARGET=arm64`, or `TARGET=armv7` for a 32-bit system. A Jetson's GPU takes another bundle:
`TARGET=jetson` ([jetson.md]({docs}jetson.md))."""
FASTER = "int8 is faster than float on each of them. "
SENT = "## What was measured"
NONE_SENT = "Nothing yet: docs/boards/ is empty, and every time of ours on this page is an estimate."


@dataclass(frozen=True)
class Sent:
    """A submission and the name of its file."""

    name: str
    submission: Submission


def render_on_boards(sent: Sequence[Sent]) -> str:
    """Return the page."""
    parts = [HEAD, render_devices(), "", *_widths(), "", SEND]
    parts += [SENT, "", *(_measured(sent) if sent else [NONE_SENT]), ""]
    parts += ["## Beside what others published", "", *_beside_head()]
    titles = dict.fromkeys(row.board for row in PUBLISHED)
    for title in titles:
        parts += ["", *_board(title, [row for row in PUBLISHED if row.board == title])]
    return "\n".join(parts) + "\n"


def render_devices(docs: str = "") -> str:
    """Return the table of the boards that are bought most, for this page and the README.

    Args:
        docs: the folder of the pages that are linked, as the page itself writes it, e.g. "docs/".
    """
    choices = board_choices((BOARDS[name], figures(BOARDS[name], SIZE)) for name in SHOWN)
    shares = [share for choice in choices for share in int8_shares(choice.figures).values()]
    about = DEVICES.format(docs=docs, size=SIZE, faster=FASTER if max(shares) < 1 else "")
    return "\n".join(markdown_lines(replace(device_table(choices), about=about)))


def _widths() -> list[str]:
    """Return int8 of every width on every board."""
    names = [
        figure.model for figure in own_widths(figures(BOARDS["raspberry-pi-4"], SIZE)) if figure.precision == "int8"
    ]
    rows = []
    for board in BOARDS.values():
        known = {it.model: it for it in figures(board, SIZE) if it.precision == "int8"}
        cells = [_cell(known[name]) if name in known else "-" for name in names]
        rows.append((board.label, *cells, briefly_known(board, list(known.values()))))
    heads = ("board", *(f"#{width_label(name)}" for name in names), "known by")
    about = f"Milliseconds of one inference in int8, one thread, {SIZE} px: **measured** where bold, else estimated."
    return markdown_lines(make_table(heads, rows, "", "Every width in int8", about))


def _cell(figure: Figure) -> str:
    return f"**{figure.short}**" if figure.kind == "measured" else figure.short


def _measured(sent: Sequence[Sent]) -> list[str]:
    heads = ("board", "network", "#px", "target", "precision", "instruction set", "#threads", "#median, ms",
             "#90 %, ms", "#clock after, MHz", "#degrees after", "throttled", "top-1 there", "sent")  # fmt: skip
    rows = [_result(it, result) for it in sent for result in it.submission.results]
    return markdown_lines(make_table(heads, rows))


def _result(sent: Sent, it: Result) -> tuple[str, ...]:
    machine = BOARDS[sent.submission.board].label if sent.submission.board in BOARDS else sent.submission.machine
    evaluated, throttled = it.accuracy, {None: "not said", True: "yes", False: "no"}[it.throttled]
    top1 = "-" if evaluated is None else f"{100 * evaluated.correct / evaluated.pictures:.2f} % of {evaluated.pictures}"
    if evaluated is not None and evaluated.equal is not None:
        top1 += f", {evaluated.equal} to the bit"
    clock, celsius = it.clock_mhz[1], it.celsius[1]
    return (
        machine + (f", cores {it.cores}" if it.cores else ""), it.model, str(it.size), it.target, it.precision,
        it.variant, str(it.threads), f"{it.median_ms:.3f}", f"{it.p90_ms:.3f}", "-" if clock is None else str(clock),
        "-" if celsius is None else f"{celsius:.1f}", throttled, top1, f"{sent.submission.made}, {sent.name}",
    )  # fmt: skip


def _beside_head() -> list[str]:
    return [
        "Published times are their authors', read and not measured by us; where threads or precision are not stated,",
        "the cell is empty. Ours are of int8 and one thread, with the authors' float32 top-1 on ImageNet.",
    ]


def _board(title: str, rows: Sequence[Published]) -> list[str]:
    board = BOARDS.get(title)
    ours = [_ours(it) for it in own_widths(figures(board, SIZE)) if it.precision == "int8"] if board else []
    theirs = [
        (row.network, f"{row.top1:.2f}" if row.top1 else "", row.runtime, row.precision, row.threads, f"{row.ms:g}",
         "published", row.source)
        for row in rows
    ]  # fmt: skip
    rows_by_time: list[tuple[str, ...]] = sorted([*ours, *theirs], key=_by_time)
    heads = ("network", "#top-1, %", "runtime", "precision", "threads", "#ms", "how", "source")
    return folded(board.label if board else title, markdown_lines(make_table(heads, rows_by_time)))


def _ours(it: Figure) -> tuple[str, ...]:
    top1 = published_figures()[it.model].top1
    source = "docs/boards" if it.kind == "measured" else f"{digits(it.low)} to {digits(it.high)} ms, boards-model.md"
    name = f"**RepGhostNet {width_label(it.model)}**"
    return name, f"{top1:.1f}", "ours", it.precision, "1", _cell(it), it.kind, source


def _by_time(row: tuple[str, ...]) -> float:
    return float(row[5].strip("*"))
