"""docs/detection.json and its section of docs/detection.md: a light detector in each of its forms, on drawn shapes.

docs/detection.md has the commands that draw the shapes, and train, quantize and compile a detector. Then:

    repghost bench RUN/arm64/int8 --count --json COUNT.json
    repghost detect-export DETECTOR -o HEADS.onnx
    repghost bench RUN/arm64/int8 --count --against onnxruntime --weights HEADS.onnx --json PEERS.json
    repghost bench RUN/host/int8 --against onnxruntime --weights HEADS.onnx --json HOST.json
    repghost qat DETECTOR --data SHAPES --split train --batch 16 -o TRAINED.qdq.onnx
    python -m benchmarks.detection.measure --detector FILE --run RUN --trained TRAINED.qdq.onnx --data SHAPES, and the
    three JSON files; figures of one that is left out stay as they were measured, with another detector of these layers

Further runtimes are added later by --add-peers PEERS.json alone. What they execute does not depend on the weights, so
the bundle that is counted beside them may be of random ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.shared.command import run_command
from benchmarks.shared.documents import Markers, write_json
from calib.qdq.writer import QUANTIZATION
from compile.frontend.qdq_file import read_qdq
from compile.report.run_report import QDQ_FILE
from repghost.api.training.detection import evaluate_detector
from repghost.errors import UsageError
from repghost.files import write_text_atomically
from repghost.tables import make_table, markdown_lines

FORMAT, VERSION = "repghost-detection", 1
JSON_FILE, PAGE_FILE = "detection.json", "detection.md"
MARKERS = Markers(
    "<!-- shapes: written by benchmarks.detection.measure -->", "<!-- end of shapes -->", "the table of shapes belongs"
)
RESAMPLES = 1000
OTHERS = {"LiteRT": " (its arm64 wheel crashes in the emulator)", "MNN": "", "ncnn": ""}  # and why they are not counted
POINTS = 100.0
EARLIER = {"count": "instructions", "peers": "those of other runtimes", "host": "milliseconds"}
TRAINED = "trained under quantization"


def measure(detector: Path, run: Path, trained: Path, data: Path) -> dict[str, Any]:
    """Return the average precision of a detector, its integer program, its build, and what training made of them.

    Args:
        detector: of `repghost detect-train`.
        run: the folder of `repghost compile`.
        trained: of `repghost qat`.
        data: the drawn shapes.
    """
    paths = {
        "float32": detector,
        "integer program": run / QDQ_FILE,
        "compiled build": run / "host" / "int8",
        TRAINED: trained,
    }
    found = {name: evaluate_detector(path, data, split="val", resamples=RESAMPLES) for name, path in paths.items()}
    report = json.loads((run / "report.json").read_text())
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": report["model"]["name"],
        "size": report["preprocess"]["size"],
        "resamples": RESAMPLES,
        "forms": [{"form": name, **evaluation.to_dict()} for name, evaluation in found.items()],
        "change": [POINTS * value for value in found["compiled build"].change(found["float32"])],
        "trained": _training(trained, [POINTS * value for value in found[TRAINED].change(found["float32"])]),
        "verified": _verified(report),
    }


def _training(path: Path, change: list[float]) -> dict[str, Any]:
    """Return how a file was trained under quantization, and by how many points its AP50 differs from float32."""
    training = json.loads(read_qdq(path).metadata[QUANTIZATION])["training"]
    names = ("epochs", "batch", "training_pictures", "held_out_pictures", "candidates", "chosen")
    return {"change": change, **{name: training[name] for name in names}}


def _peers(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return runtime, form, version and executed instructions of each other runtime, the fewest first."""
    rows = [
        {"instructions": row["whole"]["total"], **{key: row[key] for key in ("runtime", "form", "version")}}
        for row in found["results"]
    ]
    return sorted(rows, key=lambda row: int(row["instructions"]))


def with_peers(found: dict[str, Any], peers: Path) -> dict[str, Any]:
    """Return what was measured with further runtimes, which replace earlier counts of the same runtime and form.

    Args:
        found: of an earlier `measure`.
        peers: JSON of `repghost bench --count --against`.
    """
    new = _peers(json.loads(peers.read_text()))
    named = {(row["runtime"], row["form"]) for row in new}
    kept = [row for row in found["peers"] if (row["runtime"], row["form"]) not in named]
    return {**found, "peers": sorted([*kept, *new], key=lambda row: int(row["instructions"]))}


