"""The whole pipeline, one named stage after the other: from weights and images to bundles and a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calib.settings.config_file import read_config
from compile.bundle.vectors import Vectors
from compile.link.stored_runner import start_runners
from compile.machine.facts import cpu_flags
from compile.report.run_report import QDQ_FILE, RunResult, build_report, finish_report
from compile.stages.compile_networks import Build, Compilation, compile_all, link
from compile.stages.evaluate import Evaluation, HostBuilds, evaluate
from compile.stages.expect import choose_vectors, expect, expect_float
from compile.stages.layer_error import layer_error
from compile.stages.pack import Packed, bundle_folder, manifest_sections, measure, pack, verify
from compile.stages.programs import Programs, make_programs
from compile.stages.progress import Progress
from compile.stages.quantize import quantize, read_program, settle, write_float
from compile.storage.stage_cache import StageCache
from compile.subject.load import load_subject
from compile.subject.request import Request
from compile.subject.run_folder import MADE_OF, folder_of, hold_folder, made_of
from compile.subject.subject import FloatSubject, ImportedSubject, QuantizedSubject, RepGhostSubject, Subject
from compile.targets.precisions import FP32, INT8
from compile.targets.table import JETSON, Target, find_target, host_target
from compile.tensorrt import pipeline
from repghost.errors import AccuracyGateError, UsageError
from repghost.files import write_bytes_atomically
from repghost.sizes import sides_text

if TYPE_CHECKING:
    from calib.integer.program import Program
    from calib.settings.config import QuantConfig


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
        return folder_of(self.request, self.subject)


def run(request: Request, say: Callable[[str], None], given: Subject | None = None) -> dict[str, Any]:
    """Run every stage and return the report.

    Args:
        request: what the user asked for.
        say: is given one line per stage.
        given: a network and images that are opened already, instead of those of the request.

    Raises:
        UsageError: when the request, the weights or the images cannot be used.
        IntegrityError: when two computations that have to agree do not.
        AccuracyGateError: when int8 loses more than `max_drop`; bundles and report are written all the same.
    """
    target = find_target(request.target)
    if target is JETSON:
        return pipeline.run(request, say, given)
    this = _load(request, target, say, given)
    with hold_folder(request, this.subject, say):
        return _make(this, target)


def _make(this: _Run, target: Target) -> dict[str, Any]:
    """Run the stages after the first."""
    request = this.request
    rows = tuple(dict.fromkeys([target, (host_target() if request.host else None) or target]))
    runners = start_runners(rows)
    _fuse(this)
    program = _quantize(this)
    programs = make_programs(this.subject, program, request.precisions)
    vectors = _expect(this, programs)
    builds = _build(this, rows, programs, runners)
    evaluation = _evaluate(this, programs, builds, vectors[INT8.name])
    error = _layer_error(this, program)
    packed = [_pack(this, build, evaluation, vectors[build.precision.name]) for build in builds]
    packed = [measure(request, item, this.progress) for item in verify(request, packed, this.cache, this.progress)]
    report = _report(this, programs, evaluation, packed, error)
    _gate(request, evaluation)
    return report


def _load(request: Request, target: Target, say: Callable[[str], None], given: Subject | None) -> _Run:
    """Return weights, images and settings, checked against what the target can do."""
    config = read_config(request.config, None)
    if config.policy != "cpu":
        raise UsageError(f"policy {config.policy!r} is not for {target.name}; a CPU needs the policy 'cpu'.")
    progress = Progress(say)
    with progress.stage("load"):
        subject = given or load_subject(request)
        progress.note = _loaded(subject)
    for note in subject.notes:
        say(f"note: {note}")
    for precision in request.precisions:
        target.check_element(precision.name, precision.element)
    inexact = [precision for precision in request.precisions if not precision.exact and precision is not FP32]
    if isinstance(subject, QuantizedSubject) and inexact:
        raise UsageError(f"{subject.weights['source']} is quantized: it can be compiled in int8 and fp32 only.")
    return _Run(request, subject, settle(config, subject), StageCache(request.output / ".cache"), progress)


def _loaded(subject: Subject) -> str:
    size, facts = sides_text(subject.preprocess.size), []
    if isinstance(subject, FloatSubject):
        facts.append(f"{len(subject.calibration.labels)} pictures to calibrate with")
    unmeasured = f"accuracy not measured: {subject.unmeasured}"
    facts.append(f"{len(subject.test.labels)} to evaluate on" if subject.test else unmeasured)
    return f"{subject.name}, {subject.weights['kind']} weights, {size} px, {', '.join(facts)}"


def _fuse(this: _Run) -> None:
    """Fuse a network in float, and keep the result in the run's folder."""
    if isinstance(this.subject, FloatSubject):
        with this.progress.stage("fuse"):
            write_float(this.folder, this.subject)
            this.progress.note = _fused(this.subject)


