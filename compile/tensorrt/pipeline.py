"""`make compile TARGET=jetson`: from weights and images to one bundle and its report, stage by stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calib.importer.walk import plain_name
from calib.settings.config_file import read_config
from compile.bundle.manifest import Bundle, write_bundle
from compile.stages.own_command import own_command
from compile.stages.progress import Progress
from compile.stages.quantize import settle
from compile.storage.stage_cache import StageCache
from compile.subject.load import load_subject
from compile.subject.request import Request
from compile.subject.run_folder import MADE_OF, folder_of, hold_folder, made_of
from compile.subject.subject import FloatSubject, ImportedSubject, QuantizedSubject, RepGhostSubject, Subject
from compile.targets.table import JETSON
from compile.tensorrt.accuracy import evaluate_int8
from compile.tensorrt.bundle_files import bundle_files, bundle_sections, metadata_of
from compile.tensorrt.jetpack import JetPack, find_jetpack
from compile.tensorrt.jetson_build import JetsonBuild
from compile.tensorrt.network.calibrated import calibrate_network
from compile.tensorrt.network.from_file import read_quantized
from compile.tensorrt.network.networks import Networks, check_networks, make_networks
from compile.tensorrt.network.placement import PlacementOptions
from compile.tensorrt.network.writer import FileForm
from compile.tensorrt.report import build_report, write_report
from compile.tensorrt.samples import choose_samples, expect
from compile.tensorrt.torch.build import FILE as TORCH_FILE
from compile.tensorrt.torch.build import TORCH_TENSORRT, build_via_torch, check_builder
from compile.tensorrt.verify import verify_engine_bundle
from repghost.errors import AccuracyGateError, ToolMissingError, UsageError, option
from repghost.exporters.onnx_writer import RESULT
from repghost.graph.operators import Graph
from repghost.sizes import sides_text
from repghost.terminal import shell_command

if TYPE_CHECKING:
    from calib.settings.config import QuantConfig

POLICY = "tensorrt"


@dataclass(frozen=True, eq=False)
class _Run:
    """What every stage of a run may look at."""

    subject: Subject
    config: QuantConfig
    jetpack: JetPack
    options: PlacementOptions
    cache: StageCache
    progress: Progress


def run(request: Request, say: Callable[[str], None], given: Subject | None = None) -> dict[str, Any]:
    """Run every stage and return the report.

    Args:
        request: what the user asked for.
        say: is given one line per stage.
        given: a network and images that are opened already, instead of those of the request.

    Raises:
        UsageError: when the request, the weights or the images cannot be used.
        IntegrityError: when the written files break a rule, or two evaluations of them disagree.
        AccuracyGateError: when int8 loses more than `max_drop`; bundle and report are written all the same.
    """
    this = _load(request, say, given)
    with hold_folder(request, this.subject, say):
        return _make(request, this)


def _make(request: Request, this: _Run) -> dict[str, Any]:
    """Run the stages after the first."""
    subject, progress, folder = this.subject, this.progress, folder_of(request, this.subject)
    networks = _networks(this)
    build = _write(this, networks)
    with progress.stage("judge"):
        accuracy = evaluate_int8(build, this.cache)
        progress.note = _evaluated(accuracy)
    with progress.stage("pack"):
        bundle = write_bundle(folder / JETSON.name, bundle_files(build), bundle_sections(build, accuracy))
        progress.note = f"{bundle.path}, bundle {bundle.digest[:12]}"
    verification = _verify(bundle, progress)
    if request.via == TORCH_TENSORRT:
        _build_here(build, folder / TORCH_FILE, progress)
    with progress.stage("report"):
        made = build_report(folder, subject, bundle, build.calibration, verification)
        report = write_report(folder, {**made, MADE_OF: made_of(request, subject)})
        progress.note = str(folder / f"{JETSON.name}.md")
    _gate(request, accuracy)
    return report


def _load(request: Request, say: Callable[[str], None], given: Subject | None) -> _Run:
    """Return weights, images and settings, checked against what the board's JetPack can do."""
    check_builder(request.via)
    jetpack, options = find_jetpack(request.jetpack), PlacementOptions(request.squeeze_excite, request.depthwise)
    config = _config(request.config)
    progress, cache = Progress(say), StageCache(request.output / ".cache")
    with progress.stage("load"):
        subject = _fitting(given or load_subject(request), request)
        size = sides_text(subject.preprocess.size)
        progress.note = f"{subject.name}, {subject.weights['kind']} weights, {size} px, JetPack {jetpack.name}"
    for note in subject.notes:
        say(f"note: {note}")
    return _Run(subject, settle(config, subject), jetpack, options, cache, progress)


def _config(path: Path | QuantConfig | None) -> QuantConfig:
    """Return the user's settings, or the policy's defaults."""
    config = read_config(path, None if path else POLICY)
    if config.policy != POLICY:
        source = path if isinstance(path, Path) else "the config"
        raise UsageError(
            f"{source} has the policy {config.policy!r}, which has zero points; TensorRT takes only symmetric int8. "
            f"Give it the policy {POLICY!r}."
        )
    return config


def _fitting(subject: Subject, request: Request) -> Subject:
    """Return the subject; a file that is quantized already, with scores of classes, has no fp16 form to compare with.

    Raises:
        UsageError: for such a file, and for several results where torch-tensorrt is asked for.
    """
    match subject:
        case QuantizedSubject(results=results) | ImportedSubject(imported=Graph(results=results)):
            several = bool(results)
        case _:
            several = False
    if several and request.via == TORCH_TENSORRT:
        raise UsageError(
            f"{subject.name} gives several results, which {option('via', TORCH_TENSORRT)} does not take; leave it out."
        )
    if not several and not isinstance(subject, FloatSubject):
        source = subject.weights["source"]
        command = shell_command("repghost", "lint", source, "--for", "tensorrt")
        raise UsageError(
            f"{source} is quantized already; a bundle for Jetson is made from a checkpoint, because the fp16 network "
            f"lies beside the int8 one. Check such a file: {command}"
        )
    return subject


