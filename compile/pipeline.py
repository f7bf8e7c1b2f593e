"""The whole line, one named stage after the other: from weights and pictures to bundles and a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compile import stages
from compile.bundle import Bundle, write_bundle
from compile.cache import StageCache, versions
from compile.emulator import fetch_emulator
from compile.judge import Judgement, float_answers, judge, not_measured
from compile.measure import measure_latency
from compile.precisions import INT8, Precision
from compile.report import build_report, finish_report
from compile.subject import Subject, load_subject
from compile.targets import ARM64, Target, find_target, host_target
from compile.toolchain import RUNNER_SOURCES
from compile.vectors import Vectors, pack_vectors
from compile.verify import verify_bundle
from repghost.errors import AccuracyGateError, RepGhostError, ToolMissingError, UsageError
from repghost.files import write_bytes_atomically

if TYPE_CHECKING:
    from calib.config import QuantConfig
    from calib.program import Program

QDQ_FILE = "model.qdq.onnx"


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    target: str  # a name of `compile.targets`, or "host"
    precisions: tuple[Precision, ...]
    weights: str | None = None  # a file, "timm", "random"; None: the carried ones
    data: Path | None = None  # a set of pictures; None: the carried one
    width: str | None = None
    size: int | None = None  # pixels
    output: Path = Path("build")
    config: Path | None = None  # quantization settings
    preprocess: Path | None = None  # JSON, for weights that do not say how pictures are prepared
    calibration_images: int = 512
    test_images: int | None = None  # None: all
    threads: int = 1  # of the measured inference
    seed: int = 0
    max_drop: float | None = None  # percentage points of top-1 that int8 may lose
    fetch: bool = True  # whether an absent emulator may be fetched


@dataclass(frozen=True)
class Packed:
    """A bundle on disk and what was proven and measured about it."""

    folder: str  # relative to the run's folder
    build: stages.Build
    bundle: Bundle
    verification: dict[str, Any] = field(default_factory=dict)
    latency: dict[str, Any] = field(default_factory=dict)


class Progress:
    """One line per stage: its name, what it did, how long it took."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.note = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; what was put into `note` stands on its line."""
        started, self.note = time.monotonic(), ""
        yield
        self.say(f"{name:<10} {time.monotonic() - started:6.1f} s   {self.note}".rstrip())


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
    from calib.pipeline import fused
    from repghost.commands.quantize import read_config

    target = find_target(request.target)
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
        )
        folder = request.output / subject.folder
        progress.note = _loaded(subject)
    with progress.stage("fuse"):
        network = fused(subject.model)
        progress.note = "no batch norm left; the outputs were compared"
    program = _quantize(subject, network, config, folder, cache, progress)
    vectors = _expect(subject, network, request, folder, cache, progress)
    builds = _build(request, target, subject, program, cache, progress)
    with progress.stage("judge"):
        judgement = _judge(subject, network, program, builds, vectors, cache)
        progress.note = _judged(judgement)
    packed = [_pack(request, build, subject, folder, program, judgement, vectors, progress) for build in builds]
    packed = [_verify(request, item, folder, progress) for item in packed]
    packed = [_measure(request, item, folder, progress) for item in packed]
    with progress.stage("report"):
        report = finish_report(folder, build_report(request, subject, config, program, judgement, packed, folder))
        progress.note = str(folder / "report.md")
    _gate(request, judgement)
    return report


def _loaded(subject: Subject) -> str:
    test = f"{len(subject.test.labels)} to judge by" if subject.test else f"accuracy not measured: {subject.unmeasured}"
    size = subject.preprocess.size
    return (
        f"{subject.spec.name}, {subject.weights['kind']} weights, {size}x{size} px, "
        f"{len(subject.calibration.labels)} pictures to calibrate with, {test}"
    )


def _quantize(
    subject: Subject, network: Any, config: QuantConfig, folder: Path, cache: StageCache, progress: Progress
) -> Program:
    done = 0

    def count(pictures: int) -> None:
        nonlocal done
        done += pictures

    with progress.stage("calibrate"):
        content, cached = stages.quantize(subject, network, config, cache, count)
        progress.note = "as in an earlier run" if cached else f"{done} pictures, observer {config.defaults.observer}"
    with progress.stage("write QDQ"):
        write_bytes_atomically(folder / QDQ_FILE, content)
        progress.note = f"{folder / QDQ_FILE}, {len(content) / 1e6:.2f} MB"
    with progress.stage("lower"):
        program = stages.read_program(folder / QDQ_FILE)
        progress.note = f"{len(program.operators)} integer operators, program {program.digest[:12]}"
    return program


def _expect(
    subject: Subject, network: Any, request: Request, folder: Path, cache: StageCache, progress: Progress
) -> dict[str, Vectors]:
    """Return the recorded pictures and expected logits of each precision."""
    with progress.stage("expect"):
        pictures = stages.choose_vectors(subject)
        reference, cached = stages.expect(folder / QDQ_FILE, pictures, cache)
        found = {INT8.name: reference}
        for precision in request.precisions:
            if not precision.exact:
                found[precision.name] = stages.expect_float(network, subject, pictures, precision)
        progress.note = f"{len(pictures.labels)} pictures, {INT8.oracle}" + (", as in an earlier run" if cached else "")
    return found


