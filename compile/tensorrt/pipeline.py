"""`make compile TARGET=jetson`: from weights and images to one bundle and its report, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compile.bundle.manifest import Bundle, write_bundle
from compile.stages.own_command import own_command
from compile.stages.progress import Progress
from compile.stages.quantize import settle
from compile.storage.stage_cache import StageCache
from compile.subject.load import load_subject
from compile.subject.request import Request
from compile.subject.subject import Subject
from compile.targets.table import JETSON
from compile.tensorrt.accuracy import evaluate_contents
from compile.tensorrt.bundle_files import bundle_files, bundle_sections, metadata_of
from compile.tensorrt.contents import Contents
from compile.tensorrt.jetpack import JetPack, find_jetpack
from compile.tensorrt.network.calibrated import calibrate_network
from compile.tensorrt.network.networks import Networks, check_networks, make_networks
from compile.tensorrt.network.placement import PlacementOptions
from compile.tensorrt.report import build_report, write_report
from compile.tensorrt.samples import choose_samples, expect
from compile.tensorrt.torch.build import FILE as TORCH_FILE
from compile.tensorrt.torch.build import TORCH_TENSORRT, build_via_torch, check_way
from compile.tensorrt.verify import verify_engine_bundle
from repghost.errors import AccuracyGateError, ToolMissingError, UsageError

if TYPE_CHECKING:
    from calib.settings.config import QuantConfig
    from repghost.network.model import RepGhostNet

POLICY = "tensorrt"


def run(request: Request, say: Callable[[str], None]) -> dict[str, Any]:
    """Run every stage and return the report.

    Args:
        request: what the user asked for.
        say: is given one line per stage.

    Raises:
        UsageError: when the request, the weights or the images cannot be used.
        IntegrityError: when the written files break a rule, or two evaluations of them disagree.
        AccuracyGateError: when int8 loses more than `max_drop`; bundle and report are written all the same.
    """
    check_way(request.via)
    jetpack, options = find_jetpack(request.jetpack), PlacementOptions(request.squeeze_excite, request.depthwise)
    config = _config(request.config)
    progress, cache = Progress(say), StageCache(request.output / ".cache")
    with progress.stage("load"):
        subject = _load(request)
        size = subject.preprocess.size
        progress.note = f"{subject.name}, {subject.weights['kind']} weights, {size}x{size} px, JetPack {jetpack.name}"
    config = settle(config, subject)
    network = _fuse(subject, progress)
    networks = _calibrate(subject, network, config, jetpack, options, cache, progress)
    contents = _write(subject, networks, config, options, progress)
    with progress.stage("judge"):
        accuracy = evaluate_contents(subject, network, contents, cache)
        progress.note = _evaluated(accuracy)
    folder = request.output / subject.folder
    with progress.stage("pack"):
        bundle = write_bundle(folder / JETSON.name, bundle_files(contents), bundle_sections(contents, accuracy))
        progress.note = f"{bundle.path}, bundle {bundle.digest[:12]}"
    verification = _verify(bundle, progress)
    if request.via == TORCH_TENSORRT:
        with progress.stage("torch"):
            largest = build_via_torch(
                networks,
                subject.preprocess.normalize(contents.samples),
                contents.expected["int8"],
                folder / TORCH_FILE,
            )
            progress.note = f"{folder / TORCH_FILE}, for this machine's GPU; largest difference {largest:.2g}"
    with progress.stage("report"):
        report = write_report(folder, build_report(folder, subject, bundle, verification))
        progress.note = str(folder / f"{JETSON.name}.md")
    _gate(request, accuracy)
    return report


def _config(path: Path | None) -> QuantConfig:
    """Return the user's settings, or the policy's defaults."""
    from calib.settings.config_file import read_config

    config = read_config(path, None if path else POLICY)
    if config.policy != POLICY:
        raise UsageError(
            f"{path} has the policy {config.policy!r}, which has zero points; TensorRT takes only symmetric int8. Give "
            f"it the policy {POLICY!r}."
        )
    return config


def _load(request: Request) -> Subject:
    subject = load_subject(
        request.weights, request.data, request.width, request.size, request.calibration_images, request.test_images,
        request.seed, request.preprocess, request.model,
    )  # fmt: skip
    if subject.model is None:
        source = subject.weights["source"]
        raise UsageError(
            f"{source} is quantized already; a bundle for Jetson is made from a checkpoint, because the fp16 network "
            f"lies beside the int8 one. Check such a file with 'repghost lint {source} --for tensorrt'."
        )
    return subject


def _fuse(subject: Subject, progress: Progress) -> RepGhostNet:
    from repghost.network.fuse import fused

    assert subject.model is not None
    with progress.stage("fuse"):
        network = fused(subject.model)
        progress.note = "no batch norm left; the outputs were compared"
    return network


def _calibrate(
    subject: Subject,
    network: RepGhostNet,
    config: QuantConfig,
    jetpack: JetPack,
    options: PlacementOptions,
    cache: StageCache,
    progress: Progress,
) -> Networks:
    from repghost.graph.trace import graph_of

    done: list[int] = []
    with progress.stage("calibrate"):
        calibrated, cached = calibrate_network(subject, network, config, cache, done.append)
        observer = config.defaults.observer
        progress.note = "as in an earlier run" if cached else f"{sum(done)} pictures, symmetric, observer {observer}"
    # Equalized channels compute the same in float, and the calibration cache is about them.
    plain = calibrated.graph if config.equalize else graph_of(network)
    return make_networks(plain, calibrated, jetpack, options, subject.preprocess.size)


def _write(
    subject: Subject, networks: Networks, config: QuantConfig, options: PlacementOptions, progress: Progress
) -> Contents:
    """Write both files, check them against the rules, and compute what the samples have to give."""
    with progress.stage("write QDQ"):
        int8, fp16 = networks.int8(metadata_of(subject)), networks.fp16(metadata_of(subject))
        check_networks(int8, fp16, networks.placement, networks.jetpack)
        layers = networks.placement
        progress.note = f"{len(layers.layers)} of {len(layers.layer_names)} layers in int8, no rule broken"
    with progress.stage("expect"):
        samples = choose_samples(subject.test or subject.calibration)
        others = subject.calibration.images
        expected = {
            "int8": expect(int8, networks.int8_half(), samples, others, subject.preprocess),
            "fp16": expect(fp16, networks.fp16_half(), samples, others, subject.preprocess),
        }
        progress.note = ", ".join(f"{kind} within {values.tolerance:.3g}" for kind, values in expected.items())
    return Contents(subject, networks, int8, fp16, options, config.to_dict(), samples, expected)


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
    return {"verified": False, "reason": "no evaluator", "command": f"{own_command('repghost')} verify {bundle.path}"}


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
            "pictures or another observer (see the README, quantize)."
        )
