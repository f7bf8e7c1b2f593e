"""What a step of training under quantization costs, against the float step of the same network: `make qat-bench`.

All contenders take turns in rounds of one thread; a ratio is the median over the rounds' own ratios. What is counted is
the processor's time: waiting for others who use the machine is no part of it. docs/qat.json is the truth; the part of
docs/qat.md between the two markers is made from it alone.
"""

from __future__ import annotations

import copy
import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import nn

from calib.ptq.apply import quantize_graph
from calib.qat.branch_weights import BranchWeights
from calib.qat.loop import Teacher, make_optimizer, prepare_teacher, training_step
from calib.qat.network import QatNetwork
from calib.qat.settings import QatSettings, Schedule
from calib.qat.weights import FusedWeights, WeightSource
from calib.settings.config import QuantConfig
from compile.bench.statistics import paired_ratio
from compile.subject.load import load_subject
from compile.subject.request import SubjectRequest
from compile.subject.subject import FloatSubject
from repghost.errors import UsageError
from repghost.files import write_text_atomically
from repghost.graph.trace import graph_of
from repghost.network.fuse import fused

ROUNDS = 11
STEPS = 2  # of a turn
FORMAT, VERSION = "repghost-qat-bench", 1
JSON_FILE, PAGE_FILE = "qat.json", "qat.md"
BEGIN, END = "<!-- cost: written by 'make qat-bench' -->", "<!-- end of cost -->"

Turn = Callable[[], None]


@dataclass(frozen=True)
class Bar:
    """What a step may cost, relative to the float step of the same kind of network.

    Attributes:
        title: what the table calls it.
        shares: contenders and their shares of the steps.
        base: the contender it is divided by.
        limit: of the ratio.
    """

    title: str
    shares: Mapping[str, float]
    base: str
    limit: float


FLOAT_FUSED, FLOAT_BRANCHES = "float, fused network", "float, branches and batch norms"
FUSED, REPARAM = "fused", "reparam"  # with the teacher's answers, as they come
LABELS = ", labels only"
LEARN, FINAL = ", scales learn", ", scales final"


def bars(schedule: Schedule) -> tuple[Bar, ...]:
    """Return the rows of the table: the mean step of a run with this schedule, its parts, a step without a teacher."""
    share = schedule.freeze_observers
    rows = []
    for mode, base, limit in ((FUSED, FLOAT_FUSED, 1.8), (REPARAM, FLOAT_BRANCHES, 3.0)):
        rows += [
            Bar(f"{mode}, mean of a run", {mode + LEARN: share, mode + FINAL: 1 - share}, base, limit),
            Bar(f"{mode}, while scales learn", {mode + LEARN: 1.0}, base, limit),
            Bar(f"{mode}, once they are final", {mode + FINAL: 1.0}, base, limit),
            Bar(f"{mode}, while scales learn, without a teacher", {mode + LABELS: 1.0}, base, limit),
        ]
    return tuple(rows)


def measure(weights: str | None, data: Path | None, batch: int) -> dict[str, Any]:
    """Measure every contender on this machine with the threads that are set.

    Args:
        weights: a checkpoint with branches; None takes the carried one.
        data: its images; None takes the carried ones.
        batch: images per step.

    Raises:
        UsageError: when the checkpoint has no branches.
    """
    wanted = SubjectRequest(weights=weights, data=data, calibration_images=2 * batch, test_images=batch)
    subject = load_subject(wanted)
    if not isinstance(subject, FloatSubject) or subject.model.spec.form == "fused":
        raise UsageError("a checkpoint with branches is needed; give the one that the training wrote.")
    model, images = subject.model, subject.calibration.images
    inputs = torch.from_numpy(subject.preprocess.normalize(images[:batch]))
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(subject.calibration.labels[: len(inputs)])
    float_model = fused(model)
    graph, spec = quantize_graph(graph_of(float_model), images, subject.preprocess, QuantConfig())
    settings = QatSettings()
    plain = replace(settings, distillation=0.0)
    teacher = prepare_teacher(float_model, settings)

    def quantized(source: WeightSource, settings: QatSettings, final: bool = False) -> Turn:
        network = QatNetwork(graph, spec, source).train()
        optimizer = make_optimizer(network, settings)
        if final:
            network.freeze_observers()
        return _turn(network, teacher, optimizer, inputs, labels, settings)

    def floating(network: nn.Module) -> Turn:
        network = network.train().to(memory_format=torch.channels_last)
        return _turn(network, None, torch.optim.Adam(network.parameters(), 1e-6, fused=True), inputs, labels, plain)

    def branches() -> BranchWeights:
        return BranchWeights(copy.deepcopy(model), settings.statistics_momentum)

    contenders = {
        FLOAT_FUSED: floating(copy.deepcopy(float_model)),
        FLOAT_BRANCHES: floating(copy.deepcopy(model)),
        FUSED + LEARN: quantized(FusedWeights(graph), settings),
        FUSED + FINAL: quantized(FusedWeights(graph), settings, final=True),
        FUSED + LABELS: quantized(FusedWeights(graph), plain),
        REPARAM + LEARN: quantized(branches(), settings),
        REPARAM + FINAL: quantized(branches(), settings, final=True),
        REPARAM + LABELS: quantized(branches(), plain),
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "machine": {"system": platform.platform(), "threads": torch.get_num_threads(), "torch": torch.__version__},
        "network": {"name": subject.name, "size": subject.preprocess.size, "batch": len(inputs)},
        "rounds": ROUNDS,
        "steps": STEPS,
        "share_of_learning": settings.schedule.freeze_observers,
        "seconds": _in_turns(contenders),
    }


