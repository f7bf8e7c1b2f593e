"""Which build for which board: `repghost.advise`, from what boards measured, or from estimates with their errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from compile.cycles.boards import digits, find_board, significant
from compile.cycles.widths import figures, sizes
from compile.summary.board_advice import NOTES, choose, how_known, own_widths, precision_words, width_label
from compile.summary.published import published_figures
from compile.targets.table import COUNTED
from repghost.errors import UsageError, command, unknown_value
from repghost.tables import make_table, text_lines
from repghost.terminal import Shown

SIZE = 224  # pixels, of the published figures


@dataclass(frozen=True, eq=False, repr=False)
class BoardAdvice(Shown):
    """What to build for a board.

    Attributes:
        values: JSON values: the board, its core, its instruction set, how the figures are known, each build with its
            milliseconds, and the one to take for a budget.
        text: the same for a reader.
    """

    values: Mapping[str, Any]
    text: str

    @property
    def width(self) -> float | None:
        """The width to take for the budget; None where none was given, or no width stays below it."""
        taken = self.values["take"]
        return None if taken is None else float(taken["width"])

    @property
    def precision(self) -> str | None:
        """The precision to take for the budget."""
        taken = self.values["take"]
        return None if taken is None else str(taken["precision"])

    def __repr__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dict(self.values)


def advise(board: str, *, ms: float | None = None, size: int = SIZE) -> BoardAdvice:
    """Return which width and precision to take on a board, for one thread.

    Figures are measured where somebody sent a measurement (`repghost.submit`), else estimated by the cycle model of
    docs/boards-model.md, with the range of its largest errors; a width is taken whose high end is below the budget.

    Args:
        board: its name or short name, e.g. "raspberry-pi-4" or "pi4".
        ms: milliseconds for one image; None: no choice, all figures.
        size: pixels of the input.

    Raises:
        UsageError: for a board or a size of which nothing is known, or no positive time.
    """
    found = find_board(board)
    if ms is not None and not ms > 0:
        raise UsageError(f"a budget is milliseconds above 0, e.g. 30, not {ms!r}.")
    if size not in sizes():
        raise unknown_value("size with known figures", size, sizes())
    rows = own_widths(figures(found, size))
    taken = None if ms is None else choose(rows, ms)
    quickest = min(rows, key=lambda it: it.ms)
    builds = [{"width": _width(it.model), **asdict(it)} for it in rows]
    values = {
        "board": found.name,
        "label": found.label,
        "core": found.processor,
        "instruction_set": quickest.variant,
        "target": COUNTED.name,
        "size": size,
        "threads": 1,
        "known_by": how_known(found, rows),
        "budget_ms": ms,
        "take": None if taken is None else {"width": _width(taken.model), **asdict(taken)},
        "precision": precision_words(rows),
        "builds": builds,
        "note": NOTES.get(found.name, ""),
    }
    return BoardAdvice(values, "\n".join(_lines(values)))


def _width(model: str) -> float:
    return float(width_label(model).removesuffix("x"))


def _lines(values: Mapping[str, Any]) -> list[str]:
    """Return the advice for a terminal: the answer first."""
    head = f"{values['label']}: {values['core']}, {values['instruction_set']}, {values['size']} px, one thread"
    known = "measured" if values["known_by"] == "measured" else f"{values['known_by']} (docs/boards-model.md)"
    taken, budget = values["take"], values["budget_ms"]
    lines = [head]
    if taken is not None:
        lines.append(
            f"under {budget:g} ms take {taken['width']:g}x {taken['precision']}: {_ms(taken)}, published top-1 "
            f"{published_figures()[taken['model']].top1:.1f} %"
        )
        wanted = {"target": values["target"], "width": f"{taken['width']:g}", "size": values["size"]}
        lines.append(f"  {command('compile', **wanted, weights='FILE', data='DIR')}")
    elif budget is not None:
        lines.append(f"no width surely stays under {budget:g} ms; take a smaller input, or another board")
    lines += [f"precision: {values['precision']}"] if values["precision"] else []
    lines += [f"known by: {known}", *([values["note"]] if values["note"] else []), ""]
    rows = [(f"{it['width']:g}x", it["precision"], it["variant"], _ms(it)) for it in values["builds"]]
    return [*lines, *text_lines(make_table(("width", "precision", "instruction set", "#time"), rows))]


def _ms(build: Mapping[str, Any]) -> str:
    if build["kind"] == "measured":
        return f"{significant(build['ms'], 3)} ms, measured"
    return f"{digits(build['ms'])} ms ({digits(build['low'])} to {digits(build['high'])}), estimated"
