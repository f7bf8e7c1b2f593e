"""The report of one run of `make compile`: accuracy, sizes, and the latency on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compile.report.average_precision import KEY
from compile.storage import formats
from compile.summary.facts import Change, Detector, LayerRow, LayerTable, Method, Missing, Network, Share, Size, Speed
from compile.summary.sources import File, Learned, measured_ms, pixels
from compile.targets.forms import model_file

FORMAT, VERSION = formats.REPORT


def read(file: File) -> Learned:
    """Return what a run's report.json says.

    Raises:
        IntegrityError: when it is of another version.
    """
    report = file.values
    file.require_version(VERSION, "run it again")
    size = pixels(report["preprocess"]["size"])
    return Learned(
        about=f"{report['model']['name']} at {size} px, {report['weights']['kind']} weights",
        networks=_networks(file),
        detectors=tuple(it for build in report["builds"] for it in detectors(file, build, build_name(build))),
        speeds=tuple(speed for build in report["builds"] for speed in _speeds(file, build)),
        sizes=tuple(_size(file, build) for build in report["builds"]),
        layers=tuple(_layers(file, build) for build in report["builds"] if build.get("layers")),
        missing=_missing(report),
        tools=report["tools"],
    )


def _networks(file: File) -> tuple[Network, ...]:
    report = file.values
    accuracy, weights = report["accuracy"], report["weights"]
    if not accuracy["measured"]:
        return ()
    config = report["quantization"]["config"]
    method = Method(
        name=_method_name(config),
        kind="qat" if config.get("algorithm") == "qat" else "ptq",
        share=share(accuracy["int8"]),
        change=None if accuracy["change"] is None else change(accuracy["change"]),
        program_digest=accuracy["program_digest"],
    )
    network = Network(
        model=report["model"]["name"],
        size=pixels(report["preprocess"]["size"]),
        weights=f"{weights['kind']} ({weights['source']})",
        weights_sha256=weights.get("sha256", ""),
        data=f"{accuracy['test']['data']}, split {accuracy['test']['split']}",
        data_sha256=accuracy["test"]["sha256"],
        fp32=None if accuracy["fp32"] is None else share(accuracy["fp32"]),
        methods=(method,),
        note="",
        source=file.name,
        classes=int(report["model"]["classes"]),
    )
    return (network,)


def _method_name(config: Mapping[str, Any]) -> str:
    """Return what a table calls the way that a configuration describes."""
    if config.get("algorithm"):
        return str(config["algorithm"])
    return "ranges by answers" if config.get("ranges_by_answers") else str(config.get("observer") or "as given")


def share(record: Mapping[str, Any]) -> Share:
    """Return an accuracy as the runs write it."""
    return Share(float(record["top1"]), float(record["low"]), float(record["high"]), int(record["pictures"]))


def change(record: Mapping[str, Any]) -> Change:
    """Return a paired difference as the runs write it."""
    return Change(float(record["difference"]), float(record["low"]), float(record["high"]), int(record["agreeing"]))


def build_name(build: Mapping[str, Any]) -> str:
    """Return what tables call a build of a run."""
    return f"{build['target']} {build['precision']}"


def detectors(file: File, holder: Mapping[str, Any], build: str) -> list[Detector]:
    """Return what `repghost detect-validate` measured of a build.

    Args:
        file: the report.
        holder: the build in it, or the whole of jetson.json.
        build: what tables call it.
    """
    report, found = file.values, []
    for entry in holder.get(KEY, ()):
        low, high = entry["intervals"].get("ap50", (None, None))
        detector = Detector(
            model=report["model"]["name"],
            size=pixels(report["preprocess"]["size"]),
            build=build,
            data=f"{entry['data']}, split {entry['split']}",
            ap=entry["ap"],
            ap50=entry["ap50"],
            low=low,
            high=high,
            pictures=int(entry["pictures"]),
            objects=int(entry["objects"]),
            source=file.name,
        )
        found.append(detector)
    return found


def _speeds(file: File, build: Mapping[str, Any]) -> list[Speed]:
    report, boards = file.values, list(build.get("boards", []))
    own = [build["latency"]] if build["latency"].get("measured") and "board" not in build["latency"] else []
    return [
        Speed(
            **measured_ms(latency),
            model=report["model"]["name"],
            size=pixels(report["preprocess"]["size"]),
            precision=build["precision"],
            machine=latency["core"],
            where="board" if "board" in latency else "host",
            variant=latency["variant"],
            threads=int(latency["threads"]),
            weights=report["weights"]["kind"],
            source=file.name,
        )
        for latency in own + boards
    ]


def _size(file: File, build: Mapping[str, Any]) -> Size:
    sizes, report = build["sizes"], file.values
    workspace = sizes.get("workspace")
    return Size(
        model=report["model"]["name"],
        size=pixels(report["preprocess"]["size"]),
        classes=int(report["model"]["classes"]),
        target=build["target"],
        precision=build["precision"],
        model_bytes=int(sizes["files"][model_file(sizes["files"])]),
        bundle_bytes=int(sizes["bundle"]),
        workspace_bytes=None if workspace is None else int(workspace),
        source=file.name,
    )


def _layers(file: File, build: Mapping[str, Any]) -> LayerTable:
    """Return the layers of one build with the kernels of its best instruction set."""
    report, variant = file.values, build["variants"][-1]
    # The error is that of the integer program, which the other precisions do not run.
    error = (report["quantization"].get("sqnr") or {}).get("decibels", {}) if build["exact"] else {}
    rows = tuple(
        LayerRow.of(layer, str(layer["kernels"].get(variant, "-")), sqnr_db=error.get(layer["name"]))
        for layer in build["layers"]
    )
    name = f"{build_name(build)}, {variant}"
    model, size = report["model"]["name"], pixels(report["preprocess"]["size"])
    return LayerTable(model, size, name, rows, file.name, build["bundle_digest"])


def _missing(report: Mapping[str, Any]) -> tuple[Missing, ...]:
    name, found = report["model"]["name"], []
    if not report["accuracy"]["measured"] and not any(build.get(KEY) for build in report["builds"]):
        what = f"accuracy of {name}: {report['accuracy']['reason']}"
        found.append(Missing(what, report["accuracy"]["command"]))
    for build in report["builds"]:
        if not build["latency"].get("measured"):
            found.append(Missing(f"latency of {name}, {build['folder']}", str(build["latency"].get("command", ""))))
    return tuple(found)
