"""The boards and machines a reader picks from, each with what its time is known by; the table of all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compile.cycles.boards import BOARDS, Board, board_of
from compile.cycles.widths import Figure, best_of
from compile.cycles.widths import figures as counted_figures
from compile.summary.board_advice import (
    BUDGETS_MS,
    SHOWN,
    SIZE,
    board_figures,
    briefly_known,
    choose,
    own_widths,
    precision_words,
    share_span,
    width_label,
)
from compile.summary.facts import OURS, Pixels, Speed, Summary, by_size
from compile.summary.published import place, published_figures, short_name
from repghost.tables import Cell, Table, make_table

ESTIMATED = "estimated"
ABOUT = (
    "The widest RepGhostNet that stays below a time on one thread, even where its estimate is as wrong as any of that "
    'board was. "Known by" says "measured", or how far estimates were off on networks whose times were published '
    "for that board, or for the one that is named."
)


@dataclass(frozen=True)
class Choice:
    """A board or a machine, and the times of our builds on it.

    Attributes:
        name: for links.
        label: for a reader.
        core: its processor; "" where the label says it.
        size: pixels of the input.
        figures: one thread, from the narrowest width to the widest.
        known: "measured", or how far estimates of it were off.
        board: its row, None for a machine that is none of the table.
    """

    name: str
    label: str
    core: str
    size: Pixels
    figures: tuple[Figure, ...]
    known: str
    board: Board | None = None


def find_choices(summary: Summary) -> list[Choice]:
    """Return the machines that were measured, then the boards that are bought most, as far as times are known.

    Where the summary knows of no board, the published widths are estimated from the counts that come with the package.
    """
    machines: dict[str, list[Speed]] = defaultdict(list)
    for speed in summary.speeds:
        own = (speed.runtime, speed.unit, speed.kind, speed.threads) == (OURS, "ms", "measured", 1)
        if own and (speed.where != "board" or board_of(speed.machine) is None):
            machines[speed.machine].append(speed)
    found = [_machine(label, speeds) for label, speeds in sorted(machines.items())]
    measured = [board.name for board in BOARDS.values() if _is_measured(summary, board)]
    names = dict.fromkeys((*measured, *SHOWN))
    boards = [choice for name in names if (choice := _board(summary, BOARDS[name])).figures]
    if not boards and any(network.model in published_figures() for network in summary.networks):
        boards = board_choices((BOARDS[name], counted_figures(BOARDS[name], SIZE)) for name in SHOWN)
    return [*(choice for choice in found if choice.figures), *boards]


def board_choices(boards: Iterable[tuple[Board, Sequence[Figure]]]) -> list[Choice]:
    """Return the choices of boards whose figures, all of one size, are known."""
    return [
        Choice(board.name, board.label, board.processor, SIZE, tuple(own_widths(figures)),
               briefly_known(board, own_widths(figures)), board)
        for board, figures in boards if own_widths(figures)
    ]  # fmt: skip


def device_table(choices: Sequence[Choice]) -> Table:
    """Return which build to take on each choice for each of three times."""
    heads = ("board", "int8, of float's time", *(f"under {ms:g} ms" for ms in BUDGETS_MS), "known by")
    rows = [
        (
            Cell(f"{choice.label}{_at(choice)}"),
            Cell(share_span(choice.figures) or "-", None, precision_words(choice.figures)),
            *(_chosen(choice.figures, budget) for budget in BUDGETS_MS), Cell(choice.known),
        )
        for choice in choices
    ]  # fmt: skip
    return make_table(heads, rows, "devices", "Which build for which board", ABOUT)


def _at(choice: Choice) -> str:
    return "" if choice.size == SIZE else f" at {choice.size} px"


def _chosen(figures: Sequence[Figure], budget_ms: float) -> Cell:
    found = choose(figures, budget_ms)
    return Cell("-") if found is None else Cell(f"{take(found)}, {found.short} ms", found.ms, str(found))


def take(figure: Figure) -> str:
    """Return a build as people call it, e.g. "1.3x int8"."""
    return f"{width_label(figure.model)} {figure.precision}"


def _is_measured(summary: Summary, board: Board) -> bool:
    return any(it.where == "board" and it.kind == "measured" and board.is_machine(it.machine) for it in summary.speeds)


def _machine(label: str, speeds: Sequence[Speed]) -> Choice:
    sizes = {speed.size: _figures(label, speeds, speed.size) for speed in speeds}
    size = _best(sizes)
    name = "".join(c if c.isalnum() else "-" for c in label.lower())
    return Choice(name, label, "", size, tuple(sizes[size]), "measured")


def _figures(machine: str, speeds: Sequence[Speed], size: Pixels) -> list[Figure]:
    return own_widths(best_of(
        Figure(it.model, it.size, it.precision, it.variant, "measured", it.value, it.low or it.value,
               it.high or it.value)
        for it in speeds if (it.machine, it.size) == (machine, size)
    ))  # fmt: skip


def _board(summary: Summary, board: Board) -> Choice:
    sizes = {size: own_widths(board_figures(summary, board, size)) for size in {it.size for it in summary.speeds}}
    size = _best(sizes) if sizes else SIZE
    figures = sizes.get(size, [])
    return Choice(board.name, board.label, board.processor, size, tuple(figures), briefly_known(board, figures), board)


def _best(sizes: dict[Pixels, list[Figure]]) -> Pixels:
    """Return the size that a choice shows: of most measured figures, then of most, then the published one."""

    def worth(size: Pixels) -> tuple[int, int, bool]:
        figures = sizes[size]
        return sum(it.kind == "measured" for it in figures), len(figures), size == SIZE

    return max(sizes, key=worth)


def board_table(summary: Summary) -> Table:
    """Return the milliseconds of our builds on boards, one thread: measured where one was, else estimated."""
    estimated = [speed for speed in summary.speeds if speed.kind == ESTIMATED and speed.runtime == OURS]
    models = sorted({speed.model for speed in estimated}, key=place)
    rows = []
    for board in (board for board in BOARDS.values() if any(it.machine == board.label for it in estimated)):
        for size in sorted({speed.size for speed in estimated}, key=lambda size: (size != SIZE, by_size(size))):
            figures = board_figures(summary, board, size)
            rows += [_board_row(board, size, precision, figures, models) for precision in _precisions(figures)]
    about = (
        "Milliseconds of one inference on one thread: estimated, or measured where the cell says so (repghost bench "
        '--on BOARD). "Known by" is how far estimates of the board were off on networks whose times were published '
        "(docs/boards-model.md)."
    )
    heads = ("board", "input | px", "precision", *(f"#{short_name(model)} | ms" for model in models), "known by")
    return make_table(heads, rows, "boards", "Every board", about)


def _precisions(figures: Sequence[Figure]) -> list[str]:
    return sorted({it.precision for it in figures}, key=lambda name: (name != "int8", name))


def _board_row(
    board: Board, size: Pixels, precision: str, figures: Sequence[Figure], models: Sequence[str]
) -> tuple[Cell, ...]:
    found = {it.model: it for it in figures if it.precision == precision}
    cells = [_on_board(found.get(model)) for model in models]
    return Cell(board.label), Cell(str(size)), Cell(precision), *cells, Cell(briefly_known(board, list(found.values())))


def _on_board(figure: Figure | None) -> Cell:
    if figure is None:
        return Cell("-")
    return Cell(figure.short + " measured" * (figure.kind == "measured"), figure.ms, str(figure))