def _networks(this: _Run) -> Networks:
    """Return the network with its scales and int8 layers, as int8 and as fp16 files are written from it."""
    match this.subject:
        case QuantizedSubject() as subject:
            return _as_quantized(this, subject)
        case FloatSubject() as subject:
            return _calibrate(this, subject, _fuse(this, subject))


def _as_quantized(this: _Run, subject: QuantizedSubject) -> Networks:
    """Return the network of a quantized file, by its own scales."""
    with this.progress.stage("read"):
        found = read_quantized(subject.qdq)
        this.progress.note = f"{len(found.results)} results; scales of the file, symmetric"
    graph, size = found.calibrated.graph, subject.preprocess.size
    names = tuple(map(plain_name, found.results))
    return make_networks(graph, found.calibrated, this.jetpack, this.options, size, subject.name, names)


def _fuse(this: _Run, subject: FloatSubject) -> Graph:
    """Return the graph of the fused network."""
    with this.progress.stage("fuse"):
        graph = subject.graph
        this.progress.note = "no batch norm left; the outputs were compared"
    return graph


def _calibrate(this: _Run, subject: FloatSubject, graph: Graph) -> Networks:
    """Return the network with scales that the calibration images choose."""
    config, progress = this.config, this.progress
    done: list[int] = []
    with progress.stage("calibrate"):
        calibrated, cached = calibrate_network(graph, subject, config, this.cache, done.append)
        progress.note = "as in an earlier run" if cached else f"{sum(done)} pictures, symmetric"
    # Equalized channels compute the same in float, and the calibration cache is about them.
    plain = calibrated.graph if config.equalize else graph
    name = FileForm.name if isinstance(subject, RepGhostSubject) else subject.name
    results = tuple(f"{tensor}{RESULT}" for tensor in graph.results)
    return make_networks(plain, calibrated, this.jetpack, this.options, subject.preprocess.size, name, results)


def _write(this: _Run, networks: Networks) -> JetsonBuild:
    """Return both files, checked against the rules, and the logits they have to give for the samples."""
    subject, progress = this.subject, this.progress
    with progress.stage("write QDQ"):
        int8, fp16 = networks.int8(metadata_of(subject)), networks.fp16(metadata_of(subject))
        check_networks(int8, fp16, networks.placement, networks.jetpack)
        layers = networks.placement
        progress.note = f"{len(layers.layers)} of {len(layers.layer_names)} layers in int8, no rule broken"
    with progress.stage("expect"):
        numbers = sum(math.prod(shape) for shape in networks.result_shapes())
        samples = choose_samples(subject.test or subject.calibration, numbers)
        others = subject.calibration.images
        expected = {
            "int8": expect(int8, networks.int8_half(), samples, others, subject.preprocess),
            "fp16": expect(fp16, networks.fp16_half(), samples, others, subject.preprocess),
        }
        progress.note = ", ".join(f"{kind} within {values.tolerance:.3g}" for kind, values in expected.items())
    config, calibration = _calibration(this)
    return JetsonBuild(
        subject=subject,
        networks=networks,
        int8=int8,
        fp16=fp16,
        options=this.options,
        config=config,
        calibration=calibration,
        samples=samples,
        expected=expected,
    )


def _calibration(this: _Run) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return how the network was calibrated and with which images; of a quantized file what it says of itself."""
    match this.subject:
        case QuantizedSubject(quantization=said):
            return said["config"], said["calibration"]
        case subject:
            found = subject.calibration
            return this.config.to_dict(), {"pictures": len(found.labels), **found.origin}


def _build_here(build: JetsonBuild, path: Path, progress: Progress) -> None:
    """Build the int8 network with torch-tensorrt for this machine's GPU, besides the bundle."""
    inputs = build.subject.preprocess.normalize(build.samples)
    with progress.stage("torch"):
        largest = build_via_torch(build.networks, inputs, build.expected["int8"], path)
        progress.note = f"{path}, for this machine's GPU; largest difference {largest:.2g}"


def _evaluated(record: dict[str, Any]) -> str:
    if not record["measured"]:
        return f"accuracy not measured: {record['reason']}"
    return f"top-1 fp32 {record['fp32']['top1']:.2%}, int8 {record['int8']['top1']:.2%} of {record['int8']['pictures']}"


def _verify(bundle: Bundle, progress: Progress) -> dict[str, Any]:
    with progress.stage("verify"):
        with suppress(ToolMissingError):
            result = verify_engine_bundle(bundle)
            progress.note = ", ".join(f"{it.variant} {it.pictures} samples by {it.machine}" for it in result.replays)
            return {"verified": True, **result.to_dict()}
        progress.note = "not verified"
    return {
        "verified": False,
        "reason": "no evaluator",
        "command": shell_command(own_command("repghost"), "verify", bundle.path),
    }


def _gate(request: Request, accuracy: dict[str, Any]) -> None:
    if request.max_drop is None:
        return
    if not accuracy["measured"]:
        raise AccuracyGateError(
            f"a drop of at most {request.max_drop:g} points was asked for, but none was measured: {accuracy['reason']}."
        )
    drop = -100.0 * float(accuracy["change"]["difference"])
    if drop > request.max_drop:
        raise AccuracyGateError(
            f"int8 loses {drop:.2f} points of top-1; at most {request.max_drop:g} were allowed. Try more calibration "
            "pictures or another observer (see docs/quantization.md)."
        )