def _turn(
    network: nn.Module,
    teacher: Teacher | None,
    optimizer: torch.optim.Optimizer,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    settings: QatSettings,
) -> Turn:
    def run() -> None:
        for _ in range(STEPS):
            training_step(network, teacher, optimizer, inputs, labels, settings)

    return run


def _in_turns(contenders: dict[str, Turn]) -> dict[str, list[float]]:
    """Return the processor seconds of a step in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    random = np.random.default_rng(0)
    for number in range(ROUNDS + 1):
        for place in random.permutation(len(contenders)):
            name = list(contenders)[place]
            begun = time.process_time()
            contenders[name]()
            if number:  # the first round warms up
                seconds[name].append((time.process_time() - begun) / STEPS)
    return seconds


def render(found: dict[str, Any]) -> str:
    """Return the measurements as Markdown."""
    seconds, network, machine = found["seconds"], found["network"], found["machine"]
    lines = [
        f"A step of {network['name']} at {network['size']} px, batch {network['batch']}: forward, backward and Adam, "
        f"{machine['threads']} thread(s), processor time, median of {found['rounds']} interleaved rounds of "
        f"{found['steps']} steps. The float step is that of the same kind of network, with labels and without a "
        "teacher; a step under quantization includes the teacher's answers where nothing else is said.",
        "",
        "| step | ms | float step | ms | ratio (95 %) | bar | |",
        "|---|---|---|---|---|---|---|",
    ]
    for bar in bars(Schedule(freeze_observers=found["share_of_learning"], freeze_statistics=1.0)):
        step = np.sum([share * np.array(seconds[name]) for name, share in bar.shares.items()], axis=0)
        base = np.array(seconds[bar.base])
        ratio = paired_ratio(step, base)
        verdict = "kept" if ratio["median"] <= bar.limit else f"**missed by {ratio['median'] - bar.limit:.2f}**"
        lines.append(
            f"| {bar.title} | {1e3 * np.median(step):.0f} | {bar.base} | {1e3 * np.median(base):.0f} | "
            f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f}) | {bar.limit:g} | {verdict} |"
        )
    return "\n".join(lines)


def write(docs: Path, found: dict[str, Any]) -> None:
    """Write docs/qat.json and the part of docs/qat.md that is made from it."""
    page = docs / PAGE_FILE
    text = page.read_text() if page.is_file() else f"# Training under quantization\n\n{BEGIN}\n{END}\n"
    before, found_begin, rest = text.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not found_begin or not found_end:
        raise UsageError(f"{page} lacks the line {(END if found_begin else BEGIN)!r}, where the table belongs; add it.")
    write_text_atomically(docs / JSON_FILE, json.dumps(found, indent=1, sort_keys=True) + "\n")
    write_text_atomically(page, f"{before}{BEGIN}\n{render(found)}\n{END}{after}")


@click.command()
@click.option("--weights", help="A checkpoint with branches instead of the carried one.")
@click.option("--data", type=click.Path(path_type=Path), help="Its pictures.")
@click.option("--batch", default=64, show_default=True, type=click.IntRange(2), help="Pictures per step.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder of the two files.")
def main(weights: str | None, data: Path | None, batch: int, output: Path) -> None:
    """Measure, and write qat.json and the table in qat.md."""
    torch.set_num_threads(1)
    found = measure(weights, data, batch)
    write(output, found)
    click.echo(render(found))


if __name__ == "__main__":
    main()
