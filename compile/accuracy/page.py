"""The page of the evidence, made from its JSON alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compile.accuracy.held_out import held_out_table
from compile.accuracy.methods import GROUPS
from compile.accuracy.verdict import BARS, KEPT, MISSED, drop_points, evaluate_against, evaluate_drop

BRANCHED = ("ONNX Runtime min-max", "ONNX Runtime, batch norms folded", "ONNX Runtime, as exported")
COLLAPSE = 1.0  # points more than fused that would make quantizing before fusing an error
WORDS = {KEPT: "kept", MISSED: "**missed**"}


def render(document: Mapping[str, Any]) -> str:
    """Return the document as Markdown."""
    networks = document["networks"]
    lines = [
        "# Accuracy of int8",
        "",
        "Written by `make accuracy` from `accuracy.json`.",
        "",
        *_images(networks[0]),
        "",
        "## Bars",
        "",
        *_bar_table(networks),
        "",
        *_arm64(networks),
        "",
        *held_out_table(networks),
        *_unfused(networks),
    ]
    for network in networks:
        lines += ["", *_network(network)]
    return "\n".join([*lines, "", *_notes(document)]) + "\n"


def _images(network: Mapping[str, Any]) -> list[str]:
    test, calibration = network["test"], network["calibration"]
    return [
        f"{test['pictures']:,} test pictures of {test['data']} judge and choose nothing (`{test['sha256'][:12]}`); "
        f"{calibration['pictures']} pictures of the split {calibration['split']} calibrate every method and tool. "
        "A drop is in percentage points of top-1 against float32 of the same checkpoint, with the 95 % interval of "
        "paired answers (Agresti and Min); agreement is the share of pictures with float's answer, right or wrong. "
        "Every int8 figure of ours is of the integer program, compiled by TVM for the machine that measured it and "
        "compared to the bit with the numpy reference on a part of the pictures. Other tools' files are evaluated in "
        "float32 between exact quantizers. Seconds are processor time of quantization.",
    ]


def _bar_table(networks: list[Mapping[str, Any]]) -> list[str]:
    """Return, per network and row with a bar: the drop, whether it keeps the bar, and the best other tool."""
    lines = [
        "| network | float32 | method | int8 | drop (95 %) | bar | | best other tool | ours minus it (95 %) | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for network in networks:
        for row in network["rows"]:
            if not row.get("bar"):
                continue
            limit, top1 = BARS[row["bar"]], row["top1"]["top1"]
            lines.append(
                f"| {network['width']:g}x | {network['fp32']['top1']:.2%} | {row['name']} | {top1:.2%} | "
                f"{_drop(row['change'])} | {limit:g} | {_verdict(row['change'], limit)} | {_best_other(network, row)} |"
            )
    return [
        *lines,
        "",
        "*kept*: the measured drop does not exceed the bar; *open*: it does, but the interval reaches below the bar, "
        "so these pictures cannot tell; *missed*: the whole interval lies above it. Against the best other tool a "
        "row is missed when it is significantly behind.",
    ]


def _verdict(change: Mapping[str, Any], limit: float) -> str:
    found = evaluate_drop(change, limit)
    return WORDS.get(found, f"open, {drop_points(change)[0] - limit:.2f} over")


def _best_other(network: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Return three cells: the best of the other tools on the test images, and ours against it."""
    top1 = {other["name"]: other["top1"]["top1"] for other in network["rows"] if "top1" in other}
    against = [entry for entry in network["against"] if entry["ours"] == row["name"]]
    if not against:
        return "not measured | | "
    entry = max(against, key=lambda entry: top1[entry["other"]])
    change = entry["change"]
    span = f"{100 * change['difference']:+.2f} ({100 * change['low']:+.2f} to {100 * change['high']:+.2f})"
    return f"{entry['other']} {top1[entry['other']]:.2%} | {span} | {WORDS[evaluate_against(change)]}"


def _arm64(networks: list[Mapping[str, Any]]) -> Iterator[str]:
    yield "## The compiled arm64 build"
    yield ""
    yield "Emulated; every logit has to equal the numpy reference's to the bit, on every instruction set."
    yield ""
    yield "| network | method | pictures | equal on | top-1 of both |"
    yield "|---|---|---|---|---|"
    for network in networks:
        found = network["arm64"]
        if "not_measured" in found:
            yield f"| {network['width']:g}x | | | not measured: {found['not_measured']} | |"
            continue
        where = ", ".join(f"{it['variant']} ({it['machine']})" for it in found["equal_to_the_bit"])
        top1 = found["reference"]["top1"]
        yield f"| {network['width']:g}x | {found['method']} | {found['pictures']} | {where} | {top1:.2%} |"


