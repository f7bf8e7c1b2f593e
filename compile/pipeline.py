"""The whole line, one named stage after the other: from weights and images to bundles and a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from compile.bundle.vectors import Vectors
from compile.ir.float_from_integer import float_form
from compile.ir.float_program import FloatProgram, float_program
from compile.link.stored_runner import start_runners
from compile.report.run_report import build_report, finish_report
from compile.stages.compile_networks import Build, Compilation, compile_all, link
from compile.stages.evaluate import Evaluation, evaluate, float_predictions, not_measured, reference_predictions
from compile.stages.expect import choose_vectors, expect, expect_float
from compile.stages.layer_error import layer_error
from compile.stages.pack import Packed, bundle_folder, manifest_sections, measure, pack, verify
from compile.stages.progress import Progress
from compile.stages.quantize import quantize, read_program, settle, write_fused
from compile.storage.stage_cache import StageCache
from compile.subject.load import load_subject
from compile.subject.request import Request
from compile.subject.subject import Subject
from compile.targets.precisions import FP32, INT8
from compile.targets.table import JETSON, Target, find_target, host_target
from repghost.errors import AccuracyGateError, UsageError
from repghost.files import write_bytes_atomically

if TYPE_CHECKING:
    from calib.integer.program import Program
    from calib.settings.config import QuantConfig
    from compile.ir.memory_plan import AnyProgram
    from repghost.network.model import RepGhostNet

QDQ_FILE = "model.qdq.onnx"
FUSED_FILE = "model.fused.safetensors"  # the float network int8 is compared with


@dataclass(frozen=True, eq=False)
class _Run:
    """What every stage of a run may look at."""

    request: Request
    subject: Subject
    config: QuantConfig
    cache: StageCache
    progress: Progress

    @property
    def folder(self) -> Path:
        """Where the run's files go."""
        return self.request.output / self.subject.folder


def run(request: Request, say: Callable[[str], None]) -> dict[str, Any]:
    """Run every stage and return the report.

    Args:
        request: what the user asked for.
        say: is given one line per stage.

    Raises:
        UsageError: when the request, the weights or the images cannot be used.
        IntegrityError: when two computations that have to agree do not.
        AccuracyGateError: when int8 loses more than `max_drop`; bundles and report are written all the same.
    """
    target = find_target(request.target)
    if target is JETSON:
        from compile.tensorrt import pipeline

        return pipeline.run(request, say)
    this = _load(request, target, say)
    rows = tuple(dict.fromkeys([target, (host_target() if request.host else None) or target]))
    runners = start_runners(rows)
    network = _fuse(this)
    program = _quantize(this, network)
    programs = _programs(this, network, program)
    vectors = _expect(this, network, programs)
    builds = _build(this, rows, programs, runners)
    evaluation = _evaluate(this, network, programs, builds, vectors)
    error = _layer_error(this, network, program)
    packed = [_pack(this, build, evaluation, vectors[build.precision.name]) for build in builds]
    packed = [measure(request, verify(request, item, this.progress), this.progress) for item in packed]
    report = _report(this, programs, evaluation, packed, error)
    _gate(request, evaluation)
    return report


def _load(request: Request, target: Target, say: Callable[[str], None]) -> _Run:
    """Return weights, images and settings, checked against what the target can do."""
    from calib.settings.config_file import read_config

    config = read_config(request.config, None)
    if config.policy != "cpu":
        raise UsageError(f"policy {config.policy!r} is not for {target.name}; a CPU needs the policy 'cpu'.")
    progress = Progress(say)
    with progress.stage("load"):
        subject = load_subject(
            request.weights,
            request.data,
            request.width,
            request.size,
            request.calibration_images,
            request.test_images,
            request.seed,
            request.preprocess,
            request.model,
        )
        progress.note = _loaded(subject)
    for precision in request.precisions:
        target.check_element(precision.name, precision.element)
    if subject.model is None and any(not precision.exact for precision in request.precisions if precision is not FP32):
        raise UsageError(f"{subject.weights['source']} is quantized: it can be compiled with PRECISION=int8,fp32 only.")
    return _Run(request, subject, settle(config, subject), StageCache(request.output / ".cache"), progress)


