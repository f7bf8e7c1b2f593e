"""The report of a run: report.json is the truth, report.md is made from it alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calib.settings.describe import CALIBRATED
from compile.bundle.manifest import MANIFEST
from compile.report.boards import carry_over
from compile.report.card import render_card
from compile.report.gives import model_facts
from compile.report.run_page import render_report
from compile.stages.own_command import own_command
from compile.stages.pack import TOOLS, quantization_config
from compile.storage.files import sha256
from compile.storage.formats import REPORT
from compile.storage.stage_cache import versions
from compile.storage.strict_json import canonical_json, read_strict
from compile.storage.typed_json import check_types
from compile.subject.subject import QuantizedSubject
from compile.targets.precisions import INT8
from compile.targets.table import host_target
from repghost.data.base import count_repeated
from repghost.data.formats.find_images import first_image
from repghost.errors import IntegrityError, UsageError, command
from repghost.files import write_bytes_atomically, write_text_atomically
from repghost.terminal import shell_command
from repghost.untrusted import file_digest, parse_json

if TYPE_CHECKING:
    from calib.settings.config import QuantConfig
    from compile.ir.memory_plan import AnyProgram
    from compile.stages.evaluate import Evaluation
    from compile.stages.pack import Packed
    from compile.subject.subject import Subject

JSON_FILE, PAGE_FILE, QDQ_FILE = "report.json", "report.md", "model.qdq.onnx"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What one run was about and what it made."""

    subject: Subject
    config: QuantConfig
    programs: Mapping[str, AnyProgram]  # by precision
    evaluation: Evaluation
    packed: Sequence[Packed]  # one for each bundle
    folder: Path
    layer_error: Mapping[str, Any] | None  # from `compile.stages.layer_error`
    data: Path | None = None  # the set of images that was given


def build_report(run: RunResult) -> dict[str, Any]:
    """Return the report of one run as JSON values; what was not measured says so, with the command that would."""
    subject, program, calibration = run.subject, run.programs[INT8.name], run.subject.calibration
    used = {"pictures": len(calibration.labels), "sha256": sha256(calibration.images.tobytes()), **calibration.origin}
    if repeated := count_repeated(calibration.images):
        used["repeated"] = repeated
    return {
        "format": REPORT[0],
        "version": REPORT[1],
        "folder": str(run.folder),
        "model": model_facts(
            subject.name, subject.labels, run.packed[0].build.info.get("outputs", ()), subject.detection is not None
        ),
        "weights": dict(subject.weights),
        "preprocess": subject.preprocess.to_dict(),
        "quantization": {
            "config": quantization_config(subject, run.config),
            **_recorded_choices(run.folder / QDQ_FILE),
            "program_digest": program.digest,
            "operators": len(program.operators),
            "calibration": dict(subject.quantization["calibration"]) if isinstance(subject, QuantizedSubject) else used,
            "sqnr": run.layer_error,
        },
        "programs": {name: program.digest for name, program in run.programs.items()},
        "accuracy": dict(run.evaluation.record),
        **({"notes": list(subject.notes)} if subject.notes else {}),
        "builds": [_build_entry(item) for item in run.packed],
        "next": _next_commands(run.packed, run.folder, run.data),
        "tools": versions(*TOOLS),
    }


def _recorded_choices(qdq: Path) -> dict[str, Any]:
    """Return what a QDQ file of ours says of its scales beside its config, see `describe_observers`; else {}.

    Args:
        qdq: a file that was read already, so that it is sound; its metadata may still be anybody's.
    """
    import onnx

    from calib.qdq.writer import QUANTIZATION

    metadata = {entry.key: entry.value for entry in onnx.load(qdq, load_external_data=False).metadata_props}
    try:
        quantization = parse_json(metadata.get(QUANTIZATION, "{}"), str(qdq))
    except UsageError:
        return {}
    if not isinstance(quantization, dict):
        return {}
    observers, training = quantization.get("observers"), quantization.get("training")
    found: dict[str, Any] = {}
    if isinstance(observers, dict):
        found["observers"] = {tensor: str(observer)[:40] for tensor, observer in observers.items()}
    if isinstance(training, dict) and training.get("chosen") not in (None, CALIBRATED):
        found["trained"] = str(training["chosen"])[:40]
    return found


def _build_entry(item: Packed) -> dict[str, Any]:
    files = {name: entry["size"] for name, entry in item.bundle.manifest["files"].items()}
    return {
        "folder": item.folder,
        "target": item.build.target.name,
        "precision": item.build.precision.name,
        "exact": item.build.precision.exact,
        "variants": item.build.info["variants"],
        "bundle_digest": item.bundle.digest,
        "program_digest": item.bundle.manifest["program_digest"],
        "sizes": {
            "files": files,
            "weights": item.build.weight_bytes,
            "bundle": sum(files.values()),
            "workspace": item.build.info["workspace_bytes"],
        },
        "layers": item.build.layers,
        "steps": len(item.build.kernels),
        "verification": item.verification,
        "latency": item.latency,
    }