def _build(
    request: Request, target: Target, subject: Subject, program: Program, cache: StageCache, progress: Progress
) -> list[stages.Build]:
    """Compile and link the target, and this machine too: it measures latency and judges the integer program."""
    host = host_target()
    builds = []
    for row in dict.fromkeys([target, host or target]):
        for precision in request.precisions:
            with progress.stage("compile"):
                network, cached = stages.compile_network(program, row, precision, cache)
                names = ", ".join(variant.name for variant in network.variants)
                progress.note = f"{row.name} {precision.name}: {names}" + (", as in an earlier run" if cached else "")
            with progress.stage("link"):
                info = stages.model_info(subject, program, row, precision)
                builds.append(stages.link(network, row, precision, info, cache))
                progress.note = f"{row.name} {precision.name}: model.so {len(builds[-1].model) / 1e6:.2f} MB"
    return builds


def _judge(
    subject: Subject,
    network: Any,
    program: Program,
    builds: list[stages.Build],
    vectors: dict[str, Vectors],
    cache: StageCache,
) -> Judgement:
    if subject.test is None:
        return not_measured(subject.unmeasured)
    host = host_target()
    model = next((build.model for build in builds if build.target is host and build.precision is INT8), None)
    before = float_answers(network, subject, subject.test, cache)
    return judge(subject, subject.test, before, program, model, vectors[INT8.name])


def _judged(judgement: Judgement) -> str:
    record = judgement.record
    if not record["measured"]:
        return f"accuracy not measured: {record['reason']}"
    return f"top-1 fp32 {record['fp32']['top1']:.2%}, int8 {record['int8']['top1']:.2%} of {record['fp32']['pictures']}"


def _pack(
    request: Request,
    build: stages.Build,
    subject: Subject,
    folder: Path,
    program: Program,
    judgement: Judgement,
    vectors: dict[str, Vectors],
    progress: Progress,
) -> Packed:
    name = f"{_target_folder(request, build.target)}/{build.precision.name}"
    with progress.stage("pack"):
        files = {
            "model.so": build.model,
            "repghost-run": build.runner,
            "repghost.h": (RUNNER_SOURCES / "repghost.h").read_bytes(),
            "labels.txt": "".join(f"{' '.join(label.split())}\n" for label in subject.labels).encode(),
            "vectors.bin": pack_vectors(vectors[build.precision.name]),
        }
        info = stages.model_info(subject, program, build.target, build.precision)
        sections = {
            "abi": info["abi"],
            "model": {**subject.spec.to_dict(), "name": subject.spec.name, "weights": dict(subject.weights)},
            "target": {"name": build.target.name, "triple": build.target.triple},
            "precision": build.precision.name,
            "program_digest": program.digest,
            "input": info["input"],
            "classes": program.classes,
            "preprocess": subject.preprocess.to_dict(),
            "quantization": {"policy": "cpu"} if build.precision is INT8 else {},
            "variants": list(build.variants),
            "accuracy": dict(judgement.record),
            "tools": versions(*stages.TOOLS),
        }
        bundle = write_bundle(folder / name, files, sections)
        progress.note = f"{folder / name}, bundle {bundle.digest[:12]}"
    return Packed(name, build, bundle)


def _target_folder(request: Request, target: Target) -> str:
    """Return the folder of a target's bundles: the name the user wrote, and "host" for this machine's own."""
    return request.target if find_target(request.target) is target else "host"


def _verify(request: Request, item: Packed, folder: Path, progress: Progress) -> Packed:
    path = folder / item.folder
    with progress.stage("verify"):
        try:
            emulator = None
            if item.build.target is ARM64 and host_target() is not ARM64 and request.fetch:
                emulator = fetch_emulator(request.output / "tools")
            result = verify_bundle(path, emulator=emulator)
            record = {"verified": True, **result.to_dict()}
            progress.note = f"{item.folder}: " + ", ".join(
                f"{replay.variant} {replay.pictures} pictures on {replay.machine}" for replay in result.replays
            )
        except ToolMissingError as error:
            record = {"verified": False, "reason": str(error), "command": f"repghost verify {path}"}
            progress.note = f"{item.folder}: not verified: {error}"
    return Packed(item.folder, item.build, item.bundle, record, item.latency)


def _measure(request: Request, item: Packed, folder: Path, progress: Progress) -> Packed:
    path = folder / item.folder
    with progress.stage("measure"):
        try:
            latency = measure_latency(path, threads=request.threads)
            record = {"measured": True, **latency.to_dict()}
            progress.note = f"{item.folder}: median {latency.median_ms:.3g} ms, variant {latency.variant}"
        except RepGhostError as error:
            command = f"scp -r {path} DEVICE: && ssh DEVICE {item.build.precision.name}/repghost-run --bench"
            record = {"measured": False, "reason": str(error), "command": command}
            progress.note = f"{item.folder}: latency not measured, no {item.build.target.name} device"
    return Packed(item.folder, item.build, item.bundle, item.verification, record)


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
