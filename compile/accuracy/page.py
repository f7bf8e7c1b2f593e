"""docs/accuracy.md, made from the JSON of `compile.accuracy.evidence` alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compile.accuracy.goals import AGAINST_OTHERS, GOALS, drop_points
from compile.accuracy.methods import GROUPS
from compile.accuracy.overview import name_of, overview
from repghost.goals import Verdict, evaluate
from repghost.tables import folded, make_table, markdown_lines

# One quantizer, given the network fused and not fused.
BRANCHED = ("ONNX Runtime min-max", "ONNX Runtime, batch norms folded", "ONNX Runtime, as exported")
COLLAPSE = 1.0  # points lost more than fused, from which on quantizing before fusing counts as an error
WORDS = {Verdict.REACHED: "kept", Verdict.MISSED: "**missed**"}


def render(document: Mapping[str, Any]) -> str:
    """Return the document as Markdown: one table and a figure in the open, the rest folded."""
    networks = document["networks"]
    lines = [
        "# Accuracy of int8",
        "",
        *_images(networks[0]),
        "",
        *([note, ""] if (note := training_note(networks)) else []),
        *overview(networks),
        "",
        "## Goals",
        "",
        *folded("Every goal, and the best other tool", _goal_table(networks)),
        "",
        *_section(_arm64(networks), "On how many pictures"),
        *_section(held_out_table(networks), "Every network"),
        *_section(_unfused(networks), "Every network"),
    ]
    lines += ["## Every way to quantize", ""]
    for network in networks:
        lines += [*folded(name_of(network), list(_network(network))), ""]
    title, _, *notes = _notes(document)
    return "\n".join([*lines, title, "", *folded("Machines, tools and terms", [*_terms(), "", *notes])]) + "\n"


def _section(lines: Sequence[str], summary: str) -> list[str]:
    """Return a section whose title stays in the open; nothing for none."""
    return [lines[0], "", *folded(summary, lines[2:]), ""] if lines else []


def _images(network: Mapping[str, Any]) -> list[str]:
    test, calibration = network["test"], network["calibration"]
    return [
        f"Measured on {test['pictures']:,} test pictures of {test['data']} that chose nothing "
        f"(`{test['sha256'][:12]}`); {calibration['pictures']} pictures of the split {calibration['split']} calibrate "
        "every method and tool. A drop is in points of top-1 against float32 of the same checkpoint. Written by `make "
        "accuracy` from `accuracy.json`.",
    ]


def training_note(networks: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence for networks that were trained for different times; "" for those that were trained alike.

    Args:
        networks: those of accuracy.json.
    """
    epochs = {name_of(it): str(it.get("training", {}).get("epochs", "")).partition("/")[0] for it in networks}
    if len(set(epochs.values())) < 2:
        return ""
    listed = ", ".join(f"{name} {count or 'unknown'}" for name, count in epochs.items())
    return (
        f"The networks were **not trained alike** (epochs: {listed}), so a row compares a network with itself, and "
        "tells nothing of one width against another."
    )


def _terms() -> list[str]:
    return [
        "Intervals are of 95 %, of paired answers (Agresti and Min); agreement is the share of pictures with float's "
        "answer, right or wrong. Every int8 figure of ours is of the integer program, compiled by TVM for the machine "
        "that measured it and compared to the bit with the numpy reference on a part of the pictures. Other tools' "
        "files are evaluated in float32 between exact quantizers. Seconds are processor time of quantization."
    ]


