"""What is proven of every width for Jetson without one, as docs/jetson.json and docs/jetson.md: `make jetson-check`.

Random weights of every width are written for every JetPack, linted, and given to TensorRT for RTX, which parses them,
builds them, and lists what became int8. Reports of trained networks (`jetson.json`) bring the accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.pages.jetson import FORMAT, VERSION, render_check
from benchmarks.shared.command import docs_option, output_option, run_command
from benchmarks.shared.goals import JETSON_DROP
from benchmarks.tensorrt.bundle_time import time_bundle
from benchmarks.tensorrt.dry_run import dry_run_once
from benchmarks.tensorrt.rtx import RtxBuild, build_once
from calib.settings.config import LayerSettings, QuantConfig
from compile.storage.files import sha256
from compile.storage.measurements import Measurements
from compile.storage.strict_json import canonical_json, parse_strict
from compile.subject.from_random_weights import random_subject
from compile.tensorrt.jetpack import JETPACKS, JetPack
from compile.tensorrt.network.calibrated import Calibrated
from compile.tensorrt.network.networks import Networks, check_networks, make_networks
from compile.tensorrt.network.placement import PlacementOptions
from compile.tensorrt.report import FORMAT as RUN_FORMAT
from repghost.errors import UsageError
from repghost.files import write_bytes_atomically, write_text_atomically
from repghost.goals import evaluate
from repghost.network.spec import WIDTHS

CALIBRATED_ON = 4  # noise images; only the structure is looked at
KINDS = ("int8", "fp16")
WIDEST = f"{WIDTHS[-1].multiplier:g}"
DRY_RUN_SIZE = 64  # pixels; operators and engines do not depend on it


@dataclass(frozen=True, eq=False)
class WrittenFile:
    """One file that was written and linted."""

    width: str
    jetpack: JetPack
    kind: str
    content: bytes
    networks: Networks


def written_files(widths: Sequence[str], size: int) -> Iterator[WrittenFile]:
    """Yield both files of each width for each JetPack, of random weights.

    Args:
        widths: multipliers, e.g. "0.5".
        size: pixels.

    Raises:
        IntegrityError: when a file breaks a rule.
    """
    from calib.ptq.apply import quantize_graph

    config = QuantConfig("tensorrt", LayerSettings(observer="min_max"), ranges_by_answers=False)
    for width in widths:
        subject = random_subject(width, size, 0)
        plain = subject.graph
        images = subject.calibration.images[:CALIBRATED_ON]
        calibrated = Calibrated(*quantize_graph(plain, images, subject.preprocess, config))
        for jetpack in JETPACKS.values():
            networks = make_networks(plain, calibrated, jetpack, PlacementOptions(), size)
            int8, fp16 = networks.int8(), networks.fp16()
            check_networks(int8, fp16, networks.placement, jetpack)
            for kind, model in zip(KINDS, (int8, fp16), strict=True):
                yield WrittenFile(width, jetpack, kind, model.SerializeToString(deterministic=True), networks)


def _record(file: WrittenFile, build: RtxBuild) -> dict[str, Any]:
    placement = file.networks.placement
    promised = placement.layers if file.kind == "int8" else frozenset()
    found = build.int8_layers(placement.layer_names)
    return {
        "width": file.width,
        "jetpack": file.jetpack.name,
        "kind": file.kind,
        "sha256": sha256(file.content),
        "bytes": len(file.content),
        "lint": "clean",
        "parsed": build.parsed,
        "built": build.built,
        "errors": list(build.errors),
        "engine_bytes": build.engine_bytes,
        "seconds": build.seconds,
        "layers": len(placement.layer_names),
        "promised_int8": len(promised),
        "built_int8": len(found),
        "as_promised": found == promised and all(name in build.layers for name in placement.layer_names),
        "version": build.version,
    }


def read_accuracies(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the accuracy of trained networks from reports of their runs.

    Raises:
        UsageError: for a file that is no such report, or has no accuracy.
    """
    found = []
    for path in paths:
        report = parse_strict(path.read_bytes(), str(path))
        if report.get("format") != RUN_FORMAT or not report["accuracy"]["measured"]:
            raise UsageError(f"{path} is no jetson.json with an accuracy; make one with 'make compile TARGET=jetson'.")
        accuracy = report["accuracy"]
        found.append({
            "model": report["model"]["name"],
            "weights": report["weights"],
            "size": report["preprocess"]["size"],
            "config": report["quantization"]["config"],
            "test": accuracy["test"],
            "fp32": accuracy["fp32"],
            "int8": accuracy["int8"],
            "change": accuracy["change"],
            "within_limit": evaluate(JETSON_DROP, accuracy["change"]).reached,
            "verification": report["verification"],
            "tolerance": report["tolerance"],
        })  # fmt: skip
    return found


def run_check(
    widths: Sequence[str],
    size: int,
    python: Path | None,
    accuracies: list[dict[str, Any]],
    store: Measurements,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Return everything as JSON values.

    Args:
        widths: multipliers.
        size: pixels.
        python: the interpreter that has TensorRT for RTX; this one by default.
        accuracies: from `read_accuracies`.
        store: keeps what was built.
        say: called with a line for each width.
    """
    builds: list[dict[str, Any]] = []
    for width in widths:
        builds += [_record(file, build_once(file.content, python, store)) for file in written_files([width], size)]
        wrong = [record for record in builds if not record["as_promised"] or not record["built"]]
        say(f"{width}x: {len(builds)} builds so far, {len(wrong)} of them not as promised")
    return {
        "format": FORMAT,
        "version": VERSION,
        "size": size,
        "weights": "random",
        "limit_points": JETSON_DROP.limit,
        "builds": builds,
        "accuracy": accuracies,
        "torch_tensorrt": None,
        "building": None,
    }


@dataclass(frozen=True)
class CheckRequest:
    """The arguments and options of the command, each under its own name."""

    reports: tuple[Path, ...]
    rtx_python: Path | None
    torch_tensorrt_python: Path | None
    widths: str
    size: int
    output: Path
    docs: Path


@click.command("checked")
@click.argument("reports", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--rtx-python", type=click.Path(path_type=Path), help="The interpreter with TensorRT for RTX.")
@click.option("--torch-tensorrt-python", type=click.Path(path_type=Path), help="The one with torch-tensorrt-rtx.")
@click.option("--widths", default=",".join(f"{row.multiplier:g}" for row in WIDTHS), help="Separated by commas.")
@click.option("--size", default=224, show_default=True, type=click.IntRange(32, 1024), help="Pixels.")
@output_option
@docs_option
def command(**options: Any) -> None:
    """Check every width against NVIDIA's builder and write docs/jetson.json and docs/jetson.md.

    REPORTS are jetson.json files of trained networks, whose accuracy the page shows.
    """
    request = CheckRequest(**options)
    docs, store = request.docs, Measurements(request.output / ".cache")
    accuracies = read_accuracies(request.reports)
    result = run_check(request.widths.split(","), request.size, request.rtx_python, accuracies, store, click.echo)
    if request.torch_tensorrt_python is not None:
        result["torch_tensorrt"] = dry_run_once(request.torch_tensorrt_python, DRY_RUN_SIZE, store)
    result["building"] = time_bundle(WIDEST, request.size)
    data = canonical_json(result)
    write_bytes_atomically(docs / "jetson.json", data)
    write_text_atomically(docs / "jetson.md", render_check(parse_strict(data, "jetson.json", 32 << 20)))
    click.echo(f"written: {docs / 'jetson.json'} and {docs / 'jetson.md'}")


if __name__ == "__main__":
    run_command(command)
