"""The tables of a summary: rows of cells that every renderer shows in its own way."""

from __future__ import annotations

import math
from typing import Any

from compile.summary.advice import pareto
from compile.summary.choices import ESTIMATED, board_table, device_table, find_choices
from compile.summary.facts import Detector, LayerTable, Method, Network, Pixels, Share, Size, Speed, Summary, by_size
from compile.summary.published import NetworkFigures, full_name, place, published_figures
from repghost.network.spec import WIDTHS
from repghost.sizes import parse_size, sides, sides_text
from repghost.tables import Cell, Table, make_table

ABSENT, NO_WEIGHTS = "not measured", "no weights"
FILL = "repghost compile --target arm64 --width {width} --weights timm --data imagenet"
LAYERS = "layers-"  # begins the names of the tables of layers
MEGA = 1e6


def all_tables(summary: Summary) -> tuple[Table, ...]:
    """Return every table of the page, in its order."""
    tables = [width_table(summary), device_table(find_choices(summary))]
    tables += [board_table(summary), accuracy_table(summary), detector_table(summary), *latency_tables(summary)]
    tables.append(size_table(summary))
    tables += [layer_table(layers) for layers in summary.layers]
    return tuple(table for table in tables if table.rows)


def percent(value: float) -> str:
    """Return a share in percent."""
    return f"{100 * value:.2f}"


def points(value: float) -> str:
    """Return a difference of shares in percentage points, with its sign; zero has none of its own."""
    return f"{round(100 * value, 2) + 0.0:+.2f}"


def _name(text: str) -> str:
    """Return text as the name of a table, for links."""
    return "".join(c if c.isalnum() else "-" for c in text.lower())


def _share(share: Share | None) -> Cell:
    if share is None:
        return Cell(ABSENT)
    note = f"95 %: {percent(share.low)} to {percent(share.high)}, {share.pictures} pictures"
    return Cell(percent(share.top1), share.top1, note)


def _change(method: Method | None) -> Cell:
    if method is None or method.change is None:
        return Cell(ABSENT)
    change = method.change
    text = f"{points(change.difference)} ({points(change.low)} to {points(change.high)})"
    return Cell(text, change.difference, f"same answer on {change.agreeing} of {method.share.pictures} pictures")


def first_method(network: Network, kind: str) -> Method | None:
    """Return the first method of a kind: sources list the default one first."""
    return next((method for method in network.methods if method.kind == kind), None)


def width_table(summary: Summary) -> Table:
    """Return one row per width and network, all eight widths present."""
    heads = (
        "width",
        "#parameters | M",
        "#multiply-adds | M",
        "#published top-1 | %",
        "#published top-5 | %",
        "evaluated on",
        "#fp32 top-1 | %",
        "#int8 by calibration | %",
        "#change | points",
        "#int8 by training | %",
        "#change | points",
    )
    rows = [row for width in WIDTHS for row in _width_rows(summary, width.name)]
    about = (
        "Published: the authors' figures, float32 on ImageNet at 224 px. All else was measured here, on the pictures "
        "that the row names: float32, int8 by the compiled integer program, and the paired change with its 95 % "
        "interval. Training sees labels, so it can pass float32 of a checkpoint that was not trained to its end. Rows "
        "with other pictures or other training are not to be compared."
    )
    absent = [row[5].note for row in rows if row[5].text == NO_WEIGHTS]
    about += f" A width without weights is filled in like this: {absent[0]}." if absent else ""
    return make_table(heads, rows, "widths", "The eight widths", about)


def _width_rows(summary: Summary, name: str) -> list[tuple[Cell, ...]]:
    width = next(row for row in WIDTHS if row.name == name)
    head = (
        Cell(f"{width.multiplier:g}x", width.multiplier), Cell(f"{width.params_millions:g}", width.params_millions),
        Cell(f"{width.flops_millions}", float(width.flops_millions)), Cell(f"{width.top1:.1f}", width.top1),
        Cell(f"{width.top5:.1f}", width.top5),
    )  # fmt: skip
    networks = [network for network in summary.networks if network.model == name]
    if not networks:
        command = FILL.format(width=f"{width.multiplier:g}")
        return [(*head, Cell(NO_WEIGHTS, None, command), *[Cell(ABSENT)] * 5)]
    return [
        (
            *head,
            Cell(f"{network.data} at {network.size} px", None, f"{network.weights}. {network.note}".strip()),
            _share(network.fp32),
            _share(_method_share(first_method(network, "ptq"))), _change(first_method(network, "ptq")),
            _share(_method_share(first_method(network, "qat"))), _change(first_method(network, "qat")),
        )
        for network in networks
    ]  # fmt: skip