def _loaded(subject: Subject) -> str:
    test = f"{len(subject.test.labels)} to judge by" if subject.test else f"accuracy not measured: {subject.unmeasured}"
    size, calibration = subject.preprocess.size, f"{len(subject.calibration.labels)} pictures to calibrate with, "
    return (
        f"{subject.name}, {subject.weights['kind']} weights, {size}x{size} px, "
        f"{calibration if subject.qdq is None else ''}{test}"
    )


def _fuse(this: _Run) -> RepGhostNet | None:
    """Return the fused network, which is kept in the run's folder; None for a file that is already quantized."""
    if this.subject.model is None:
        return None
    from repghost.network.fuse import fused

    with this.progress.stage("fuse"):
        network = fused(this.subject.model)
        write_fused(this.folder / FUSED_FILE, network, this.subject)
        this.progress.note = "no batch norm left; the outputs were compared"
    return network


def _quantize(this: _Run, network: RepGhostNet | None) -> Program:
    """Write the quantized file and return its integer program."""
    progress, path = this.progress, this.folder / QDQ_FILE
    if network is None:
        content = this.subject.qdq or b""
    else:
        done: list[int] = []
        with progress.stage("calibrate"):
            content, cached = quantize(this.subject, network, this.config, this.cache, done.append)
            observer = this.config.defaults.observer
            progress.note = "as in an earlier run" if cached else f"{sum(done)} pictures, observer {observer}"
    with progress.stage("write QDQ"):
        write_bytes_atomically(path, content)
        progress.note = f"{path}, {len(content) / 1e6:.2f} MB"
    with progress.stage("lower"):
        program = read_program(path, this.subject.preprocess)
        progress.note = f"{len(program.operators)} integer operators, program {program.digest[:12]}"
    return program


def _programs(this: _Run, network: RepGhostNet | None, program: Program) -> dict[str, AnyProgram]:
    """Return the program of each precision: the integer one, float32 to compare it with, and what was asked for."""
    from repghost.graph.trace import graph_of

    programs: dict[str, AnyProgram] = {INT8.name: program}
    preprocess, precisions = this.subject.preprocess, this.request.precisions
    if network is not None:
        for precision in (FP32, *(it for it in precisions if not it.exact)):
            programs[precision.name] = float_program(graph_of(network), preprocess, precision.element)
    elif FP32 in precisions:
        programs[FP32.name] = float_form(program, preprocess)
    return programs


def _expect(this: _Run, network: RepGhostNet | None, programs: Mapping[str, AnyProgram]) -> dict[str, Vectors]:
    """Return the recorded images and expected logits of each precision."""
    subject, progress = this.subject, this.progress
    with progress.stage("expect"):
        images = choose_vectors(subject)
        reference, cached = expect(this.folder / QDQ_FILE, subject.preprocess, images, this.cache)
        found = {INT8.name: reference}
        for precision in this.request.precisions:
            if not precision.exact:
                program = programs[precision.name]
                found[precision.name] = expect_float(network, program, subject, images, precision)
        progress.note = f"{len(images.labels)} pictures, {INT8.oracle}" + (", as in an earlier run" if cached else "")
    return found


