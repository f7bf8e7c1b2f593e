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
    lines = ["# Training bars", "", "| bar | measured | limit | |", "|---|---|---|---|"]
    lines += [f"| {name} | {value} | {limit} | {'met' if met else 'missed'} |" for name, value, limit, met in rows]
    pictures, machine, seconds = found["pictures"], found["machine"], epoch["seconds"]
    lines += [
        "",
        f"0.5x, {pictures['size']} px, batch {pictures['batch']}, {pictures['set']}, {machine['threads']} thread(s), "
        f"PyTorch {machine['torch']}, timm {step['timm']}; seconds are the processor's.",
        "",
        f"- Epoch: {epoch['pictures']} pictures, {seconds['ours']:.1f} s of ours and {seconds['bare']:.1f} s of the "
        f"bare loop, in turns batch by batch; judging {seconds['judging']:.1f} s more. "
        f"{epoch['ours_pictures_per_second']:.0f} pictures/s.",
        f"- Step: {step['pairs']} pairs in turns on one batch, the median of their ratios and its 95 % interval. Ours "
        "is the network, loss, backward pass, SGD in one kernel and average; timm's is its own network, optimizer and "
        "average, with the same layout.",
        "",
        "Made by `make train-bars TRAIN_DATA=...` from training-bars.json.",
    ]
    return "\n".join(lines) + "\n"
