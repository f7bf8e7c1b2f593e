"""docs/training-bars.md, made from docs/training-bars.json alone."""

from __future__ import annotations

from typing import Any

from benchmarks.shared.goals import DEMO, TRAINING
from repghost.goals import evaluate
from repghost.tables import make_table, markdown_lines


def render_training(found: dict[str, Any]) -> str:
    """Return docs/training-bars.md.

    Args:
        found: the JSON, as `benchmarks.training.measure` makes it.
    """
    epoch, step, memory, demo = found["epoch"], found["step"], found["peak_bytes"], found.get("demo")
    fed = found["loader"]["pictures_per_second"] / epoch["ours_pictures_per_second"]
    grown = memory[-1] / memory[1]
    shown = {
        "epoch": f"{epoch['ratio']:.3f}",
        "evaluated": f"{epoch['ratio_with_judging']:.3f}",
        "step": f"{step['ratio']:.3f} ({step['low']:.3f} to {step['high']:.3f})",
        "loader": f"{fed:.2f}",
        "memory": f"{grown:.3f}",
    }
    photographs = found.get("photographs")
    if photographs is not None:
        low, high = photographs["low"], photographs["high"]
        shown["photographs"] = f"{photographs['ratio']:.3f} ({low:.3f} to {high:.3f})"
    document = {**found, "derived": {"loader": fed, "memory": grown}}
    rows = []
    for name, text in shown.items():
        goal, met = TRAINING[name], evaluate(TRAINING[name], document).reached
        rows.append((goal.what, text, f"{goal.limit} {'at least' if goal.at_least else 'at most'}", _word(met)))
    if demo is not None:
        top1 = f"{demo['again']['test']['top1']:.2%} / {demo['carried']['test']['top1']:.2%}"
        what = f"`{demo['again']['command']}`: test top-1 / the carried network's"
        apart = evaluate(DEMO, {"apart": abs(demo["points"])})
        rows.append((what, top1, f"{DEMO.limit} points apart at most", _word(apart.reached)))
    lines = ["# Training bars", "", *markdown_lines(make_table(("bar", "measured", "limit", ""), rows))]
    images, machine, seconds = found["pictures"], found["machine"], epoch["seconds"]
    lines += [
        "",
        f"0.5x, {images['size']} px, batch {images['batch']}, {images['set']}, {machine['threads']} thread(s), "
        f"PyTorch {machine['torch']}, timm {step['timm']}; seconds are the processor's.",
        "",
        f"- Epoch: {epoch['pictures']} pictures, {seconds['ours']:.1f} s of ours and {seconds['bare']:.1f} s of the "
        f"bare loop, in turns batch by batch; evaluation {seconds['judging']:.1f} s more. "
        f"{epoch['ours_pictures_per_second']:.0f} pictures/s.",
        f"- Step: {step['pairs']} pairs in turns on one batch, the median of their ratios and its 95 % interval. Ours "
        "is the network, loss, backward pass, SGD in one kernel and average; timm's is its own network, optimizer and "
        "average, with the same layout.",
        *([] if photographs is None else [_photographs_line(photographs)]),
        _demo_line(demo),
        "",
        "Made by `make train-bars TRAIN_DATA=...` from training-bars.json.",
    ]
    return "\n".join(lines) + "\n"


def _photographs_line(found: dict[str, Any]) -> str:
    """Say what the two loaders did."""
    ours, theirs, (width, height) = found["ms"]["ours"], found["ms"]["timm"], found["size"]
    return (
        f"- Photographs: {found['photographs']} JPEG of {width} x {height} to 224 px by the recipe imagenet, the same "
        f"random numbers for both, in a worker, in turns; the median of {found['rounds']} rounds and its 95 % "
        f"interval. {ours:.2f} ms of ours and {theirs:.2f} ms of timm's each, which neither looks at sizes before it "
        "decodes nor turns pictures upright."
    )


def _word(reached: bool) -> str:
    return "met" if reached else "missed"


def _demo_line(demo: dict[str, Any] | None) -> str:
    """Say what was run for the comparison with the carried network."""
    if demo is None:
        return (
            "- The recipe demo was not run again: `repghost train --recipe demo`, then this program with `--demo RUN`."
        )
    again, test = demo["again"], demo["again"]["test"]
    return (
        f"- Demo: all of `{again['command']}` on Fashion-MNIST (DIR), in {demo['seconds'] / 60:.0f} minutes on a "
        f"machine in use; {test['correct']} of {test['pictures']} test pictures right (95 %: {test['low']:.2%} to "
        f"{test['high']:.2%}), the carried network {demo['carried']['test']['correct']}. PyTorch "
        f"{again['versions']['torch']}, checkpoint {again['sha256'][:12]}."
    )
