"""Which width and precision to take on a board: a table of many boards, and the choice for one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compile.cycles.boards import BOARDS, Board, read_fits
from compile.cycles.widths import Figure, best_of
from compile.summary.facts import OURS, Pixels, Summary
from compile.summary.published import published_figures
from repghost.network.spec import WIDTHS
from repghost.tables import Cell, Table, make_table

INT8, FLOATS = "int8", ("fp32", "fp16")
BUDGETS_MS = (10.0, 30.0, 100.0)
# The boards of the table: of those in BOARDS the ones that are bought most.
SIZE = 224  # pixels of the table
SHOWN = ("raspberry-pi-zero-2", "raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5", "jetson-orin-nano", "rk3588-big",
         "rk3566", "imx8m", "dimensity-9300", "phone-a78", "phone-a76", "phone-a73", "phone-a55")  # fmt: skip
GPU = "its GPU takes another bundle: make compile TARGET=jetson (TensorRT, docs/jetson.md)"
NOTES = {"jetson-orin-nano": GPU}  # what is to be known of a board besides its figures
ABOUT = (
    "One thread, {size} px. The width is the widest that stays below a time even where its estimate is as wrong as any "
    "of the board's was on published networks (docs/boards-model.md). What somebody measured takes the place of an "
    "estimate; nothing follows from counted instructions alone. repghost advise --board {short} --ms 30 answers for "
    "other times. The builds are TARGET=arm64, for 64-bit systems; a 32-bit one takes TARGET=armv7. The GPU of a "
    "Jetson takes another bundle: make compile TARGET=jetson (TensorRT, docs/jetson.md)."
)


def own_widths(figures: Sequence[Figure]) -> list[Figure]:
    """Return the figures of RepGhostNets, from the narrowest to the widest, the fastest precision first."""
    places = {row.name: place for place, row in enumerate(WIDTHS)}
    return sorted((it for it in figures if it.model in places), key=lambda it: (places[it.model], it.ms))


def choose(figures: Sequence[Figure], budget_ms: float) -> Figure | None:
    """Return the build of the best published accuracy whose time surely stays below a budget; None where none does."""
    within = [it for it in own_widths(figures) if it.high <= budget_ms]
    return max(within, key=lambda it: (published_figures()[it.model].top1, -it.ms), default=None)


def int8_shares(figures: Sequence[Figure]) -> dict[str, float]:
    """Return what share of the faster float build's time int8 takes, by network."""
    times = {(it.model, it.precision): it.ms for it in figures}
    shares = {}
    for it in own_widths(figures):
        floats = [times[it.model, name] for name in FLOATS if (it.model, name) in times]
        if it.precision == INT8 and floats:
            shares[it.model] = it.ms / min(floats)
    return shares


def precision_words(figures: Sequence[Figure]) -> str:
    """Return which precision is faster, and by how much; "" where only one is known."""
    shares = list(int8_shares(figures).values())
    if not shares:
        return ""
    span = f"{min(shares):.2f} to {max(shares):.2f} of float's time"
    if max(shares) < 1:
        return f"int8 ({span})"
    return f"float (int8 takes {span})" if min(shares) >= 1 else f"by width (int8 takes {span})"


def how_known(board: Board, figures: Sequence[Figure]) -> str:
    """Return whether a board ran it, and how far estimates of the board were off."""
    if figures and all(it.kind == "measured" for it in figures):
        return "measured"
    fit = read_fits()[board.name]
    errors = f"{100 * fit.lowest:+.0f} % to {100 * fit.highest:+.0f} % off on published networks"
    like = f" by the fit of {BOARDS[board.like].label}" if board.like else ""
    partly = "partly measured, else " if any(it.kind == "measured" for it in figures) else ""
    return f"{partly}estimated{like}, {errors}{' there' if like else ''}"


def width_label(model: str) -> str:
    """Return a width as people write it, e.g. "0.5x"."""
    return published_figures()[model].label


def board_figures(summary: Summary, board: Board, size: Pixels) -> list[Figure]:
    """Return what a summary knows of our builds on a board, one thread: measured where one was, else estimated."""
    return best_of(
        Figure(it.model, it.size, it.precision, it.variant, it.kind, it.value, it.low or 0.0, it.high or it.value)
        for it in summary.speeds
        if (it.runtime, it.size, it.unit, it.where, it.threads) == (OURS, size, "ms", "board", 1)
        and ((it.kind == "measured" and board.is_machine(it.machine))
             or (it.kind == "estimated" and it.machine == board.label))
    )  # fmt: skip


def device_table(figures_of: Callable[[Board], Sequence[Figure]], size: Pixels) -> Table:
    """Return the boards that are bought most, each with what to build for it.

    Args:
        figures_of: the figures of a board at that size; a board without any is left out.
        size: pixels of the input.
    """
    heads = ("board", "core", "instruction set", "precision", *(f"under {ms:g} ms" for ms in BUDGETS_MS), "known by")
    rows = []
    for board in (BOARDS[name] for name in SHOWN):
        figures = own_widths(figures_of(board))
        if figures:
            quickest = min(figures, key=lambda it: it.ms)
            cells = [_chosen(figures, budget) for budget in BUDGETS_MS]
            rows.append((
                Cell(board.label, None, NOTES.get(board.name, "")), Cell(board.processor), Cell(quickest.variant),
                Cell(precision_words(figures) or quickest.precision), *cells, Cell(how_known(board, figures)),
            ))  # fmt: skip
    about = ABOUT.format(size=size, short="pi4")
    return make_table(heads, rows, "devices", "Which build for which board", about)


def _chosen(figures: Sequence[Figure], budget_ms: float) -> Cell:
    found = choose(figures, budget_ms)
    if found is None:
        return Cell("-")
    return Cell(f"{width_label(found.model)} {found.precision} ({found.short} ms)", found.ms, str(found))
