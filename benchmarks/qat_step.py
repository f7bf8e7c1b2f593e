"""What a step of training under quantization costs, against the float step of the same network: `make qat-bench`.

All steps take turns on one thread; a ratio is the median over the rounds' own ratios. The part of docs/qat.md between
the two markers is made from docs/qat.json alone.
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import nn

from benchmarks.shared.command import run_command
from benchmarks.shared.documents import Markers, write_json
from benchmarks.shared.goals import QAT_STEP
from benchmarks.shared.turns import Step, take_turns
from calib.ptq.apply import quantize_graph
from calib.qat.branch_weights import BranchWeights
from calib.qat.loop import make_optimizer, training_step
from calib.qat.network import QatNetwork
from calib.qat.settings import QatSettings, Schedule
from calib.qat.weights import FusedWeights, WeightSource
from calib.settings.config import QuantConfig
from compile.bench.statistics import paired_ratio
from compile.subject.load import load_subject
from compile.subject.request import SubjectRequest
from compile.subject.subject import RepGhostSubject
from repghost.errors import UsageError
from repghost.files import write_text_atomically
from repghost.goals import Goal, evaluate
from repghost.graph.trace import graph_of
from repghost.network.fuse import fused
from repghost.tables import make_table, markdown_lines
from repghost.training.losses import as_teacher

ROUNDS = 11
STEPS = 2  # of a turn
FORMAT, VERSION = "repghost-qat-bench", 1
JSON_FILE, PAGE_FILE = "qat.json", "qat.md"
MARKERS = Markers("<!-- cost: written by 'make qat-bench' -->", "<!-- end of cost -->", "the table belongs")


@dataclass(frozen=True)
class CostRow:
    """What a step costs relative to the float step of the same kind of network.

    Attributes:
        title: what the table calls it.
        shares: measured steps and their shares of the row's.
        base: the float step it is divided by.
        goal: for the ratio.
    """

    title: str
    shares: Mapping[str, float]
    base: str
    goal: Goal


FLOAT_FUSED, FLOAT_BRANCHES = "float, fused network", "float, branches and batch norms"
FUSED, REPARAM = "fused", "reparam"  # including the teacher's predictions
LABELS = ", labels only"
LEARN, FINAL = ", scales learn", ", scales final"


def cost_rows(schedule: Schedule) -> Iterator[CostRow]:
    """Yield the rows of the table: the mean step of a run with this schedule, its parts, a step without a teacher."""
    share = schedule.freeze_observers
    for mode, base in ((FUSED, FLOAT_FUSED), (REPARAM, FLOAT_BRANCHES)):
        parts: dict[str, dict[str, float]] = {
            "mean of a run": {mode + LEARN: share, mode + FINAL: 1 - share},
            "while scales learn": {mode + LEARN: 1.0},
            "once they are final": {mode + FINAL: 1.0},
            "while scales learn, without a teacher": {mode + LABELS: 1.0},
        }
        for title, shares in parts.items():
            yield CostRow(f"{mode}, {title}", shares, base, QAT_STEP[mode])


def measure(weights: str | None, data: Path | None, batch: int) -> dict[str, Any]:
    """Measure every step on this machine with the threads that are set.

    Args:
        weights: a checkpoint with branches; None: the bundled one.
        data: its images; None: the bundled ones.
        batch: images per step.

    Raises:
        UsageError: when the checkpoint has no branches.
    """
    wanted = SubjectRequest(weights=weights, data=data, calibration_images=2 * batch, test_images=batch)
    subject = load_subject(wanted)
    if not isinstance(subject, RepGhostSubject) or subject.model.spec.form == "fused":
        raise UsageError("a checkpoint with branches is needed; give the one that the training wrote.")
    settings = QatSettings()
    return {
        "format": FORMAT,
        "version": VERSION,
        "machine": {"system": platform.platform(), "threads": torch.get_num_threads(), "torch": torch.__version__},
        "network": {
            "name": subject.name,
            "size": subject.preprocess.size,
            "batch": len(subject.calibration.images[:batch]),
        },
        "rounds": ROUNDS,
        "steps": STEPS,
        "share_of_learning": settings.schedule.freeze_observers,
        "seconds": take_turns(training_steps(subject, batch, settings), ROUNDS, STEPS),
    }


def training_steps(subject: RepGhostSubject, batch: int, settings: QatSettings) -> dict[str, Step]:
    """Return the float steps and those under quantization, by name, each with a network and an optimizer of its own.

    Args:
        subject: a network with branches and its images; twice as many calibrate as train.
        batch: images per step.
        settings: of the training with a teacher; without one the loss is that of the labels alone.
    """
    model, images = subject.model, subject.calibration.images
    inputs = torch.from_numpy(subject.preprocess.normalize(images[:batch]))
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(subject.calibration.labels[: len(inputs)])
    float_model = fused(model)
    graph, spec = quantize_graph(graph_of(float_model), images, subject.preprocess, QuantConfig())
    plain = replace(settings, distillation=0.0)
    teacher = as_teacher(float_model, torch.device("cpu"))

    def quantized(source: WeightSource, settings: QatSettings, final: bool = False) -> Step:
        network = QatNetwork(graph, spec, source).train()
        optimizer = make_optimizer(network, settings)
        if final:
            network.freeze_observers()
        return partial(training_step, network, teacher, optimizer, inputs, labels, settings)

    def floating(network: nn.Module) -> Step:
        network = network.train().to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(network.parameters(), 1e-6, fused=True)
        return partial(training_step, network, None, optimizer, inputs, labels, plain)

    def branches() -> BranchWeights:
        return BranchWeights(copy.deepcopy(model), settings.statistics_momentum)

    return {
        FLOAT_FUSED: floating(copy.deepcopy(float_model)),
        FLOAT_BRANCHES: floating(copy.deepcopy(model)),
        FUSED + LEARN: quantized(FusedWeights(graph), settings),
        FUSED + FINAL: quantized(FusedWeights(graph), settings, final=True),
        FUSED + LABELS: quantized(FusedWeights(graph), plain),
        REPARAM + LEARN: quantized(branches(), settings),
        REPARAM + FINAL: quantized(branches(), settings, final=True),
        REPARAM + LABELS: quantized(branches(), plain),
    }


def render_cost(found: dict[str, Any]) -> str:
    """Return the measurements as Markdown."""
    network, machine = found["network"], found["machine"]
    about = (
        f"A step of {network['name']} at {network['size']} px, batch {network['batch']}: forward, backward and Adam, "
        f"{machine['threads']} thread(s), processor time, median of {found['rounds']} interleaved rounds of "
        f"{found['steps']} steps. The float step is that of the same kind of network, with labels and without a "
        "teacher; a step under quantization includes the teacher's answers where nothing else is said."
    )
    schedule = Schedule(freeze_observers=found["share_of_learning"], freeze_statistics=1.0)
    rows = [_cells(row, found["seconds"]) for row in cost_rows(schedule)]
    heads = ("step", "ms", "float step", "ms", "ratio (95 %)", "bar", "")
    return "\n".join(markdown_lines(make_table(heads, rows, about=about)))


def _cells(row: CostRow, seconds: Mapping[str, list[float]]) -> tuple[str, ...]:
    step = np.sum([share * np.array(seconds[name]) for name, share in row.shares.items()], axis=0)
    base = np.array(seconds[row.base])
    ratio = paired_ratio(step, base)
    outcome = evaluate(row.goal, ratio)
    return (
        row.title,
        f"{1e3 * np.median(step):.0f}",
        row.base,
        f"{1e3 * np.median(base):.0f}",
        f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
        f"{row.goal.limit:g}",
        "kept" if outcome.reached else f"**missed by {outcome.missed_by:.2f}**",
    )


def write(docs: Path, found: dict[str, Any]) -> None:
    """Write docs/qat.json and the part of docs/qat.md that is made from it."""
    page, empty = docs / PAGE_FILE, MARKERS.empty("Training under quantization")
    text = MARKERS.replace(page.read_text() if page.is_file() else empty, render_cost(found), str(page))
    write_json(docs / JSON_FILE, found)
    write_text_atomically(page, text)


@click.command("qat_step")
@click.option("--weights", help="A checkpoint with branches instead of the carried one.")
@click.option("--data", type=click.Path(path_type=Path), help="Its pictures.")
@click.option("--batch", default=64, show_default=True, type=click.IntRange(2), help="Pictures per step.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder of the two files.")
def command(weights: str | None, data: Path | None, batch: int, output: Path) -> None:
    """Measure, and write qat.json and the table in qat.md."""
    torch.set_num_threads(1)
    found = measure(weights, data, batch)
    write(output, found)
    click.echo(render_cost(found))


if __name__ == "__main__":
    run_command(command)
