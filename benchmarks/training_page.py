"""The page of the training bars, made from their measurements alone."""

from __future__ import annotations

from typing import Any


def page(found: dict[str, Any]) -> str:
    """Return the measurements as Markdown."""
    epoch, step, memory = found["epoch"], found["step"], found["peak_bytes"]
    fed = found["loader"]["pictures_per_second"] / epoch["ours_pictures_per_second"]
    rows = [
        ("an epoch of our loop / of a bare loop over preloaded tensors", f"{epoch['ratio']:.3f}",
         f"{epoch['limit']} at most", epoch["ratio"] <= epoch["limit"]),
        ("the same, with our judgement of the held-out pictures", f"{epoch['ratio_with_judging']:.3f}",
         f"{epoch['limit']} at most", epoch["ratio_with_judging"] <= epoch["limit"]),
        ("our step / timm's network and step", f"{step['ratio']:.3f} ({step['low']:.3f} to {step['high']:.3f})",
         f"{step['limit']} at most", step["ratio"] <= step["limit"]),
        ("pictures that one core decodes / that one core trains on", f"{fed:.2f}", "1.0 at least", fed >= 1),
        ("peak memory after the last of six epochs / after the second", f"{memory[-1] / memory[1]:.3f}",
         "1.01 at most", memory[-1] <= 1.01 * memory[1]),
    ]  # fmt: skip
    demo = found.get("demo")
    if demo is not None:
        rows.append((
            f"`{demo['again']['command']}`: test top-1 / the carried network's",
            f"{demo['again']['test']['top1']:.2%} / {demo['carried']['test']['top1']:.2%}",
            f"{demo['limit_points']} points apart at most", abs(demo["points"]) <= demo["limit_points"],
        ))  # fmt: skip
    lines = ["# Training bars", "", "| bar | measured | limit | |", "|---|---|---|---|"]
    lines += [f"| {name} | {value} | {limit} | {'met' if met else 'missed'} |" for name, value, limit, met in rows]
    images, machine, seconds = found["pictures"], found["machine"], epoch["seconds"]
    lines += [
        "",
        f"0.5x, {images['size']} px, batch {images['batch']}, {images['set']}, {machine['threads']} thread(s), "
        f"PyTorch {machine['torch']}, timm {step['timm']}; seconds are the processor's.",
        "",
        f"- Epoch: {epoch['pictures']} pictures, {seconds['ours']:.1f} s of ours and {seconds['bare']:.1f} s of the "
        f"bare loop, in turns batch by batch; judging {seconds['judging']:.1f} s more. "
        f"{epoch['ours_pictures_per_second']:.0f} pictures/s.",
        f"- Step: {step['pairs']} pairs in turns on one batch, the median of their ratios and its 95 % interval. Ours "
        "is the network, loss, backward pass, SGD in one kernel and average; timm's is its own network, optimizer and "
        "average, with the same layout.",
        _demo_line(demo),
        "",
        "Made by `make train-bars TRAIN_DATA=...` from training-bars.json.",
    ]
    return "\n".join(lines) + "\n"


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
