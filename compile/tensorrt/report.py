"""The report of a bundle for Jetson: jetson.json holds the values, jetson.md is rendered from it alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compile.bundle.manifest import Bundle
from compile.report.average_precision import KEY, precision_lines, with_entry
from compile.report.card import render_engine_card
from compile.report.gives import gives_text, model_facts
from compile.report.run_page import accuracy_lines
from compile.stages.own_command import own_command
from compile.storage import formats
from compile.storage.strict_json import canonical_json, parse_strict, read_strict
from compile.subject.subject import Subject
from compile.targets.table import JETSON
from compile.tensorrt.measurement import FILE, read_measurement, throttled
from repghost.errors import IntegrityError, command
from repghost.files import write_bytes_atomically, write_text_atomically
from repghost.locks import locked
from repghost.sizes import sides_text
from repghost.terminal import shell_command

FORMAT, VERSION = formats.JETSON
CHECK_FORMAT, _ = formats.JETSON_CHECK
JSON_FILE, PAGE_FILE, CARD_FILE = f"{JETSON.name}.json", f"{JETSON.name}.md", f"{JETSON.name}-card.md"
SIZE_LIMIT = 32 << 20  # bytes of either
NOT_MEASURED = "not measured: no Jetson reached"


def build_report(
    folder: Path, subject: Subject, bundle: Bundle, calibration: Mapping[str, Any], verification: dict[str, Any]
) -> dict[str, Any]:
    """Return what is known of a bundle as JSON values.

    Args:
        folder: of the run.
        subject: the network and its images.
        bundle: as it was written.
        calibration: the images that chose the scales.
        verification: the record of its samples.
    """
    manifest = bundle.manifest
    measured = read_measurement(folder, bundle.digest)
    kinds = [layer["arithmetic"] for layer in manifest["layers"]]
    return {
        "format": FORMAT,
        "version": VERSION,
        "folder": str(folder),
        "bundle": {
            "folder": JETSON.name,
            "digest": bundle.digest,
            "files": {name: entry["size"] for name, entry in manifest["files"].items()},
        },
        "model": model_facts(subject.name, subject.labels, manifest.get("outputs", ()), subject.detection is not None),
        "weights": dict(subject.weights),
        **({"notes": list(subject.notes)} if subject.notes else {}),
        "preprocess": subject.preprocess.to_dict(),
        "target": manifest["target"],
        "quantization": {
            "config": manifest["quantization"],
            "program_digest": manifest["program_digest"],
            "int8_layers": kinds.count("int8"),
            "layers": len(kinds),
            "calibration": dict(calibration),
        },
        "tolerance": manifest["input"]["tolerance"],
        "accuracy": manifest["accuracy"],
        "verification": verification,
        "latency": {"measured": False, "reason": NOT_MEASURED, "commands": board_commands(folder)}
        if measured is None
        else {"measured": True, **measured},
        "tools": manifest["tools"],
    }


def board_commands(folder: Path) -> list[str]:
    """Return the commands that build, check and measure the engines on a board, and show the result."""
    repghost = own_command("repghost")
    return [
        shell_command(repghost, "deploy", folder / JETSON.name, "USER@JETSON"),
        f"{shell_command('ssh', 'USER@JETSON', 'sh', 'repghost/current/measure.sh')} > {shell_command(folder / FILE)}",
        shell_command(repghost, "report", folder),
    ]


def write_report(folder: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Write jetson.json, jetson.md and the model card, and return what was written."""
    data = canonical_json(report)
    write_bytes_atomically(folder / JSON_FILE, data)
    known = parse_strict(data, JSON_FILE)
    write_text_atomically(folder / PAGE_FILE, render_page(known))
    write_text_atomically(folder / CARD_FILE, render_engine_card(known))
    return known


def add_precision(folder: Path, entry: Mapping[str, Any]) -> bool:
    """Put the average precision of a bundle into jetson.json of its run; returns whether the run knows the bundle.

    Args:
        folder: of the run.
        entry: see `compile.report.average_precision`, with the bundle's digest.
    """
    if not (folder / JSON_FILE).is_file():
        return False
    with locked(folder):
        report = read_strict(folder / JSON_FILE, SIZE_LIMIT)
        known = report.get("format") == FORMAT and report["bundle"]["digest"] == entry["bundle_digest"]
        if known:
            write_report(folder, {**report, KEY: with_entry(report.get(KEY, []), entry)})
    return bool(known)


