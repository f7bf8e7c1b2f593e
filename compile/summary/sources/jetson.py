"""A bundle for Jetson, what its measure.sh measured on a board, and the checks of all widths without a board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compile.report.average_precision import KEY
from compile.storage import formats
from compile.summary.facts import Method, Missing, Network, Size, Speed
from compile.summary.sources import File, Learned, pixels
from compile.summary.sources.run import change, detectors, share
from compile.tensorrt.measurement import FORMAT as MEASUREMENT_FORMAT
from compile.tensorrt.measurement import check_measurement, throttled

FORMAT, VERSION = formats.JETSON
CHECK_FORMAT, CHECK_VERSION = formats.JETSON_CHECK

__all__ = ["CHECK_FORMAT", "FORMAT", "MEASUREMENT_FORMAT", "read", "read_check", "read_measured"]


def read(file: File) -> Learned:
    """Return what jetson.json says; the latency is missing until a measurement of the same bundle is read too.

    Raises:
        IntegrityError: when it is of another version.
    """
    report = file.values
    file.require_version(VERSION, "compile it again")
    model, size, target = report["model"]["name"], pixels(report["preprocess"]["size"]), report["target"]
    latency, accuracy = report["latency"], report["accuracy"]
    missing = []
    if not accuracy["measured"] and not report.get(KEY):
        missing.append(Missing(f"accuracy of {model} for Jetson: {accuracy['reason']}", accuracy["command"]))
    if not latency["measured"]:
        what = latency_of(model, report["bundle"]["digest"])
        missing.append(Missing(what, " && ".join(latency["commands"])))
    files = report["bundle"]["files"]
    return Learned(
        about=f"{model} at {size} px for JetPack {target['jetpack']}, {report['weights']['kind']} weights",
        networks=_networks(file),
        detectors=tuple(detectors(file, report, f"jetson, JetPack {target['jetpack']} int8")),
        sizes=(
            Size(
                model=model,
                size=size,
                classes=int(report["model"]["classes"]),
                target=f"jetson, JetPack {target['jetpack']}",
                precision="int8",
                model_bytes=int(files["int8.onnx"]),
                bundle_bytes=sum(int(count) for count in files.values()),
                workspace_bytes=None,
                source=file.name,
            ),
        ),
        missing=tuple(missing),
        tools=report["tools"],
    )


def latency_of(model: str, bundle_digest: str) -> str:
    """Return what is missing before a board measured a bundle."""
    return f"latency of {model}, bundle {bundle_digest[:12]}: not measured: no Jetson reached"


def _networks(file: File) -> tuple[Network, ...]:
    report, accuracy, weights = file.values, file.values["accuracy"], file.values["weights"]
    if not accuracy["measured"]:
        return ()
    entry = {
        "model": report["model"]["name"],
        "size": report["preprocess"]["size"],
        "weights": weights,
        "config": report["quantization"]["config"],
    }
    return (_network(file, {**entry, **accuracy}),)


def _network(file: File, entry: Mapping[str, Any]) -> Network:
    """Return what was evaluated of one Q/DQ file.

    Args:
        file: that says it.
        entry: model, size, weights, config, and the record of its accuracy.
    """
    test, config, weights = entry["test"], entry["config"], entry["weights"]
    name = f"TensorRT, symmetric {config.get('observer', 'as given')}"
    name += ", ranges by answers" * bool(config.get("ranges_by_answers"))
    name += ", bias correction" * bool(config.get("bias_correction"))
    digest = entry.get("program_digest", "")
    return Network(
        model=entry["model"],
        size=pixels(entry["size"]),
        weights=f"{weights['kind']} ({weights['source']})",
        weights_sha256=weights.get("sha256", ""),
        data=f"{test['data']}, split {test['split']}",
        data_sha256=test["sha256"],
        fp32=share(entry["fp32"]),
        methods=(Method(name, "ptq", share(entry["int8"]), change(entry["change"]), digest),),
        note=f"For Jetson: {entry['int8']['by']}; no engine was evaluated.",
        source=file.name,
    )


def read_check(file: File) -> Learned:
    """Return the accuracies of docs/jetson.json; what was built without a Jetson is on its own page.

    Raises:
        IntegrityError: when it is of another version.
    """
    result = file.values
    file.require_version(CHECK_VERSION, "make it again")
    builds = result["builds"]
    good = sum(bool(build["as_promised"]) for build in builds)
    return Learned(
        about=f"files for Jetson, {good} of {len(builds)} built as promised by TensorRT for RTX, of random weights",
        networks=tuple(_network(file, entry) for entry in result["accuracy"]),
    )


def read_measured(file: File) -> Learned:
    """Return the times that measure.sh measured.

    Raises:
        IntegrityError: when a value is not of its kind.
    """
    values = check_measurement(file.values, file.name)
    speeds = tuple(
        Speed(
            model=values["model"],
            size=values["size"],
            runtime="TensorRT",
            precision=result["precision"],
            machine=f"{values['board']}, power mode {values['power_mode']}",
            where="jetson",
            variant=f"TensorRT {values['tensorrt']}, CUDA {values['cuda']}",
            kind="measured",
            value=float(result["median_ms"]),
            unit="ms",
            low=float(result["min_ms"]),
            high=None if result["p90_ms"] is None else float(result["p90_ms"]),
            weights=values["weights"],
            made_by="this project"
            + ("" if result["p99_ms"] is None else f", 99 % within {result['p99_ms']:.3f} ms")
            + (", THROTTLED" if throttled(result) else ""),
            source=file.name,
        )
        for result in values["results"]
    )
    about = f"{values['model']} at {values['size']} px on {values['board']}, TensorRT {values['tensorrt']}"
    return Learned(about, speeds=speeds, found=(latency_of(values["model"], values["bundle_digest"]),))
