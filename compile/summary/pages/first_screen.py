"""The first screen of the page: a board is picked, and the page says which build to take, and why.

Every answer is in the page; its script shows one and hides the others. Without a script the answer for one board is
there, and the table of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from compile.cycles.boards import BOARDS, digits
from compile.cycles.widths import Figure
from compile.summary.board_advice import NOTES, SIZE, choose, errors, share_span, width_label
from compile.summary.choices import Choice, find_choices, take
from compile.summary.facts import Summary
from compile.summary.published import published_figures
from repghost.network.spec import WIDTHS

LIMITS_MS = (1, 3, 10, 30, 100)
FIRST_BOARD, FIRST_MS = "raspberry-pi-4", 30
NONE = "No time of a RepGhostNet is known here: measure one with repghost bench BUNDLE, or on a board with --on BOARD."


def first_screen(summary: Summary) -> list[str]:
    """Return the lines of the first screen."""
    choices = find_choices(summary)
    if not choices:
        return [f"<p>{escape(NONE)}</p>"]
    names = [choice.name for choice in choices]
    first = FIRST_BOARD if FIRST_BOARD in names else names[0]
    return [
        '<form id="pick" hidden>',
        "<label>Board", '<select id="board">', *_options(summary, choices, first), "</select></label>",
        '<label>Time for one picture <select id="limit">',
        *(f'<option value="{ms}"{" selected" * (ms == FIRST_MS)}>under {ms} ms</option>' for ms in LIMITS_MS),
        "</select></label>", "</form>",
        '<div aria-live="polite">',
        *(line for choice in choices for line in _choice(choice, hidden=choice.name != first)), "</div>",
    ]  # fmt: skip


def _options(summary: Summary, choices: Sequence[Choice], first: str) -> list[str]:
    lines = []
    label = {it.name: it.label + ", made this page" * _made_page(summary, it) for it in choices}
    for title, measured in (("Measured", True), ("Estimated", False)):
        members = [choice for choice in choices if (choice.known == "measured") is measured]
        options = [
            f'<option value="{it.name}"{" selected" * (it.name == first)}>{escape(label[it.name])}</option>'
            for it in members
        ]
        lines += [f'<optgroup label="{title}">', *options, "</optgroup>"] if members else []
    return lines


def _made_page(summary: Summary, choice: Choice) -> bool:
    """Return whether a choice is the machine that made the summary."""
    return choice.board is None and summary.machine.startswith(choice.label.replace(" (", ", ").removesuffix(")") + ",")


def _choice(choice: Choice, hidden: bool) -> list[str]:
    where = f"{escape(choice.label)}, {choice.size} px, one thread"
    lines = [f'<section class="choice" id="on-{choice.name}"{" hidden" * hidden}>', f'<p class="where">{where}</p>']
    for ms in LIMITS_MS:
        found = choose(choice.figures, ms)
        lines.append(
            f'<div class="answer" data-ms="{ms}"{" hidden" * (ms != FIRST_MS)}>{_answer(choice, found, ms)}</div>'
        )
    lines += [*_bars(choice), f'<p class="about">{escape(_known(choice))}</p>', "</section>"]
    return lines


def _answer(choice: Choice, found: Figure | None, ms: int) -> str:
    if found is None:
        least = min(choice.figures, key=lambda it: it.high)
        return (
            f"<p class=take>Nothing stays below {ms} ms</p><p>The fastest, {take(least)}, takes {_time(least)}. Take a "
            "smaller picture, or a faster board.</p>"
        )
    slower = next((it for it in choice.figures if it.precision == found.precision and it.high > ms), None)
    built = "" if len({it.model for it in choice.figures}) == len(WIDTHS) else " that was built"
    why = f"The widest{built} that stays below {ms} ms" if slower else f"Even the widest{built} stays below {ms} ms"
    span = share_span(choice.figures)
    says = f"; int8 takes {span} of float's time" if span and found.precision == "int8" else ""
    next_ = f"; {width_label(slower.model)} takes {_time(slower)}" if slower else ""
    return f"<p class=take>Take {take(found)}</p><p>{why}: {_time(found)}{next_}{says}.</p>"


def _time(figure: Figure) -> str:
    span = f" (up to {digits(figure.high)})" if figure.kind == "estimated" else ""
    return f"{figure.short} ms{span}"


def _bars(choice: Choice) -> list[str]:
    """Return the chart: a bar for each width in the precision that is faster there, with the range of its time."""
    best: dict[str, Figure] = {}
    for figure in choice.figures:  # of each width the fastest comes first
        best.setdefault(figure.model, figure)
    longest = max(figure.high for figure in best.values())
    taken = {ms: found.model for ms in LIMITS_MS if (found := choose(choice.figures, ms))}
    rows = []
    for figure in best.values():
        start, middle, end = (f"{100 * value / longest:.1f}%" for value in (figure.low, figure.ms, figure.high))
        fits = next((ms for ms in LIMITS_MS if figure.high <= ms), 0)
        top1 = published_figures()[figure.model].top1
        of = " ".join(str(ms) for ms, model in taken.items() if model == figure.model)
        state = "fits" * (0 < fits <= FIRST_MS) + " take-it" * (taken.get(FIRST_MS) == figure.model)
        rows.append(
            f'<tr data-fits="{fits}" data-take="{of}" class="{state}"><th scope="row">{take(figure)}</th>'
            f'<td class="bar"><i style="width:{middle}"></i><b style="left:{start};right:calc(100% - {end})"></b></td>'
            f"<td>{figure.short} ms</td><td>{top1:.1f} %</td></tr>"
        )
    return [
        '<table class="bars"><thead><tr><th>width</th><th></th><th>time</th><th>top-1</th></tr></thead><tbody>',
        *rows, "</tbody></table>",
    ]  # fmt: skip


def _known(choice: Choice) -> str:
    """Return what of the chart was measured, and what is modelled."""
    if choice.known == "measured" or choice.board is None:
        times = "Times were measured there: the bar is the median, the line reaches to the 90th percentile."
    else:
        of = f"the {BOARDS[choice.board.like].label}" if choice.board.like else "this board"
        some = "Times that nobody measured" if choice.known.startswith("partly") else "Times"
        times = (
            f"{some} are modelled, no board ran them: estimates were {errors(choice.board)} off on networks whose "
            f"times were published for {of}, and the line spans that."
        )
    note = NOTES.get(choice.board.name, "") if choice.board else ""
    accuracy = "Top-1 is the authors', float32 on ImageNet at 224 px; what int8 changes was measured, below."
    small = "" if choice.size == SIZE else f" It is no accuracy at {choice.size} px."
    return f"{times} {accuracy}{small}" + (f" {note[0].upper()}{note[1:]}." if note else "")
