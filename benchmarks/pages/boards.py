"""docs/boards-model.md, made from docs/boards-model.json alone, and the fit of every board."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.board_fits import INT8, FitErrors, Row, Run, evaluate_runs, family, fitted_families
from compile.cycles.boards import BOARDS
from compile.cycles.cores import CORES, Core
from repghost.tables import make_table, markdown_lines

HEAD = """# Modelled cycles beside published milliseconds

How far an estimate of a board can be trusted. The networks of ncnn's own benchmark were counted in its arm64 wheels
under emulation, every executed block was priced by LLVM {llvm}'s scheduling model of the core (`llvm-mca`), and the
result held against the milliseconds that ncnn's authors and users published. `python -m benchmarks.boards_model` wrote
this page from docs/boards-model.json on {date}. A `scale` near 1 says that the model's cycles are the real ones.

- published: {published}
- counted by: {emulator}

    milliseconds = scale x modelled cycles / clock + far x lines in no cache

`scale` is the processor's, `far` the run's; neither is below 0. They are fitted on every second family of networks by
name and judged on the others. Lines are of 64 bytes, those that a fully associative cache of the board's size lacks,
counted exactly. A board is estimated by its run that the fitted half tells best, with the range of the largest errors
of that run on all networks.

Fitted: {fitted}. Held out: {held_out}.

Nobody published which program was run. Several were counted: ncnn's newest wheel, that of February 2023, whose int8
convolutions are other code, and the newest with int8 code that has no dot product, as older compilers build it. For
each run the one is taken that the fitted half tells best; the held-out half has no say.

{verdict}
"""
RUN_HEADS = (
    "board", "processor", "ncnn", "#scale", "#far, ns", "#networks", "#held-out error, median",
    "#largest", "#rank correlation", "int8 or float first",
)  # fmt: skip
PLAIN = "cortex-a72"  # the emulated core whose code every core runs
LIMIT = 0.25  # of the median held-out error
GOAL_PROCESSORS = ("Cortex-A53", "Cortex-A55", "Cortex-A72", "Cortex-A76")


@dataclass(frozen=True)
class Program:
    """What a published run may have been: a version of ncnn, and whether its int8 code has the dot product.

    Nobody says what was built. With compilers that do not know the instruction, ncnn leaves its kernels for it out.
    """

    version: str
    dot_product: bool = True

    def __str__(self) -> str:
        return self.version if self.dot_product else f"{self.version}, int8 without dot product"


def evaluated_runs(value: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Program, FitErrors]]:
    """Return every published run, the program it is compared with, and the errors of its fit.

    Of several programs the one with the least error on the fitted half is taken; the other half is not looked at.
    """
    choices: dict[int, dict[Program, Run]] = defaultdict(dict)
    fitted = fitted_families(value["networks"])
    versions = dict.fromkeys(version for counts in value["networks"].values() for version in counts)
    plain = {version for counts in value["networks"].values() for version, codes in counts.items() if PLAIN in codes}
    programs = [
        *map(Program, versions),
        *(Program(version, dot_product=False) for version in versions if version in plain),
    ]
    for index, run in enumerate(value["runs"]):
        core = CORES[BOARDS[run["board"]].core]
        for program in programs:
            rows = tuple(_rows(value, run, program, core, fitted))
            if rows and (program.dot_product or PLAIN not in core.code):
                choices[index][program] = Run(f"{index}", BOARDS[run["board"]], rows)
    chosen = {index: _better(runs) for index, runs in choices.items()}
    evaluated = evaluate_runs([choices[index][program] for index, program in chosen.items()])
    by_name = {it.run.name: it for it in evaluated}
    return [(value["runs"][index], program, by_name[f"{index}"]) for index, program in chosen.items()]


def _rows(
    value: Mapping[str, Any], run: Mapping[str, Any], program: Program, core: Core, fitted: frozenset[str]
) -> list[Row]:
    rows = []
    for network, counts in value["networks"].items():
        codes = core.code if program.dot_product or not network.endswith(INT8) else (PLAIN,)
        found = [counts[program.version][code] for code in codes if code in counts.get(program.version, {})]
        if found and network in run["min_ms"]:
            misses = {int(size): lines for size, lines in found[0]["lines_missed"].items()}
            cycles = found[0]["modelled_cycles"][core.name]
            rows.append(Row(network, run["min_ms"][network], cycles, misses, family(network) in fitted))
    return rows


def _better(runs: Mapping[Program, Run]) -> Program:
    """Return the program whose fitted networks are predicted best when the run is fitted by itself."""

    def squares(program: Program) -> float:
        (evaluated,) = evaluate_runs([runs[program]])
        return float(np.mean([evaluated.errors[row.network] ** 2 for row in evaluated.run.rows if row.fitted]))

    return min(runs, key=squares)


def fitted_boards(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fit of every board: of several runs the one with the least error on the networks it was fitted on."""
    best: dict[str, tuple[float, FitErrors]] = {}
    for run, _, evaluated in evaluated_runs(value):
        error = float(np.mean([abs(evaluated.errors[row.network]) for row in evaluated.run.rows if row.fitted]))
        if run["board"] not in best or error < best[run["board"]][0]:
            best[run["board"]] = error, evaluated
    return {name: asdict(evaluated.fit) for name, (_, evaluated) in sorted(best.items())}


