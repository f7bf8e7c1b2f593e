"""What training under quantization did to the images that choose, and which candidate they chose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def held_out_table(networks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield, per network and mode: loss and right answers of the calibrated start and of what training made of it.

    Args:
        networks: of the document; those without a trained row are left out, and without any nothing is yielded.
    """
    trained = [
        (network, row) for network in networks for row in network["rows"] if row.get("held_out", {}).get("candidates")
    ]
    if not trained:
        return
    yield "## What training did to held-out pictures"
    yield ""
    yield (
        "What training minimizes, in thousandths, and right answers in percent, on training pictures that were held "
        "out, in the integers of the compiled program. A candidate replaces the one before it where the first is less "
        "by two standard errors and no right answer less ([qat.md](qat.md)); where none does, the calibrated start is "
        "written and the last epoch is shown."
    )
    yield ""
    yield "| network | mode | pictures | start | trained | written |"
    yield "|---|---|---|---|---|---|"
    for network, row in trained:
        found = row["held_out"]
        start, *epochs = found["candidates"]
        chosen = next((entry for entry in epochs if entry["name"] == found["chosen"]), None)
        shown = chosen or (epochs[-1] if epochs else None)
        share = row["key"]["trained"]["distillation"]
        yield (
            f"| {network['width']:g}x | {row['name']} | {found['pictures']:,} | {_figures(start, share)} | "
            f"{_figures(shown, share) if shown else 'no epoch fits its integers'} | {found['chosen']} |"
        )
    yield ""


def _figures(candidate: Mapping[str, Any], distillation: float) -> str:
    """Return the loss of training (the share of the divergence from float, the rest with labels) and the top-1."""
    loss = distillation * candidate["divergence"] + (1 - distillation) * candidate["loss"]
    return f"{1000 * loss:.0f}, {100 * candidate['top1']:.2f}"