def _latency(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the machine, and median milliseconds of one thread of each build, ours first."""
    keys = ("name", "version", "median_ms")
    rows = [{key: row[key] for key in keys} for row in found["runs"][0]["results"]]
    machine = {key: found["machine"][key] for key in ("core", "system")}
    return {"machine": machine, "rounds": found["settings"]["rounds"], "builds": rows}


def _verified(report: Mapping[str, Any]) -> list[str]:
    """Return the instruction sets that repeated the recorded images to the bit."""
    replays = [replay for build in report["builds"] for replay in build["verification"].get("replays", ())]
    return sorted({str(replay["variant"]) for replay in replays})


def render(found: Mapping[str, Any]) -> str:
    """Return the section of docs/detection.md."""
    first, count, earlier = found["forms"][0], found["count"], [EARLIER[name] for name in found["earlier"]]
    rows = []
    for form in found["forms"]:
        low, high = form["intervals"]["ap50"]
        boxes = form["boxes"]
        per_class = (f"{form['classes'][name]:.1%}" for name in first["classes"])
        rows.append((form["form"], f"{boxes['ap']:.1%}", f"{boxes['ap50']:.1%} ({low:.1%} to {high:.1%})", *per_class))
    change, low, high = found["change"]
    lines = markdown_lines(make_table(("", "AP", "AP50", *first["classes"]), rows))
    return "\n".join(
        [
            *lines,
            "",
            f"{found['model']}, {found['size']} x {found['size']} px, {first['pictures']} pictures with "
            f"{first['objects']} objects; intervals hold 95 % of {found['resamples']} draws of the pictures with "
            "replacement, columns on the right are AP50 by class. The build against float32 on the same draws: AP50 "
            f"{change:+.2f} points ({low:+.2f} to {high:+.2f}). Equal to the bit on recorded pictures: "
            f"{', '.join(found['verified'])}.",
            "",
            _trained(found["trained"]),
            "",
            f"One inference of the arm64 bundle executes {count['whole']['total']:,} instructions on {count['cpu']} "
            f"(emulated, exact; instruction set {count['variant']}), without resizing and boxes; {_others(found)}.",
            "",
            _milliseconds(found["host"]),
            *([] if not earlier else ["", f"Of an earlier detector of the same layers: {', '.join(earlier)}."]),
        ]
    )


def _trained(training: Mapping[str, Any]) -> str:
    """Return what training under quantization did."""
    change, low, high = training["change"]
    start, *_ = training["candidates"]
    end = next(one for one in training["candidates"] if one["name"] == training["chosen"])
    return (
        f"The last row is the integer program of `repghost qat`, {training['epochs']} epochs of "
        f"{training['training_pictures']} pictures in batches of {training['batch']}, of which "
        f"{training['held_out_pictures']} held-out pictures chose {training['chosen']}: there the loss is "
        f"{end['loss']:.4f} instead of {start['loss']:.4f} as calibrated, and AP50 {end['ap50']:.1%} instead of "
        f"{start['ap50']:.1%}. Against float32, on the pictures above: AP50 {change:+.2f} points ({low:+.2f} to "
        f"{high:+.2f})."
    )


def _others(found: Mapping[str, Any]) -> str:
    """Return what other runtimes execute of the same network, and our share of the fewest."""
    rows = [f"{row['runtime']} {row['version']} {row['form']} {row['instructions']:,}" for row in found["peers"]]
    share = found["count"]["whole"]["total"] / found["peers"][0]["instructions"]
    counted = {str(row["runtime"]) for row in found["peers"]}
    absent = [f"{name}{why}" for name, why in OTHERS.items() if name.lower() not in counted]
    left_out = f"; not counted: {', '.join(absent)}" if absent else ""
    return f"the same network in other runtimes: {', '.join(rows)}. That is {share:.2f} of the fewest{left_out}"


def _milliseconds(host: Mapping[str, Any]) -> str:
    """Return what a thread of the machine took, and our share of the fastest other build."""
    ours, *others = host["builds"]
    rows = [f"{row['name']} {row['version']} {row['median_ms']:.3f} ms" for row in others]
    share = ours["median_ms"] / min(row["median_ms"] for row in others)
    return (
        f"On a thread of {host['machine']['core']}, {host['machine']['system'].split()[0]}, builds in turns over "
        f"{host['rounds']} rounds, medians: ours {ours['median_ms']:.3f} ms, {', '.join(rows)}; "
        f"{share:.2f} of the fastest."
    )


def _executed(count: Path | None, peers: Path | None, host: Path | None, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return what builds execute, of files that are given; the rest stays as it was, and is named."""
    given: dict[str, tuple[Path | None, Callable[[Any], Any]]]
    given = {"count": (count, dict), "peers": (peers, _peers), "host": (host, _latency)}
    found: dict[str, Any] = {"earlier": [name for name, (path, _) in given.items() if path is None]}
    for name, (path, rows) in given.items():
        found[name] = kept[name] if path is None else rows(json.loads(path.read_text()))
    return found


@click.command("detection")
@click.option("--detector", type=click.Path(path_type=Path))
@click.option("--run", type=click.Path(path_type=Path), help="Folder of 'repghost compile'.")
@click.option("--data", type=click.Path(path_type=Path), help="Of benchmarks.detection.shapes.")
@click.option("--trained", type=click.Path(path_type=Path), help="File of 'repghost qat'.")
@click.option("--count", type=click.Path(path_type=Path), help="JSON of 'repghost bench --count'.")
@click.option("--peers", type=click.Path(path_type=Path), help="The same with --against.")
@click.option("--host", type=click.Path(path_type=Path), help="JSON of 'bench --against' here.")
@click.option("--add-peers", type=click.Path(path_type=Path), help="JSON as of --peers; nothing else is measured.")
@click.option("--docs", default="docs", show_default=True, type=click.Path(path_type=Path))
def command(
    count: Path | None, peers: Path | None, host: Path | None, add_peers: Path | None, docs: Path, **given: Path | None
) -> None:
    """Measure and write detection.json and its section of detection.md."""
    file, page = docs / JSON_FILE, docs / PAGE_FILE
    kept = json.loads(file.read_text()) if file.exists() else {}
    paths = {name: path for name, path in given.items() if path is not None}
    if add_peers is not None:
        found = with_peers(kept, add_peers)
    elif len(paths) == len(given):
        found = measure(**paths) | _executed(count, peers, host, kept)
    else:
        raise UsageError(f"{', '.join(sorted({*given} - {*paths}))} are missing.")
    write_json(file, found)
    write_text_atomically(page, MARKERS.replace(page.read_text(), render(found), str(page)))


if __name__ == "__main__":
    run_command(command)
