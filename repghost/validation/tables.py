"""Validations as text."""

from __future__ import annotations

from collections.abc import Sequence

from repghost.tables import make_table, text_lines
from repghost.validation.published_widths import WidthRow
from repghost.validation.validate import Measured, Validation

IMAGENET_CLASSES = 1000


def network_table(report: Validation) -> list[str]:
    """Return one line for each network."""
    names = short_names([item.source for item in report.networks])
    against = len({item.against for item in report.networks} - {None}) > 1  # otherwise it is the first one
    heads = ["network", "file", "#top-1", "#95 %", "#top-5", "#loss", "#change", "#95 %", "#same answer"]
    rows = []
    for item in report.networks:
        change = ["", "", ""]
        if item.change is not None:
            change = [
                f"{100 * item.change.difference:+.2f}",
                f"{100 * item.change.low:+.2f} to {100 * item.change.high:+.2f}",
                f"{item.change.agreeing} of {item.change.pictures}",
            ]
        interval = f"{item.top1.low:.2%} to {item.top1.high:.2%}"
        scores = [f"{item.top1.top1:.2%}", interval, f"{item.top5.top1:.2%}", f"{item.loss:.4f}"]
        base = "" if item.against is None else names[report.networks[item.against].source]
        rows.append([item.name, names[item.source], *scores, *change, *([base] if against else []), item.by])
    return text_lines(make_table([*heads, *(["against"] if against else []), "computed by"], rows))


def short_names(sources: Sequence[str]) -> dict[str, str]:
    """Return what rows call files: as much of the end of their paths as tells them apart."""
    for depth in range(1, 1 + max(len(source.split("/")) for source in sources)):
        found = {source: "/".join(source.rstrip("/").split("/")[-depth:]) for source in sources}
        if len(set(found.values())) == len(found):
            return found
    return {source: source for source in sources}


def class_table(report: Validation) -> list[str]:
    """Return one line for each class: its images, and the share each network has right."""
    rows = []
    for place, (name, count) in enumerate(zip(report.classes, report.images, strict=True)):
        shares = [f"{item.per_class[place] / count:.2%}" if count else "none" for item in report.networks]
        rows.append([name, str(count), *shares])
    return text_lines(make_table(("class", "#pictures", *(f"#{item.name}" for item in report.networks)), rows))


def width_table(rows: Sequence[WidthRow]) -> list[str]:
    """Return one line for each published width, and what the two halves of the table are about."""
    heads = ("width", "params M", "published top-1", "top-5", "fp32", "95 %", "fused", "int8", "change", "95 %")
    lines = []
    for row in rows:
        published = [f"{row.width.params_millions}", f"{row.width.top1:.2f}%", f"{row.width.top5:.2f}%"]
        lines.append([f"{row.width.multiplier:g}", *published, *_measured(row.measured)])
    table = text_lines(make_table([f"#{head}" for head in heads], lines))
    classes = next((len(row.measured.classes) for row in rows if row.measured is not None), IMAGENET_CLASSES)
    if classes != IMAGENET_CLASSES:
        table.append(f"Published: ImageNet-1k at 224 px. Measured: {classes} other classes, so the two do not compare.")
    return table


def _measured(report: Validation | None) -> list[str]:
    """Return the cells of one width; the int8 network is compared with the float one before its fusion."""
    if report is None:
        return ["not measured: no checkpoint", "", "", "", "", ""]
    best = next(item for item in report.networks if "raw" not in item.name)
    fused = _named(report, "fused")
    quantized = _named(report, "int8")
    change = ["", ""]
    if quantized is not None and quantized.change is not None:
        low, high = 100 * quantized.change.low, 100 * quantized.change.high
        change = [f"{100 * quantized.change.difference:+.2f}", f"{low:+.2f} to {high:+.2f}"]
    shown = ["not measured" if item is None else f"{item.top1.top1:.2%}" for item in (fused, quantized)]
    return [f"{best.top1.top1:.2%}", f"{best.top1.low:.2%} to {best.top1.high:.2%}", *shown, *change]


def _named(report: Validation, word: str) -> Measured | None:
    """Return the first network whose name has a word."""
    return next((item for item in report.networks if word in item.name), None)