def read_page(folder: Path) -> str | None:
    """Return the page of a run's bundle, with what was measured since; None where there is no such bundle.

    Raises:
        IntegrityError: when jetson.json or the measurement is damaged.
    """
    path = folder / JSON_FILE
    if not path.is_file():
        return None
    report = read_strict(path, SIZE_LIMIT)
    if report.get("format") == CHECK_FORMAT:  # docs/jetson.json is about no bundle
        return None
    if report.get("format") != FORMAT or report.get("version") != VERSION:
        build = command("compile", target="jetson")
        raise IntegrityError(f"{path} is no {FORMAT} of version {VERSION}; run '{build}' again.")
    try:
        measured = read_measurement(folder, report["bundle"]["digest"])
        return render_page(report if measured is None else {**report, "latency": {"measured": True, **measured}})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise IntegrityError(f"{path} is not as its format says ({type(error).__name__}: {error}).") from error


def render_page(report: Mapping[str, Any]) -> str:
    """Return jetson.md.

    Args:
        report: as `build_report` makes it.
    """
    model, target, quantization = report["model"], report["target"], report["quantization"]
    size, files = sides_text(report["preprocess"]["size"]), report["bundle"]["files"]
    calibration = quantization["calibration"]
    lines = [
        f"# {model['name']} at {size} pixels for Jetson, JetPack {target['jetpack']}",
        "",
        f"{gives_text(model)}, {report['weights']['kind']} weights ({report['weights']['source']}). TensorRT "
        f"{' or '.join(target['tensorrt'])}; int8 in {quantization['int8_layers']} of {quantization['layers']} "
        f"layers. int8.onnx {files['int8.onnx'] / 1e6:.2f} MB, fp16.onnx {files['fp16.onnx'] / 1e6:.2f} MB, bundle "
        f"{sum(files.values()) / 1e6:.2f} MB, digest `{report['bundle']['digest'][:16]}`.",
        "",
        "## Accuracy",
        "",
        *[f"- {line}" for line in precision_lines(report, "int8") or accuracy_lines(report["accuracy"])],
        f"- calibrated with {calibration.get('pictures', 'an unknown number of')} pictures of "
        f"{calibration.get('data', 'an unknown set')} (split {calibration.get('split', 'unknown')})",
        *[f"- {note}" for note in report.get("notes", ())],
        "",
        "## Verification",
        "",
        *[f"- {line}" for line in _verified(report["verification"])],
        "- no engine was built here: TensorRT builds it on the board, and check.sh checks it there",
        "",
        "## Latency",
        "",
        *_latency(report["latency"]),
        "",
        f"Tools: {', '.join(f'{name} {version}' for name, version in sorted(report['tools'].items()))}.",
    ]
    return "\n".join(lines) + "\n"


def _verified(record: Mapping[str, Any]) -> list[str]:
    if not record["verified"]:
        return [f"not verified: {record['reason']}; `{record['command']}`"]
    return [
        f"{it['variant']}: {it['pictures']} samples within {it['tolerance']:.2g} (largest difference "
        f"{it['largest_difference']:.2g}) by {it['machine']}"
        for it in record["replays"]
    ]


def _latency(record: Mapping[str, Any]) -> list[str]:
    if not record["measured"]:
        return [f"{record['reason']}. It is measured so:", "", *[f"    {command}" for command in record["commands"]]]
    lines = [
        f"{record['board']}, power mode {record['power_mode']}, TensorRT {record['tensorrt']}, CUDA {record['cuda']}, "
        f"batch {record['batch']}:",
        "",
    ]
    return lines + [f"- {measured_line(result)}" for result in record["results"]]


def measured_line(result: Mapping[str, Any]) -> str:
    """Return one precision of a measurement as a line."""

    def known(key: str, form: str) -> str:
        return "" if result[key] is None else form.format(result[key])

    states = [
        known("gpu_mhz_min", "GPU {} ") + known("gpu_mhz_max", "to {} MHz"),
        known("temperature_c", "{} °C"),
        known("power_mw", "{} mW"),
        "THROTTLED" if throttled(result) else "",
    ]
    text = ", ".join(state.strip() for state in states if state.strip())
    percentiles = known("p90_ms", ", p90 {:.3f} ms") + known("p99_ms", ", p99 {:.3f} ms")
    return (
        f"{result['precision']}: median {result['median_ms']:.3f} ms, min {result['min_ms']:.3f} ms{percentiles} GPU "
        f"time ({text or 'states unknown'})"
    )


def summary_lines(report: Mapping[str, Any]) -> list[str]:
    """Return what a run prints at its end."""
    path = Path(report["folder"]) / report["bundle"]["folder"]
    quantization, latency = report["quantization"], report["latency"]
    return [
        "",
        *accuracy_lines(report["accuracy"]),
        f"{path}: int8 in {quantization['int8_layers']} of {quantization['layers']} layers, TensorRT "
        f"{' or '.join(report['target']['tensorrt'])}",
        *[f"  {line}" for line in _verified(report["verification"])],
        *[f"  {line}" for line in _latency(latency) if line],
    ]