def _next_commands(packed: Sequence[Packed], folder: Path, data: Path | None) -> list[dict[str, str]]:
    """Return what is useful after a run: a command and what it does."""
    first = packed[0]
    path, repghost, found = folder / first.folder, own_command("repghost"), dict[str, str]()
    several = "outputs" in first.bundle.manifest
    if several:
        found |= _detects(packed, folder)
    elif any(item.build.target is host_target() for item in packed):
        picture = (None if data is None else first_image(data)) or "PICTURE.jpg"
        found[shell_command(repghost, "predict", folder, picture)] = "try it on this machine"
    if "bench" in first.latency.get("command", ""):  # what can be measured on a board
        found[shell_command(repghost, "deploy", folder, "USER@BOARD")] = "prove it on a board and switch to it"
    found[shell_command(repghost, "verify", path)] = "replay the recorded pictures again"
    if not first.latency.get("measured"):
        found[first.latency["command"]] = "measure the latency on a device"
    for item in packed:
        if item.build.target.form.started_by:
            runner = folder / item.folder / item.build.target.form.runner
            found[shell_command(item.build.target.form.started_by, runner, "--bench")] = "measure the latency again"
        elif item.latency.get("measured") and not several:
            code = f"import repghost; print(repghost.load({json.dumps(str(folder / item.folder))}).labels)"
            found[shell_command(own_command("python"), "-c", code)] = "use the network from Python"
            break
    found[shell_command(repghost, "explain", folder / QDQ_FILE)] = "see what each layer costs"
    return [{"command": command, "does": purpose} for command, purpose in found.items()]


def _detects(packed: Sequence[Packed], folder: Path) -> dict[str, str]:
    """Return the command that shows a detector's boxes on this machine; none where it has no bundle of one."""
    for item in packed:
        if item.build.target is host_target() and "detection" in item.bundle.manifest:
            runner = folder / item.folder / item.build.target.form.runner
            return {shell_command(runner, "--detect", "PICTURE.jpg"): "find the objects of a picture"}
    return {}


def finish_report(folder: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Write report.json, report.md and a model card for each bundle, and return what was written.

    Builds of an earlier run for another target are kept as long as their bundle lies there unchanged and belongs to
    the same program.
    """
    if (folder / JSON_FILE).is_file():
        with suppress(IntegrityError):  # a damaged report is replaced by this one
            carry_over(report["builds"], read_report(folder)["builds"])
    report = {**report, "builds": [*report["builds"], *_earlier_builds(folder, report)]}
    write_bytes_atomically(folder / JSON_FILE, canonical_json(report))
    known = read_report(folder)
    write_text_atomically(folder / PAGE_FILE, render_report(known))
    for build in known["builds"]:  # beside the bundle, which holds what its manifest names and nothing else
        write_text_atomically(folder / f"{build['folder']}.md", render_card(known, build))
    return report


def _earlier_builds(folder: Path, report: dict[str, Any]) -> list[dict[str, Any]]:
    if not (folder / JSON_FILE).is_file():
        return []
    try:
        earlier = read_report(folder)
    except IntegrityError:
        return []  # a damaged report is replaced by this one
    known = {build["folder"] for build in report["builds"]}
    kept = []
    for build in earlier.get("builds", []):
        manifest = folder / str(build.get("folder")) / MANIFEST
        same = (
            build.get("program_digest") == report["programs"].get(build.get("precision"))
            and build.get("folder") not in known
        )
        if same and manifest.is_file() and file_digest(manifest) == build.get("bundle_digest"):
            kept.append(build)
    return kept


@dataclass(frozen=True)
class _Read:
    """What is read of an earlier report before its pages are made."""

    folder: str
    builds: list[dict[str, Any]]
    programs: dict[str, str]


def read_report(folder: Path) -> dict[str, Any]:
    """Read report.json of a run's folder.

    Raises:
        UsageError: when there is none.
        IntegrityError: when it is not a report of ours.
    """
    path = Path(folder) / JSON_FILE
    if not path.is_file():
        raise UsageError(
            f"{folder} holds no {JSON_FILE}; '{command('compile')}' writes one into build/<model>-<size>px/."
        )
    report = read_strict(path)
    if (report.get("format"), report.get("version")) != REPORT:
        raise IntegrityError(f"{path} is no {REPORT[0]} of version {REPORT[1]}; run '{command('compile')}' again.")
    check_types(report, _Read, str(path))
    return report