def _build(
    this: _Run, rows: Sequence[Target], programs: Mapping[str, AnyProgram], runners: Mapping[str, Future[bytes]]
) -> list[Build]:
    """Compile and link the target, and this machine too: it measures latency and evaluates the integer program."""
    progress, jobs = this.progress, this.request.jobs
    wanted = [
        Compilation(programs[precision.name], row, precision)
        for row in rows
        for precision in this.request.precisions
        if row.variants_for(precision.element)
    ]
    with progress.stage("compile"):
        networks, effort = compile_all(wanted, this.cache, jobs, progress.say)
        count = sum(len(network.variants) for network in networks)
        progress.note = f"{count} instruction sets, {effort}"
    with progress.stage("link"), ThreadPoolExecutor(jobs) as pool:
        made_by = [runners[item.target.name] for item in wanted]
        builds = list(pool.map(partial(link, cache=this.cache), networks, wanted, repeat(this.subject), made_by))
        sizes = [f"{b.target.name} {b.precision.name} {len(b.model) / 1e6:.2f} MB" for b in builds]
        progress.note = "model.so: " + ", ".join(sizes)
    return builds


def _evaluate(
    this: _Run,
    network: RepGhostNet | None,
    programs: Mapping[str, AnyProgram],
    builds: Sequence[Build],
    vectors: Mapping[str, Vectors],
) -> Evaluation:
    """Return what the labelled images say of float32, of the integer program and of each build."""
    subject, host = this.subject, {it.precision.name: it.model for it in builds if it.target is host_target()}
    with this.progress.stage("judge"):
        if subject.test is None:
            evaluation = not_measured(subject.unmeasured)
        else:
            before = None if network is None else float_predictions(network, subject, subject.test, this.cache)
            references = {
                build.precision.name: reference_predictions(program, subject.test, this.cache)
                for build in builds
                if build.precision.name not in host
                and isinstance(program := programs[build.precision.name], FloatProgram)
                and program.element != FP32.element  # float32 is evaluated by PyTorch
            }
            integers = cast("Program", programs[INT8.name])
            evaluation = evaluate(subject, subject.test, before, integers, host, vectors[INT8.name], references)
        this.progress.note = _evaluated(evaluation)
    return evaluation


def _evaluated(evaluation: Evaluation) -> str:
    record = evaluation.record
    if not record["measured"]:
        return f"accuracy not measured: {record['reason']}"
    fp32 = f"fp32 {record['fp32']['top1']:.2%}, " if record["fp32"] else ""
    return f"top-1 {fp32}int8 {record['int8']['top1']:.2%} of {record['int8']['pictures']}"


def _layer_error(this: _Run, network: RepGhostNet | None, program: Program) -> dict[str, Any] | None:
    """Return the error of each integer layer; None for a file that has no float form to compare with."""
    if network is None:
        return None
    with this.progress.stage("error"):
        found = layer_error(this.subject, network, program, this.config, this.cache)
        worst = min(found["decibels"], key=found["decibels"].__getitem__)
        this.progress.note = f"signal to quantization noise at least {found['decibels'][worst]:.1f} dB, at {worst}"
    return found


def _pack(this: _Run, build: Build, evaluation: Evaluation, vectors: Vectors) -> Packed:
    """Write the bundle of a build."""
    place = bundle_folder(this.request, build)
    sections = manifest_sections(build, this.subject, this.config, evaluation)
    return Packed(place, build, pack(this.folder / place, build, this.subject.labels, vectors, sections, this.progress))


def _report(
    this: _Run,
    programs: Mapping[str, AnyProgram],
    evaluation: Evaluation,
    packed: Sequence[Packed],
    error: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Write the report, as JSON and as a page."""
    with this.progress.stage("report"):
        made = build_report(this.request, this.subject, this.config, programs, evaluation, packed, this.folder, error)
        report = finish_report(this.folder, made)
        this.progress.note = str(this.folder / "report.md")
    return report


def _gate(request: Request, evaluation: Evaluation) -> None:
    """Raise when int8 loses more accuracy than was allowed."""
    if request.max_drop is None:
        return
    drop = evaluation.drop_points
    if drop is None:
        raise AccuracyGateError(f"a drop of at most {request.max_drop:g} points was asked for, but none was measured.")
    if drop > request.max_drop:
        raise AccuracyGateError(
            f"int8 loses {drop:.2f} points of top-1; at most {request.max_drop:g} were allowed. Try more calibration "
            "pictures or another observer (see the README, quantize)."
        )
