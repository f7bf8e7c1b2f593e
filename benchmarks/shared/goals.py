"""Every goal of the benchmarks in one place; `repghost.goals.evaluate` says whether one is reached.

The goals of int8 accuracy are part of `repghost accuracy`: `compile.accuracy.goals`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from compile.accuracy.goals import drop_goal
from compile.cycles.cores import CORES
from repghost.goals import Goal, Outcome, Path, Verdict, find

SIZE = 224  # pixels of every goal and benchmark
MILLION = 1e6
MEGABYTE = 1e6

# This host: our time divided by that of the fastest other runtime, of any precision for int8, of fp32 for fp32. An
# instruction set may have a limit of its own.
RATIO: Path = ("ratio", "median")
NETWORKS = (
    "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100", "mobilenetv4_conv_small", "efficientnet_lite0",
    "ghostnet_100", "mnasnet_100", "repvgg_a0", "mobileone_s0", "resnet18", "resnet50",
)  # fmt: skip
HOST_LIMITS = {
    ("0.5x", "int8"): 0.65,
    ("1x", "int8"): 0.75,
    ("2x", "int8"): 0.9,
    ("0.5x", "fp32"): 1.0,
    ("1x", "fp32"): 1.0,
    ("2x", "fp32"): 0.95,
    ("0.5x", "int8 avxvnni"): 0.5,
    ("1x", "int8 avxvnni"): 0.55,
    ("2x", "int8 avxvnni"): 0.65,
    **{(name, "int8"): 0.85 if name.startswith("resnet") else 0.65 for name in NETWORKS},
}
FIRST_ANSWER = Goal("int8, from opening model.so to the first answer", 10.0, "ms", where=("int8", "median_ms"))

# A browser: the same ratio; and of the bundled network, what a page downloads and waits for.
WEB_RATIO = 0.6
WEB_NETWORKS = ("0.5x", "1x", "mobilenetv2_100")
WEB_FIRST_ANSWER = Goal("from asking for the first file to the first answer", 150.0, "ms",
                        where=("first_answer", "median_ms"))  # fmt: skip
WEB_MODEL = Goal("model.wasm", 1.8, "MB", where=("files", "model.wasm"), per=MEGABYTE)

POOL_WAKE = Goal("a thread begins with its piece", 5.0, "microseconds", where=("wake_ns", "p50"), per=1000.0)

# Emulated arm64 cores: executed instructions of one inference, in millions, and the limit that is hoped for.
INSTRUCTIONS = (
    ("int8", "cortex-a76", 0.5, 9, 7),
    ("int8", "cortex-a76", 1.0, 18.5, 17),
    ("int8", "cortex-a76", 2.0, 56, 50),
    ("int8", "max", 0.5, 6.6, None),
    ("int8", "max", 1.0, 14.5, None),
    ("int8", "max", 2.0, 38, None),
    ("int8", "cortex-a72", 0.5, 16, 14),
    ("int8", "cortex-a72", 1.0, 45, 40),
    ("fp32", "cortex-a72", 0.5, 18, None),
    ("fp16", "cortex-a76", 0.5, 12, None),
)
ARMV7_INSTRUCTIONS = 20.0  # of an emulated Cortex-A7: int8 at 0.5x, and fewer than any other runtime
CYCLE_WIDTHS, CYCLE_CORES = (0.5, 1.0), ("cortex-a76", "cortex-a55")
OF_BEST_OTHER = 0.6  # modelled cycles: at most this share of the best other runtime at any precision

# A step of training under quantization divided by the float step of the same kind of network.
QAT_STEP = {
    mode: Goal(f"a step of training under quantization, {mode}", limit, where=("median",))
    for mode, limit in (("fused", 1.8), ("reparam", 3.0))
}

# Seconds on two cores that do nothing else, of what the processor spends on all of them.
COMPILE_CORES = 2
COMPILE_ONE = Goal("one width for arm64", 20.0, "s", where=("processor_seconds",), per=COMPILE_CORES)
COMPILE_ALL = Goal("all eight widths for arm64", 300.0, "s", where=("processor_seconds",), per=COMPILE_CORES)

TRAINING = {
    "epoch": Goal("an epoch of our loop / of a bare loop over preloaded tensors", 1.15, where=("epoch", "ratio")),
    "evaluated": Goal("the same, with our evaluation of the held-out pictures", 1.15,
                      where=("epoch", "ratio_with_judging")),
    "step": Goal("our step / timm's network and step", 1.0, where=("step", "ratio")),
    "loader": Goal("pictures that one core decodes / that one core trains on", 1.0, at_least=True,
                   where=("derived", "loader")),
    "photographs": Goal("decoding and augmenting a photograph / timm's loader", 1.0, where=("photographs", "ratio")),
    "memory": Goal("peak memory after the last of six epochs / after the second", 1.01, where=("derived", "memory")),
}  # fmt: skip

DEMO = Goal("test top-1 of a demo run and of the bundled network", 0.5, "points apart", where=("apart",))

JETSON_DROP = drop_goal(0.3)
JETSON_BUNDLE = Goal("from the quantized network to the verified bundle", 30.0, "s", where=("processor_seconds",))


def host_goal(name: str, precision: str, variant: str) -> Goal | None:
    """Return the goal of a build on this host; None where it has none.

    Args:
        name: a width as "0.5x", or a network's name.
        precision: of the build.
        variant: its instruction set.
    """
    limit = HOST_LIMITS.get((name, f"{precision} {variant}"), HOST_LIMITS.get((name, precision)))
    what = f"{precision} against the fastest other"
    return None if limit is None else Goal(what, limit, where=RATIO, subject=name)


def web_ratio_goal(name: str, precision: str) -> Goal | None:
    """Return the goal of a build in a browser; None where it has none; arguments as for `host_goal`."""
    goal = Goal("int8 in a browser against the fastest other", WEB_RATIO, where=RATIO, subject=name)
    return goal if precision == "int8" and name in WEB_NETWORKS else None


def count_path(width: float, precision: str, cpu: str) -> Path:
    """Return where the "arm64" part of docs/performance.json has a counted inference."""
    return ("networks", {"width": width, "size": SIZE}, "counts", {"precision": precision, "cpu": cpu})


def arm64_goals(arm64: Mapping[str, Any]) -> Iterator[Goal]:
    """Yield the goals of the "arm64" part of docs/performance.json; what other builds reach limits some of them.

    Their note is what the best other runtime reaches.
    """
    for precision, cpu, width, limit, stretch in INSTRUCTIONS:
        where = (*count_path(width, precision, cpu), "whole", "total")
        best = best_other(arm64, width, cpu, precision)
        what = f"{precision} instructions on {cpu}"
        yield Goal(what, limit, "M", where=where, per=MILLION, stretch=stretch, subject=f"{width:g}x", note=best)
    yield from _matrix_goals(arm64)
    yield from _cycle_goals(arm64)
    int8 = count_path(0.5, "int8", "cortex-a76")
    yield Goal("int8 model.so, all instruction sets in it", 3.5, "MB", where=(*int8, "model_bytes"), per=MEGABYTE,
               stretch=3.0, subject="0.5x")  # fmt: skip
    yield Goal("int8 working memory", 2.5, "MB", where=(*int8, "workspace_bytes"), per=MEGABYTE, subject="0.5x")
    agreement = arm64.get("agreement")
    if agreement:
        what, percent = f"fp16 answers as float32, of {agreement['pictures']} pictures", agreement["pictures"] / 100
        where, subject = ("agreement", "agreeing"), f"{agreement['model']}, carried"
        yield Goal(what, 99.5, "%", at_least=True, where=where, per=percent, subject=subject)


def armv7_goals(armv7: Mapping[str, Any]) -> Iterator[Goal]:
    """Yield the goals of the "armv7" part of docs/performance.json; what other runtimes execute limits the second."""
    where: Path = ("counts", {"precision": "int8", "cpu": armv7["others"]["cpu"]}, "whole", "total")
    what, subject = f"int8 instructions on {armv7['others']['cpu']}", f"{armv7['width']:g}x"
    yield Goal(what, ARMV7_INSTRUCTIONS, "M", where=where, per=MILLION, subject=subject)
    best = min(armv7["others"]["results"], key=lambda it: int(it["whole"]["total"]))
    fewest = best["whole"]["total"] / MILLION
    note = f"{fewest:.2f} ({best['runtime']} {best['form']})"
    yield Goal(f"{what}, at most those of any other", fewest, "M", where=where, per=MILLION, subject=subject, note=note)


def _matrix_goals(arm64: Mapping[str, Any]) -> Iterator[Goal]:
    """Yield, for each width, the count with i8mm, which has to be below that with the dot-product alone."""
    what = "int8 instructions on max (i8mm), at most those on cortex-a76"
    for network in arm64["networks"]:
        width, total = network["width"], ("whole", "total")
        dot = find(arm64, (*count_path(width, "int8", "cortex-a76"), *total))
        where = (*count_path(width, "int8", "max"), *total)
        if network["size"] == SIZE and dot is not None:
            yield Goal(what, dot / MILLION, "M", where=where, per=MILLION, subject=f"{width:g}x")


def _cycle_goals(arm64: Mapping[str, Any]) -> Iterator[Goal]:
    for core in CYCLE_CORES:
        what = f"int8 modelled {CORES[core].label} cycles, at most {OF_BEST_OTHER:g} of the best elsewhere"
        for width in CYCLE_WIDTHS:
            figures = [row.get(f"{width:.1f}", {}) for row in arm64["rivals"]["rows"]]
            others = [figure[cycles_of(core)] for figure in figures if cycles_of(core) in figure]
            where = (*count_path(width, "int8", "cortex-a76"), "whole", "modelled_cycles", core)
            if others:
                best = best_other(arm64, width, cycles_of(core))
                limit = OF_BEST_OTHER * min(others)
                yield Goal(what, limit, "M", where=where, per=MILLION, subject=f"{width:g}x", note=best)


def cycles_of(core: str) -> str:
    """Return the key of a core's modelled cycles in a row of other runtimes; its name alone is that of its count."""
    return f"{core} cycles"


def best_other(arm64: Mapping[str, Any], width: float, figure: str, precision: str | None = None) -> str:
    """Return which other runtime executes the least, e.g. "20.4 (MNN fp16)"; first of one precision where that differs.

    Args:
        arm64: the part of docs/performance.json.
        width: of the network.
        figure: a core that is emulated, or `cycles_of` one.
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


def goals_in_one(outcomes: Iterable[Outcome]) -> str:
    """Return in one line how many goals are reached, and which are not."""
    measured = [outcome for outcome in outcomes if outcome.verdict is not Verdict.NOT_MEASURED]
    missed: dict[str, list[str]] = {}
    for outcome in (outcome for outcome in measured if not outcome.reached):
        missed.setdefault(outcome.goal.what, []).append(f"{outcome.goal.subject} by {outcome.missed_by:.2g}".strip())
    reached = sum(outcome.reached for outcome in measured)
    said = f"{reached} of {len(measured)} goals {'is' if len(measured) == 1 else 'are'} reached."
    return " ".join([said, *(f"Missed, {what}: {', '.join(names)}." for what, names in missed.items())])