def _method_share(method: Method | None) -> Share | None:
    return None if method is None else method.share


def change_table(summary: Summary) -> Table:
    """Return one row per network: its accuracy in float32 and in int8 by default calibration."""
    heads = ("network", "evaluated on", "#float32 top-1 | %", "#int8 top-1 | %", "#change | points")
    rows = [
        (Cell(full_name(it.model), None, it.weights), Cell(f"{it.data} at {it.size} px"), _share(it.fp32),
         _share(_method_share(first_method(it, "ptq") or first_method(it, "qat"))),
         _change(first_method(it, "ptq") or first_method(it, "qat")))
        for it in summary.networks if it.fp32 is not None or it.methods
    ]  # fmt: skip
    about = "Measured; int8 by the compiled integer program, its change paired, with a 95 % interval."
    return make_table(heads, rows, "changes", "What int8 changes", about)


def accuracy_table(summary: Summary) -> Table:
    """Return one row for each way each network was quantized."""
    heads = ("network", "pictures", "method", "kind", "#top-1 | %", "#change | points", "#same answer | %")
    rows = []
    for network in summary.networks:
        name = Cell(network.model, None, network.weights)
        if network.fp32 is not None:
            rows.append(
                (name, Cell(network.data), Cell("float32"), Cell("-"), _share(network.fp32), Cell("-"), Cell("-"))
            )
        for method in network.methods:
            agreeing = None if method.change is None else method.change.agreeing / method.share.pictures
            same = Cell(ABSENT) if agreeing is None else Cell(percent(agreeing), agreeing)
            kind = "trained" if method.kind == "qat" else "calibrated"
            cells = (Cell(method.name), Cell(kind), _share(method.share), _change(method), same)
            rows.append((name, Cell(network.data), *cells))
    about = "Every figure is that of the compiled integer program on pictures that chose nothing"
    about += "; TensorRT's are those of its Q/DQ file." if any("TensorRT" in row[2].text for row in rows) else "."
    return make_table(heads, rows, "accuracy", "Every way to int8", about)


def detector_table(summary: Summary) -> Table:
    """Return one row for each build of a detector and each set that it was measured on."""
    heads = ("network", "#input | px", "build", "pictures", "#AP | %", "#AP50 | %", "#objects")
    rows = [_detector_row(it) for it in sorted(summary.detectors, key=lambda it: (place(it.model), it.build, it.data))]
    about = (
        "Average precision as COCO defines it, of the boxes that the build gives; the interval of AP50 by drawing "
        "pictures again. Rows with other pictures are not to be compared."
    )
    return make_table(heads, rows, "detectors", "Detectors", about)


def _detector_row(detector: Detector) -> tuple[Cell, ...]:
    side = detector.size if isinstance(detector.size, int) else math.prod(sides(parse_size(detector.size))) ** 0.5
    low, high = detector.low, detector.high
    note = "" if low is None or high is None else f"95 %: {percent(low)} to {percent(high)}"
    ap, ap50 = (Cell("no object") if it is None else Cell(percent(it), it) for it in (detector.ap, detector.ap50))
    return (
        Cell(detector.model), Cell(str(detector.size), side), Cell(detector.build),
        Cell(f"{detector.data}: {detector.pictures}"), ap, Cell(ap50.text, ap50.value, note),
        Cell(f"{detector.objects:,}", detector.objects),
    )  # fmt: skip


def latency_tables(summary: Summary) -> list[Table]:
    """Return a table for each machine, size and unit."""
    others = [speed for speed in summary.speeds if speed.kind != ESTIMATED]  # those have a table of their own
    keys = dict.fromkeys((speed.where, speed.machine, speed.size, speed.unit) for speed in others)
    order = ("board", "jetson", "host", "emulated")

    def turn(key: tuple[str, str, Pixels, str]) -> tuple[Any, ...]:
        where, machine, size, unit = key
        return order.index(where), machine, by_size(size), unit

    return [_latency_table(summary, *key) for key in sorted(keys, key=turn)]


