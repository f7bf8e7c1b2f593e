"""The whole line, one named stage after the other: from weights and pictures to bundles and a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from compile import stages
from compile.building import Build, Compilation, compile_all, link
from compile.cache import StageCache
from compile.float_program import FloatProgram, float_program
from compile.float_twin import float_twin
from compile.judge import Judgement, float_answers, judge, not_measured, reference_answers
from compile.packing import Packed, bundle_folder, manifest_sections, measure, pack, verify
from compile.precisions import FP32, INT8
from compile.progress import Progress
from compile.report import build_report, finish_report
from compile.request import Request
from compile.stored_runner import start_runners
from compile.subject import Subject, load_subject
from compile.targets import JETSON, Target, find_target, host_target
from compile.vectors import Vectors
from repghost.errors import AccuracyGateError, UsageError
from repghost.files import write_bytes_atomically

if TYPE_CHECKING:
    from calib.config import QuantConfig
    from calib.program import Program
    from compile.layout import AnyProgram
    from repghost.model import RepGhostNet

QDQ_FILE = "model.qdq.onnx"
FUSED_FILE = "model.fused.safetensors"  # the float network int8 is compared with


def run(request: Request, say: Callable[[str], None]) -> dict[str, Any]:
    """Run every stage and return the report.

    Args:
        request: what the user asked for.
        say: is given one line per stage.

    Raises:
        UsageError: when the request, the weights or the pictures cannot be used.
        IntegrityError: when two computations that have to agree do not.
        AccuracyGateError: when int8 loses more than `max_drop`; bundles and report are written all the same.
    """
    from calib.walk import graph_of
    from repghost.commands.calibration import read_config

    target = find_target(request.target)
    if target is JETSON:
        from compile.tensorrt import pipeline

        return pipeline.run(request, say)
    config = read_config(request.config, None)
    if config.policy != "cpu":
        raise UsageError(f"policy {config.policy!r} is not for {target.name}; a CPU needs the policy 'cpu'.")
    progress, cache = Progress(say), StageCache(request.output / ".cache")
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
        folder = request.output / subject.folder
        progress.note = _loaded(subject)
    for precision in request.precisions:
        target.check_element(precision.name, precision.element)
    if subject.model is None and any(not precision.exact for precision in request.precisions if precision is not FP32):
        raise UsageError(f"{subject.weights['source']} is quantized: it can be compiled with PRECISION=int8,fp32 only.")
    rows = tuple(dict.fromkeys([target, (host_target() if request.host else None) or target]))
    runners = start_runners(rows)
    config = stages.settle(config, subject)
    network = _fuse(subject, folder, progress)
    program = _quantize(subject, network, config, folder, cache, progress)
    programs: dict[str, AnyProgram] = {INT8.name: program}
    if network is not None:
        for precision in (FP32, *(it for it in request.precisions if not it.exact)):
            programs[precision.name] = float_program(graph_of(network), subject.preprocess, precision.element)
    elif FP32 in request.precisions:
        programs[FP32.name] = float_twin(program, subject.preprocess)
    vectors = _expect(subject, network, request, programs, folder, cache, progress)
    builds = _build(request, rows, subject, programs, runners, cache, progress)
    with progress.stage("judge"):
        judgement = _judge(subject, network, programs, builds, vectors, cache)
        progress.note = _judged(judgement)
    error = _layer_error(subject, network, program, config, cache, progress)
    packed = []
    for build in builds:
        place = bundle_folder(request, build)
        sections = manifest_sections(build, subject, config, judgement)
        bundle = pack(folder / place, build, subject.labels, vectors[build.precision.name], sections, progress)
        packed.append(Packed(place, build, bundle))
    packed = [measure(request, verify(request, item, progress), progress) for item in packed]
    with progress.stage("report"):
        report = finish_report(
            folder, build_report(request, subject, config, programs, judgement, packed, folder, error)
        )
        progress.note = str(folder / "report.md")
    _gate(request, judgement)
    return report


def _loaded(subject: Subject) -> str:
    test = f"{len(subject.test.labels)} to judge by" if subject.test else f"accuracy not measured: {subject.unmeasured}"
    size, calibration = subject.preprocess.size, f"{len(subject.calibration.labels)} pictures to calibrate with, "
    return (
        f"{subject.name}, {subject.weights['kind']} weights, {size}x{size} px, "
        f"{calibration if subject.qdq is None else ''}{test}"
    )


def _fuse(subject: Subject, folder: Path, progress: Progress) -> RepGhostNet | None:
    """Return the fused network, which is kept in the run's folder; None for a file that is already quantized."""
    if subject.model is None:
        return None
    from calib.pipeline import fused

    with progress.stage("fuse"):
        network = fused(subject.model)
        stages.write_fused(folder / FUSED_FILE, network, subject)
        progress.note = "no batch norm left; the outputs were compared"
    return network