def _fused(subject: FloatSubject) -> str:
    if isinstance(subject, RepGhostSubject):
        return "no batch norm left; the outputs were compared"
    return f"{len(subject.graph.operators)} operators, batch norms folded"


def _quantize(this: _Run) -> Program:
    """Write the quantized file and return its integer program."""
    progress, path = this.progress, this.folder / QDQ_FILE
    match this.subject:
        case QuantizedSubject(qdq=content) | ImportedSubject(qdq=bytes() as content):
            pass
        case FloatSubject() as subject:
            content = _calibrate(this, subject)
    with progress.stage("write QDQ"):
        write_bytes_atomically(path, content)
        progress.note = f"{path}, {len(content) / 1e6:.2f} MB"
    with progress.stage("lower"):
        program = read_program(path, this.subject.preprocess)
        progress.note = f"{len(program.operators)} integer operators, program {program.digest[:12]}"
    return program


def _calibrate(this: _Run, subject: FloatSubject) -> bytes:
    """Return the QDQ file of a network in float."""
    done: list[int] = []
    with this.progress.stage("calibrate"):
        content, cached = quantize(subject, this.config, this.cache, done.append)
        this.progress.note = "as in an earlier run" if cached else f"{sum(done)} pictures"
    return content


def _expect(this: _Run, programs: Programs) -> dict[str, Vectors]:
    """Return the recorded images and expected logits of each precision."""
    subject, progress = this.subject, this.progress
    with progress.stage("expect"):
        images = choose_vectors(subject)
        reference, cached = expect(this.folder / QDQ_FILE, subject.preprocess, images, this.cache)
        found = {INT8.name: reference}
        for precision in this.request.precisions:
            if not precision.exact:
                found[precision.name] = expect_float(programs.floats[precision.name], subject, images, precision)
        progress.note = f"{len(images.labels)} pictures, {INT8.oracle}" + (", as in an earlier run" if cached else "")
    return found


def _build(this: _Run, rows: Sequence[Target], programs: Programs, runners: Mapping[str, Future[bytes]]) -> list[Build]:
    """Compile and link the target, and this machine too: it measures latency and evaluates the integer program.

    What was not asked for runs nowhere else, so it gets the one instruction set that this machine uses.
    """
    progress, jobs, by_precision = this.progress, this.request.jobs, programs.all()
    wanted = [
        Compilation(by_precision[precision.name], row, precision, frozenset() if row is rows[0] else cpu_flags())
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


def _evaluate(this: _Run, programs: Programs, builds: Sequence[Build], expected: Vectors) -> Evaluation:
    """Return the accuracy of float32, of the integer program and of each build on the test images."""
    host = {build.precision.name: build.model for build in builds if build.target is host_target()}
    with this.progress.stage("judge"):
        evaluation = evaluate(this.subject, programs, HostBuilds(host, expected), this.cache)
        this.progress.note = _evaluated(evaluation)
    return evaluation


def _evaluated(evaluation: Evaluation) -> str:
    record = evaluation.record
    if not record["measured"]:
        return f"accuracy not measured: {record['reason']}"
    fp32 = f"fp32 {record['fp32']['top1']:.2%}, " if record["fp32"] else ""
    return f"top-1 {fp32}int8 {record['int8']['top1']:.2%} of {record['int8']['pictures']}"


def _layer_error(this: _Run, program: Program) -> dict[str, Any] | None:
    """Return the error of each integer layer; None for a file that has no float form to compare with."""
    if not isinstance(this.subject, FloatSubject):
        return None
    with this.progress.stage("error"):
        found = layer_error(this.subject, program, this.config, this.cache)
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
    programs: Programs,
    evaluation: Evaluation,
    packed: Sequence[Packed],
    error: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Write the report, as JSON and as a page."""
    with this.progress.stage("report"):
        result = RunResult(
            subject=this.subject,
            config=this.config,
            programs=programs.all(),
            evaluation=evaluation,
            packed=packed,
            folder=this.folder,
            layer_error=error,
            data=this.request.data,
        )
        made = {**build_report(result), MADE_OF: made_of(this.request, this.subject)}
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
            "pictures or another observer (see docs/quantization.md)."
        )