def _latency_table(summary: Summary, where: str, machine: str, size: Pixels, unit: str) -> Table:
    others = [speed for speed in summary.speeds if speed.kind != ESTIMATED]
    speeds = [s for s in others if (s.where, s.machine, s.size, s.unit) == (where, machine, size, unit)]
    speeds.sort(key=lambda speed: (*place(speed.model), speed.threads, speed.value))
    marked = pareto(speeds, published_figures())
    scale, shown, count = (1.0, "ms", "median") if unit == "ms" else (MEGA, f"million {unit}", "count")
    heads = (
        "network",
        "precision",
        "runtime",
        "instruction set",
        "#threads",
        f"#{count} | {shown}",
        "#fastest | ms",
        "#90 % | ms",
        "#same class as float",
        "#published top-1 | %",
        "best of its speed",
    )
    rows = [_latency_row(speed, scale, speed in marked) for speed in speeds]
    kinds = " and ".join(sorted({speed.kind for speed in speeds}))
    about = f"{kinds.capitalize()}: {machine}, {sides_text(size).replace('x', ' x ')} pixels, batch 1."
    if any(speed.weights == "random" for speed in speeds):
        about += " Where weights are random only the time says something; accuracies are then the published ones."
    name = f"{where}-{machine}-{size}-{unit}"
    return make_table(heads, rows, _name(name), _latency_title(where, machine, size, unit), about)


def _latency_title(where: str, machine: str, size: Pixels, unit: str) -> str:
    what = {"ms": "Latency", "instructions": "Executed instructions", "cycles": "Modelled cycles"}[unit]
    places = {"host": "on this host", "board": "on a board", "jetson": "on a Jetson", "emulated": "under emulation"}
    return f"{what} {places[where]}: {machine}, {size} px"


def _latency_row(speed: Speed, scale: float, marked: bool) -> tuple[Cell, ...]:
    figures: NetworkFigures | None = published_figures().get(speed.model)
    digits = 3 if speed.unit == "ms" else 2
    times = [Cell("-") if t is None else Cell(f"{t:.{digits}f}", t) for t in (speed.low, speed.high)]
    return (
        Cell(speed.model, None, f"{speed.weights} weights"), Cell(speed.precision),
        Cell(speed.runtime, None, speed.made_by), Cell(speed.variant or "-"), Cell(str(speed.threads), speed.threads),
        Cell(f"{speed.value / scale:.{digits}f}", speed.value), *times, _agreement(speed),
        Cell("-") if figures is None else Cell(f"{figures.top1:.1f}", figures.top1, figures.source),
        Cell("yes" if marked else ""),
    )  # fmt: skip


def _agreement(speed: Speed) -> Cell:
    found = speed.agreement
    return Cell("-") if found is None else Cell(f"{found.same} of {found.pictures}", found.share)


def size_table(summary: Summary) -> Table:
    """Return what each build needs."""
    heads = (
        "network",
        "#input | px",
        "#classes",
        "target",
        "precision",
        "#model.so | MB",
        "#bundle | MB",
        "#working memory | KB",
    )
    rows = tuple(_size_row(size) for size in sorted(summary.sizes, key=lambda size: place(size.model)))
    about = "model.so holds the code of every instruction set of its target and the weights once for each layout."
    return make_table(heads, rows, "sizes", "Sizes", about)


def _size_row(size: Size) -> tuple[Cell, ...]:
    side = size.size if isinstance(size.size, int) else math.prod(sides(parse_size(size.size))) ** 0.5
    memory = size.workspace_bytes
    return (
        Cell(size.model), Cell(str(size.size), side), Cell(str(size.classes), size.classes), Cell(size.target),
        Cell(size.precision), Cell(f"{size.model_bytes / MEGA:.2f}", size.model_bytes),
        Cell(f"{size.bundle_bytes / MEGA:.2f}", size.bundle_bytes),
        Cell(ABSENT) if memory is None else Cell(f"{memory / 1e3:.0f}", memory),
    )  # fmt: skip


def layer_table(layers: LayerTable) -> Table:
    """Return where the time and the error of one build go."""
    heads = (
        "layer",
        "operator",
        "output",
        "#MACs",
        "#weights | bytes",
        "arithmetic",
        "#instructions",
        "#SQNR | dB",
        "kernel",
    )
    rows = tuple(
        (
            Cell(row.name), Cell(row.operator), Cell(row.output), Cell(f"{row.macs:,}", row.macs),
            Cell(f"{row.weight_bytes:,}", row.weight_bytes), Cell(row.arithmetic, None, row.reason),
            Cell(ABSENT) if row.instructions is None else Cell(f"{row.instructions:,}", row.instructions),
            Cell(ABSENT) if row.sqnr_db is None else Cell(f"{row.sqnr_db:.1f}", row.sqnr_db), Cell(row.kernel),
        )
        for row in layers.rows
    )  # fmt: skip
    about = "MACs are multiply-adds for one picture. SQNR is the layer's signal to quantization noise ratio."
    name = _name(f"{LAYERS}{layers.model}-{layers.size}-{layers.build}")
    return make_table(heads, rows, name, f"Layer by layer: {layers.model}, {layers.build}", about)
