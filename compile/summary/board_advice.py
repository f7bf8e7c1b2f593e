"""Which width and precision to take on a board, and how it is known."""

from __future__ import annotations

from collections.abc import Sequence

from compile.cycles.boards import BOARDS, Board, read_fits
from compile.cycles.widths import Figure, best_of
from compile.summary.facts import OURS, Pixels, Summary
from compile.summary.published import published_figures
from repghost.network.spec import WIDTHS

INT8, FLOATS = "int8", ("fp32", "fp16")
BUDGETS_MS = (10.0, 30.0, 100.0)
# The boards of the table: of those in BOARDS the ones that are bought most.
SIZE = 224  # pixels of the table
SHOWN = ("raspberry-pi-zero-2", "raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5", "jetson-orin-nano", "rk3588-big",
         "rk3566", "imx8m", "dimensity-9300", "phone-a78", "phone-a76", "phone-a73", "phone-a55")  # fmt: skip
GPU = "its GPU takes another bundle: repghost compile --target jetson (TensorRT, docs/jetson.md)"
NOTES = {"jetson-orin-nano": GPU}  # what is to be known of a board besides its figures


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


def share_span(figures: Sequence[Figure]) -> str:
    """Return the least and the most that int8 takes of float's time, e.g. "0.52 to 0.60"; "" where one is unknown."""
    found = list(dict.fromkeys(f"{share:.2f}" for share in sorted(int8_shares(figures).values())))
    return " to ".join(dict.fromkeys((found[0], found[-1]))) if found else ""


def precision_words(figures: Sequence[Figure]) -> str:
    """Return which precision is faster, and by how much; "" where only one is known."""
    shares, span = list(int8_shares(figures).values()), share_span(figures)
    if not shares:
        return ""
    if max(shares) < 1:
        return f"int8 ({span} of float's time)"
    return f"{'float' if min(shares) >= 1 else 'by width'} (int8 takes {span} of float's time)"


def how_known(board: Board, figures: Sequence[Figure]) -> str:
    """Return whether a board ran it, and how far estimates of the board were off."""
    if figures and all(it.kind == "measured" for it in figures):
        return "measured"
    like = f" by the fit of {BOARDS[board.like].label}" if board.like else ""
    there = " there" if board.like else ""
    return f"{_partly(figures)}estimated{like}, {errors(board)} off on published networks{there}"


def briefly_known(board: Board, figures: Sequence[Figure]) -> str:
    """Return the same for a cell, below a paragraph that says what the percentages are."""
    if figures and all(it.kind == "measured" for it in figures):
        return "measured"
    return f"{_partly(figures)}{errors(board)}{f', as {BOARDS[board.like].label}' if board.like else ''}"


def errors(board: Board) -> str:
    """Return how far estimates of a board were off on published networks, e.g. "-21 % to +37 %"."""
    fit = read_fits()[board.name]
    return f"{100 * fit.lowest:+.0f} % to {100 * fit.highest:+.0f} %"


def _partly(figures: Sequence[Figure]) -> str:
    return "partly measured, else " if any(it.kind == "measured" for it in figures) else ""


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