def _unfused(networks: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what the same quantizer makes of the network before and after fusion, and what follows for the guard."""
    yield "## Quantizing before fusing"
    yield ""
    yield f"The same quantizer with the same pictures. {_guard(networks)}"
    yield ""
    yield "| network | fused: drop (95 %) | branches left, batch norms folded | as exported |"
    yield "|---|---|---|---|"
    for network in networks:
        rows = {row["name"]: row for row in network["rows"]}
        cells = [_drop(rows[name]["change"]) if "change" in rows.get(name, {}) else "not measured" for name in BRANCHED]
        yield f"| {network['width']:g}x | {' | '.join(cells)} |"


def _guard(networks: list[Mapping[str, Any]]) -> str:
    """Return how strict the guard has to be for the sake of accuracy, and how strict it is."""
    kernels = "its kernels have one convolution where the branches are, and it refuses a batch norm"
    more = []
    for network in networks:
        drops = {row["name"]: drop_points(row["change"])[0] for row in network["rows"] if "change" in row}
        if BRANCHED[0] in drops:
            more += [drops[name] - drops[BRANCHED[0]] for name in BRANCHED[1:] if name in drops]
    if not more:
        return f"repghost always fuses first: {kernels}."
    if max(more) < COLLAPSE:
        return (
            f"Not fused, these networks lose at most {max(more):.2f} points more than fused: none collapses, so "
            "accuracy alone would ask for a warning and not for a refusal. repghost always fuses first all the same: "
            f"{kernels}."
        )
    return (
        f"Not fused, one of these networks loses {max(more):.2f} points more than fused, so accuracy alone asks for a "
        f"refusal. repghost always fuses first, for speed, too: {kernels}."
    )


def _network(network: Mapping[str, Any]) -> Iterator[str]:
    fp32 = network["fp32"]
    yield f"## {network['width']:g}x"
    yield ""
    yield (
        f"`{network['file']}` (sha256 `{network['sha256'][:12]}`): float32 {fp32['top1']:.2%} "
        f"({fp32['low']:.2%} to {fp32['high']:.2%}). {_training(network['training'])}"
    )
    for group, title in GROUPS.items():
        rows = [row for row in network["rows"] if row["group"] == group]
        if rows:
            yield ""
            yield f"| {title} | top-1 | drop (95 %) | agreement | seconds |"
            yield "|---|---|---|---|---|"
            yield from (_row(row) for row in rows)
            if group == "trained":
                yield ""
                yield from _chosen(rows)
            if group == "float":
                yield ""
                yield from _beside_float(network)


def _training(training: Mapping[str, str]) -> str:
    """Return what the checkpoint says of how it was made."""
    if "command" in training:
        return f"Made by `{training['command']}`."
    said = ", ".join(f"{name} {value}" for name, value in training.items())
    return f"How it was trained, by its own word: {said}." if said else "It does not say how it was trained."


def _row(row: Mapping[str, Any]) -> str:
    if "not_measured" in row:
        return f"| {row['name']} | not measured: {row['not_measured']} | | | |"
    change = row["change"]
    same = change["agreeing"] / change["pictures"]
    name = row["name"] + (f", {row['held_out']['chosen']}" if "held_out" in row else "")
    return f"| {name} | {row['top1']['top1']:.2%} | {_drop(change)} | {same:.2%} | {row['seconds']:.0f} |"


def _chosen(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield by how many images the trained rows were chosen, where any was."""
    counts = {row["held_out"]["pictures"] for row in rows if "held_out" in row}
    if counts:
        yield (
            f"Behind the comma: what {max(counts):,} held-out training pictures chose, the calibrated start or what "
            "an epoch made of it (the table above)."
        )


def _beside_float(network: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is left of the drop where the float network had the same training."""
    found = [f"{entry['ours']} {_drop(entry['change'])}" for entry in network["against_float"]]
    yield (
        "Training under quantization learns from labels, too, and makes a network better that was not trained to its "
        "end. This is what the same pictures, loss and rates make of float32. The drop against it: "
        f"{', '.join(found) or 'not measured'}."
    )


def _drop(change: Mapping[str, Any]) -> str:
    drop, low, high = drop_points(change)
    return f"{drop + 0.0:.2f} ({low:.2f} to {high:.2f})"


def _notes(document: Mapping[str, Any]) -> Iterator[str]:
    yield "## How it was made"
    yield ""
    versions: dict[str, str] = {}
    machines: dict[str, list[str]] = {}
    for network in document["networks"]:
        machine = ", ".join(f"{name} {value}" for name, value in sorted(network["machine"].items()))
        machines.setdefault(machine, []).append(f"{network['width']:g}x")
        for row in network["rows"]:
            versions |= row.get("versions", {})
    for machine, widths in machines.items():
        yield f"- {', '.join(widths)}: {machine}."
    others = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    yield f"- Other tools: {others or 'none'}."
