"""What the arm64 builds have to reach, and what was reached: one row for each bar, from the JSON alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SIZE = 224  # pixels of every bar
MILLION = 1e6
OF_BEST_RIVAL = 0.6  # modelled cycles: at most this part of the best runtime at any precision
AGREEMENT = 0.995  # of real images that fp16 answers as float32


@dataclass(frozen=True)
class CountBar:
    """At most so many millions of executed instructions."""

    precision: str
    cpu: str
    width: float
    limit: float
    stretch: float | None = None


COUNT_BARS = (
    CountBar("int8", "cortex-a76", 0.5, 9, 7),
    CountBar("int8", "cortex-a76", 1.0, 18.5, 15.5),
    CountBar("int8", "cortex-a76", 2.0, 56, 48),
    CountBar("int8", "cortex-a72", 0.5, 16),
    CountBar("int8", "cortex-a72", 1.0, 45),
    CountBar("fp32", "cortex-a72", 0.5, 18),
    CountBar("fp16", "cortex-a76", 0.5, 12),
)
CYCLE_WIDTHS, CYCLE_CORES = (0.5, 1.0), {"a76": "A76", "a55": "A55"}
MODEL_MEGABYTES, MODEL_STRETCH, WORKSPACE_MEGABYTES = 3.5, 3.0, 2.5  # of 0.5x int8


@dataclass(frozen=True)
class Outcome:
    """One bar and what was measured."""

    what: str
    network: str
    measured: float
    limit: float
    unit: str
    stretch: float | None = None
    best_elsewhere: str = ""
    at_least: bool = False  # whether more is better

    @property
    def reached(self) -> bool:
        """Whether the bar is reached."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def find_count(
    arm64: Mapping[str, Any], width: float, precision: str, cpu: str, size: int = SIZE
) -> Mapping[str, Any] | None:
    """Return one counted inference, None where it is not in the JSON."""
    for network in arm64["networks"]:
        if (network["width"], network["size"]) == (width, size):
            for result in network["counts"]:
                if (result["precision"], result["cpu"]) == (precision, cpu):
                    return dict(result)
    return None


def outcomes(arm64: Mapping[str, Any]) -> list[Outcome]:
    """Return every bar whose figure is in the "arm64" part of docs/performance.json."""
    return [*_counts(arm64), *_matrix(arm64), *_cycles(arm64), *_sizes(arm64), *_agreement(arm64)]


def _counts(arm64: Mapping[str, Any]) -> Iterator[Outcome]:
    for bar in COUNT_BARS:
        found = find_count(arm64, bar.width, bar.precision, bar.cpu)
        if found is not None:
            rival = best_rival(arm64, bar.width, bar.cpu, bar.precision)
            measured = found["whole"]["total"] / MILLION
            what = f"{bar.precision} instructions on {bar.cpu}"
            yield Outcome(what, f"{bar.width:g}x", measured, bar.limit, "M", bar.stretch, rival)


def _matrix(arm64: Mapping[str, Any]) -> Iterator[Outcome]:
    """Yield, for each width, the count with i8mm, which has to be below that with dot-product alone."""
    for network in arm64["networks"]:
        if network["size"] == SIZE:
            matrix, dot = (find_count(arm64, network["width"], "int8", cpu) for cpu in ("max", "cortex-a76"))
            if matrix is not None and dot is not None:
                measured, limit = (result["whole"]["total"] / MILLION for result in (matrix, dot))
                what = "int8 instructions on max (i8mm), at most those on cortex-a76"
                yield Outcome(what, f"{network['width']:g}x", measured, limit, "M")


def _cycles(arm64: Mapping[str, Any]) -> Iterator[Outcome]:
    for core, label in CYCLE_CORES.items():
        for width in CYCLE_WIDTHS:
            found = find_count(arm64, width, "int8", "cortex-a76")
            rivals = [row[f"{width:.1f}"][core] for row in arm64["rivals"]["rows"] if f"{width:.1f}" in row]
            if found is not None and rivals:
                measured = found["whole"]["modelled_cycles"][core] / MILLION
                what = f"int8 modelled {label} cycles, at most {OF_BEST_RIVAL:g} of the best elsewhere"
                best = best_rival(arm64, width, core)
                yield Outcome(what, f"{width:g}x", measured, OF_BEST_RIVAL * min(rivals), "M", None, best)


def best_rival(arm64: Mapping[str, Any], width: float, figure: str, precision: str | None = None) -> str:
    """Return who executes the least, e.g. "20.4 (MNN fp16)"; of one precision too where that differs.

    Args:
        arm64: the part of docs/performance.json.
        width: of the network.
        figure: a core that is emulated, or one whose cycles are modelled.
        precision: of the build it is compared with.
    """
    key = f"{width:.1f}"
    rows = [row for row in arm64["rivals"]["rows"] if figure in row.get(key, {})]
    texts = []
    for group in ([row for row in rows if row["precision"] == precision], rows):
        if group:
            best = min(group, key=lambda row: float(row[key][figure]))
            texts.append(f"{best[key][figure]:g} ({best['runtime']} {best['precision']})")
    return ", ".join(dict.fromkeys(texts))


def _sizes(arm64: Mapping[str, Any]) -> Iterator[Outcome]:
    found = find_count(arm64, 0.5, "int8", "cortex-a76")
    if found is not None:
        model, workspace = found["model_bytes"] / MILLION, found["workspace_bytes"] / MILLION
        yield Outcome("int8 model.so, all instruction sets in it", "0.5x", model, MODEL_MEGABYTES, "MB", MODEL_STRETCH)
        yield Outcome("int8 working memory", "0.5x", workspace, WORKSPACE_MEGABYTES, "MB")


def _agreement(arm64: Mapping[str, Any]) -> Iterator[Outcome]:
    found = arm64.get("agreement")
    if found:
        share = 100 * found["agreeing"] / found["pictures"]
        what = f"fp16 answers as float32, of {found['pictures']} pictures"
        yield Outcome(what, f"{found['model']}, carried", share, 100 * AGREEMENT, "%", at_least=True)