def render_boards(value: Mapping[str, Any]) -> str:
    """Return the page."""
    evaluated = evaluated_runs(value)
    families = sorted({family(name) for name in value["networks"]})
    fitted = fitted_families(families)
    head = HEAD.format(
        emulator=value["emulator"], llvm=value["llvm"], published=value["published"], date=value["date"],
        fitted=", ".join(name for name in families if name in fitted),
        held_out=", ".join(name for name in families if name not in fitted), verdict=_summary(evaluated),
    )  # fmt: skip
    rows = [_run_row(run, program, it) for run, program, it in evaluated]
    lines = [head, "## Every published run", "", *markdown_lines(make_table(RUN_HEADS, rows))]
    lines += ["", "## Every network", "", "Estimate against published time; * was not seen by the fit.", ""]
    return "\n".join([*lines, *_network_lines(evaluated), ""])


def _summary(evaluated: list[tuple[Mapping[str, Any], Program, FitErrors]]) -> str:
    """Return what the page says in words: errors by processor, and orders of int8 and float."""
    words = []
    for processor in GOAL_PROCESSORS:
        medians = [float(np.median(it.held_out())) for _, _, it in evaluated if it.run.board.processor == processor]
        if medians:
            reached = "within" if max(medians) <= LIMIT else "**not within**"
            words.append(f"{processor} {min(medians):.0%} to {max(medians):.0%}, {reached} {LIMIT:.0%}")
    orders = sum(it.orders for _, _, it in evaluated)
    wrong = [f"{it.run.board.label} {network}" for _, _, it in evaluated for network in it.wrong_orders]
    said = (
        f"Median errors of held-out networks: {'; '.join(words)}. Of {orders} published times of an int8 network that "
    )
    said += "differ from its float time by more than a tenth, "
    return said + (
        f"{orders - len(wrong)} are ordered alike; not: {', '.join(wrong)}." if wrong else "all are ordered alike."
    )


def _run_row(run: Mapping[str, Any], program: Program, it: FitErrors) -> tuple[str, ...]:
    held_out = it.held_out()
    alike = it.orders - len(it.wrong_orders)
    return (
        it.run.board.label, it.run.board.processor, str(program), f"{it.fit.scale:.2f}",
        f"{it.fit.far_ns:.1f}", str(len(it.run.rows)), f"{np.median(held_out):.1%}", f"{held_out.max():.1%}",
        f"{it.rank_correlation():.3f}", f"{alike} of {it.orders} alike" if it.orders else "-",
    )  # fmt: skip


def _network_lines(evaluated: list[tuple[Mapping[str, Any], Program, FitErrors]]) -> list[str]:
    heads = ("network", *(f"#{it.run.board.label}, line {run['line']}" for run, _, it in evaluated))
    names = sorted({row.network for _, _, it in evaluated for row in it.run.rows})
    held_out = {row.network for _, _, it in evaluated for row in it.run.rows if not row.fitted}
    rows = [
        (
            f"{name}{'*' * (name in held_out)}",
            *(f"{it.errors[name]:+.0%}" if name in it.errors else "-" for _, _, it in evaluated),
        )
        for name in names
    ]
    return markdown_lines(make_table(heads, rows))