def _quantize(
    subject: Subject,
    network: RepGhostNet | None,
    config: QuantConfig,
    folder: Path,
    cache: StageCache,
    progress: Progress,
) -> Program:
    """Write the quantized file and return its integer program."""
    if network is None:
        content = subject.qdq or b""
    else:
        done: list[int] = []
        with progress.stage("calibrate"):
            content, cached = stages.quantize(subject, network, config, cache, done.append)
            observer = config.defaults.observer
            progress.note = "as in an earlier run" if cached else f"{sum(done)} pictures, observer {observer}"
    with progress.stage("write QDQ"):
        write_bytes_atomically(folder / QDQ_FILE, content)
        progress.note = f"{folder / QDQ_FILE}, {len(content) / 1e6:.2f} MB"
    with progress.stage("lower"):
        program = stages.read_program(folder / QDQ_FILE, subject.preprocess)
        progress.note = f"{len(program.operators)} integer operators, program {program.digest[:12]}"
    return program


def _layer_error(
    subject: Subject,
    network: RepGhostNet | None,
    program: Program,
    config: QuantConfig,
    cache: StageCache,
    progress: Progress,
) -> dict[str, Any] | None:
    """Return the error of each integer layer; None for a file that has no float form to compare with."""
    if network is None:
        return None
    with progress.stage("error"):
        found = stages.layer_error(subject, network, program, config, cache)
        worst = min(found["decibels"], key=found["decibels"].__getitem__)
        progress.note = f"signal to quantization noise at least {found['decibels'][worst]:.1f} dB, at {worst}"
    return found


def _expect(
    subject: Subject,
    network: RepGhostNet | None,
    request: Request,
    programs: Mapping[str, AnyProgram],
    folder: Path,
    cache: StageCache,
    progress: Progress,
) -> dict[str, Vectors]:
    """Return the recorded pictures and expected logits of each precision."""
    with progress.stage("expect"):
        pictures = stages.choose_vectors(subject)
        reference, cached = stages.expect(folder / QDQ_FILE, subject.preprocess, pictures, cache)
        found = {INT8.name: reference}
        for precision in request.precisions:
            if not precision.exact:
                program = programs[precision.name]
                found[precision.name] = stages.expect_float(network, program, subject, pictures, precision)
        progress.note = f"{len(pictures.labels)} pictures, {INT8.oracle}" + (", as in an earlier run" if cached else "")
    return found


def _build(
    request: Request,
    rows: Sequence[Target],
    subject: Subject,
    programs: Mapping[str, AnyProgram],
    runners: Mapping[str, Future[bytes]],
    cache: StageCache,
    progress: Progress,
) -> list[Build]:
    """Compile and link the target, and this machine too: it measures latency and judges the integer program."""
    wanted = [
        Compilation(programs[precision.name], row, precision)
        for row in rows
        for precision in request.precisions
        if row.variants_for(precision.element)
    ]
    with progress.stage("compile"):
        networks, effort = compile_all(wanted, cache, request.jobs, progress.say)
        count = sum(len(network.variants) for network in networks)
        progress.note = f"{count} instruction sets, {effort}"
    with progress.stage("link"), ThreadPoolExecutor(request.jobs) as pool:
        made_by = [runners[item.target.name] for item in wanted]
        builds = list(pool.map(partial(link, cache=cache), networks, wanted, repeat(subject), made_by))
        sizes = [f"{b.target.name} {b.precision.name} {len(b.model) / 1e6:.2f} MB" for b in builds]
        progress.note = "model.so: " + ", ".join(sizes)
    return builds


def _judge(
    subject: Subject,
    network: RepGhostNet | None,
    programs: Mapping[str, AnyProgram],
    builds: list[Build],
    vectors: dict[str, Vectors],
    cache: StageCache,
) -> Judgement:
    if subject.test is None:
        return not_measured(subject.unmeasured)
    host = {build.precision.name: build.model for build in builds if build.target is host_target()}
    before = None if network is None else float_answers(network, subject, subject.test, cache)
    references = {
        build.precision.name: reference_answers(program, subject.test, cache)
        for build in builds
        if build.precision.name not in host
        and isinstance(program := programs[build.precision.name], FloatProgram)
        and program.element != FP32.element  # float32 is judged by PyTorch
    }
    program = cast("Program", programs[INT8.name])
    return judge(subject, subject.test, before, program, host, vectors[INT8.name], references)


def _judged(judgement: Judgement) -> str:
    record = judgement.record
    if not record["measured"]:
        return f"accuracy not measured: {record['reason']}"
    fp32 = f"fp32 {record['fp32']['top1']:.2%}, " if record["fp32"] else ""
    return f"top-1 {fp32}int8 {record['int8']['top1']:.2%} of {record['int8']['pictures']}"


def _gate(request: Request, judgement: Judgement) -> None:
    """Raise when int8 loses more accuracy than was allowed."""
    if request.max_drop is None:
        return
    drop = judgement.drop_points
    if drop is None:
        raise AccuracyGateError(f"a drop of at most {request.max_drop:g} points was asked for, but none was measured.")
    if drop > request.max_drop:
        raise AccuracyGateError(
            f"int8 loses {drop:.2f} points of top-1; at most {request.max_drop:g} were allowed. Try more calibration "
            "pictures or another observer (see the README, quantize)."
        )