def _goal_table(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return, per network and row with a goal: the drop, whether it reaches the goal, and the best other tool."""
    heads = ("network", "float32", "method", "int8", "drop (95 %)", "goal", "", "best other tool")
    rows = [
        (
            name_of(network),
            f"{network['fp32']['top1']:.2%}",
            row["name"],
            f"{row['top1']['top1']:.2%}",
            _drop(row["change"]),
            *_reached(row),
            *_best_other(network, row),
        )
        for network in networks
        for row in network["rows"]
        if row.get("bar")
    ]
    return [
        *markdown_lines(make_table((*heads, "ours minus it (95 %)", ""), rows)),
        "",
        "*kept*: the measured drop does not exceed the goal; *open*: it does, but the interval reaches below the goal, "
        "so these pictures cannot tell; *missed*: the whole interval lies above it. Against the best other tool a "
        "row is missed when it is significantly behind.",
    ]


def _reached(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return two cells: the limit of a row's goal, and whether the row reaches it."""
    goal = GOALS[row["bar"]]
    outcome = evaluate(goal, row["change"])
    return f"{goal.limit:g}", WORDS.get(outcome.verdict, f"open, {outcome.missed_by:.2f} over")


def _best_other(network: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return three cells: the best of the other tools on the test images, ours minus it, and whether ours is behind."""
    top1 = {other["name"]: other["top1"]["top1"] for other in network["rows"] if "top1" in other}
    against = [entry for entry in network["against"] if entry["ours"] == row["name"]]
    if not against:
        return "not measured", "", ""
    entry = max(against, key=lambda entry: top1[entry["other"]])
    change = entry["change"]
    span = f"{100 * change['difference']:+.2f} ({100 * change['low']:+.2f} to {100 * change['high']:+.2f})"
    return f"{entry['other']} {top1[entry['other']]:.2%}", span, WORDS[evaluate(AGAINST_OTHERS, change).verdict]


def _arm64(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = []
    for network in networks:
        found = network["arm64"]
        if "not_measured" in found:
            rows.append((name_of(network), "", "", f"not measured: {found['not_measured']}", ""))
            continue
        where = ", ".join(f"{it['variant']} ({it['machine']})" for it in found["equal_to_the_bit"])
        top1 = f"{found['reference']['top1']:.2%}"
        rows.append((name_of(network), found["method"], str(found["pictures"]), where, top1))
    about = "Emulated; every logit has to equal the numpy reference's to the bit, on every instruction set."
    heads = ("network", "method", "pictures", "equal on", "top-1 of both")
    return markdown_lines(make_table(heads, rows, title="The compiled arm64 build", about=about))


def held_out_table(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return, per network and mode: loss and top-1 of the calibrated start and of what training made of it.

    Args:
        networks: of the document; those without a trained row are left out, and without any nothing is returned.
    """
    trained = [
        (network, row) for network in networks for row in network["rows"] if row.get("held_out", {}).get("candidates")
    ]
    if not trained:
        return []
    about = (
        "What training minimizes, in thousandths, and right answers in percent, on training pictures that were held "
        "out, in the integers of the compiled program. A candidate replaces the one before it where the first is less "
        "by two standard errors and no right answer less ([qat.md](qat.md)); where none does, the calibrated start is "
        "written and the last epoch is shown."
    )
    heads = ("network", "mode", "pictures", "start", "trained", "written")
    rows = [(name_of(network), row["name"], *_candidates(row)) for network, row in trained]
    title = "What training did to held-out pictures"
    return markdown_lines(make_table(heads, rows, title=title, about=about))


def _candidates(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return four cells: held-out images, the start, the chosen epoch or else the last one, and what was written."""
    found, share = row["held_out"], row["key"]["trained"]["distillation"]
    start, *epochs = found["candidates"]
    chosen = next((entry for entry in epochs if entry["name"] == found["chosen"]), epochs[-1] if epochs else None)
    trained = _loss(chosen, share) if chosen else "no epoch fits its integers"
    return f"{found['pictures']:,}", _loss(start, share), trained, found["chosen"]


def _loss(candidate: Mapping[str, Any], distillation: float) -> str:
    """Return the loss of training (the share of the divergence from float, the rest with labels) and the top-1."""
    loss = distillation * candidate["divergence"] + (1 - distillation) * candidate["loss"]
    return f"{1000 * loss:.0f}, {100 * candidate['top1']:.2f}"


def _unfused(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the same quantizer makes of the network before and after fusion, and what follows for the guard."""
    rows = []
    for network in networks:
        found = {row["name"]: row for row in network["rows"]}
        cells = [
            _drop(found[name]["change"]) if "change" in found.get(name, {}) else "not measured" for name in BRANCHED
        ]
        rows.append((name_of(network), *cells))
    heads = ("network", "fused: drop (95 %)", "branches left, batch norms folded", "as exported")
    about = f"The same quantizer with the same pictures. {_guard(networks)}"
    return markdown_lines(make_table(heads, rows, title="Quantizing before fusing", about=about))


def _guard(networks: Sequence[Mapping[str, Any]]) -> str:
    """Return how strictly accuracy asks for fusing before quantizing, and how strict the product is."""
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
    yield (
        f"`{network['file']}` (sha256 `{network['sha256'][:12]}`): float32 {fp32['top1']:.2%} "
        f"({fp32['low']:.2%} to {fp32['high']:.2%}). {_training(network['training'])}"
    )
    for group, title in GROUPS.items():
        rows = [row for row in network["rows"] if row["group"] == group]
        if rows:
            yield ""
            heads = (title, "top-1", "drop (95 %)", "agreement", "seconds", "divergence, nats")
            cells = [_row(row) for row in rows]
            width = len(heads) if any(row[-1] for row in cells) else len(heads) - 1
            yield from markdown_lines(make_table(heads[:width], [row[:width] for row in cells]))
            if group == "trained":
                yield ""
                yield from _chosen(rows)
            if group == "float":
                yield ""
                yield _beside_float(network)


def _training(training: Mapping[str, str]) -> str:
    """Return what the checkpoint says of how it was made."""
    if "command" in training:
        return f"Made by `{training['command']}`."
    said = ", ".join(f"{name} {value}" for name, value in training.items())
    return f"How it was trained, by its own word: {said}." if said else "It does not say how it was trained."


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    if "not_measured" in row:
        return row["name"], f"not measured: {row['not_measured']}", "", "", "", ""
    change = row["change"]
    same = change["agreeing"] / change["pictures"]
    name = row["name"] + (f", {row['held_out']['chosen']}" if "held_out" in row else "")
    kl = f"{row['kl']:.4f}" if "kl" in row else ""  # measurements of earlier versions have none
    return name, f"{row['top1']['top1']:.2%}", _drop(change), f"{same:.2%}", f"{row['seconds']:.0f}", kl


def _chosen(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield by how many images the trained rows were chosen, where any was."""
    counts = {row["held_out"]["pictures"] for row in rows if "held_out" in row}
    if counts:
        yield (
            f"Behind the comma: what {max(counts):,} held-out training pictures chose, the calibrated start or what "
            "an epoch made of it (the table above)."
        )


def _beside_float(network: Mapping[str, Any]) -> str:
    """Return the drop against the float network that had the same training."""
    found = [f"{entry['ours']} {_drop(entry['change'])}" for entry in network["against_float"]]
    return (
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
        machines.setdefault(machine, []).append(name_of(network))
        for row in network["rows"]:
            versions |= row.get("versions", {})
    for machine, widths in machines.items():
        yield f"- {', '.join(widths)}: {machine}."
    others = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    yield f"- Other tools: {others or 'none'}."
