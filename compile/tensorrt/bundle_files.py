"""The files of a Jetson bundle."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from calib.qdq.writer import DETECTION, LABELS, MODEL, PREPROCESS
from compile.storage.stage_cache import versions
from compile.storage.strict_json import canonical_json
from compile.subject.subject import Subject
from compile.targets.table import JETSON
from compile.tensorrt.jetson_build import JetsonBuild
from compile.tensorrt.network.cache_file import calibration_cache
from compile.tensorrt.network.placement import INT8
from compile.tensorrt.readme import bundle_readme
from compile.tensorrt.samples import sample_files
from repghost.data.names.class_names import to_lines
from repghost.detection import find_boxes
from repghost.sizes import size_text

SCRIPTS = Path(__file__).resolve().parent / "scripts"


SCRIPT_NAMES = (
    "build.sh", "check.sh", "common.sh", "compare.awk", "layers.awk", "measure.awk", "measure.sh"
)  # fmt: skip


DETECTOR_SCRIPTS = ("detect.py", "detect.sh")
RESULTS_FILE = "results.txt"  # a line for each of several results, in their order: name and how many numbers


TOOLS = ("repghost-deploy", "torch", "numpy", "onnx")


def metadata_of(subject: Subject) -> dict[str, str]:
    """Return the texts that are stored in both files."""
    return {
        MODEL: subject.name,
        PREPROCESS: json.dumps(subject.preprocess.to_dict()),
        LABELS: json.dumps(list(subject.labels)),
        **({} if subject.detection is None else {DETECTION: json.dumps(dict(subject.detection), sort_keys=True)}),
    }


def bundle_files(build: JetsonBuild) -> dict[str, bytes]:
    """Return the content of every file by name."""
    subject, networks = build.subject, build.networks
    promise = "".join(f"{name} {kind}\n" for name, kind in networks.placement.layer_types().items())
    files = {name: (SCRIPTS / name).read_bytes() for name in SCRIPT_NAMES}
    return {
        **files,
        **sample_files(build.samples, build.expected, subject.preprocess),
        "int8.onnx": build.int8.SerializeToString(deterministic=True),
        "fp16.onnx": build.fp16.SerializeToString(deterministic=True),
        "calibration.cache": calibration_cache(networks.plain, networks.spec, networks.jetpack).encode(),
        "promise.txt": promise.encode(),
        "labels.txt": to_lines(subject.labels),
        "preprocess.json": (json.dumps(subject.preprocess.to_dict(), indent=2) + "\n").encode(),
        "settings.sh": _settings(build).encode(),
        "README.md": bundle_readme(build).encode(),
        **_results(build),
    }


def _results(build: JetsonBuild) -> dict[str, bytes]:
    """Return what a bundle of several results holds besides: their list, and what finds a detector's boxes."""
    outputs, detection = build.networks.outputs(), build.subject.detection
    if not outputs:
        return {}
    lines = [f"{it['name']} {it['height'] * it['width'] * it['channels']}\n" for it in outputs]
    found = {RESULTS_FILE: "".join(lines).encode()}
    if detection is not None:
        found |= {name: (SCRIPTS / name).read_bytes() for name in DETECTOR_SCRIPTS}
        found["find_boxes.py"] = Path(find_boxes.__file__).read_bytes()
        found["detection.json"] = canonical_json(dict(detection))
    return found


def _settings(build: JetsonBuild) -> str:
    """Return what the scripts have to know, as assignments of the shell; every value is plain."""
    jetpack, subject = build.networks.jetpack, build.subject
    values = {
        "MODEL": subject.name,
        "SIZE": size_text(subject.preprocess.size),
        "WEIGHTS": subject.weights["kind"],
        "JETPACK": jetpack.name,
        "TENSORRT": " ".join(jetpack.tensorrt),
        "INT8_FLAGS": jetpack.flags["int8"],
        "FP16_FLAGS": jetpack.flags["fp16"],
        "SAMPLES": len(build.samples),
        "INT8_TOLERANCE": build.expected["int8"].tolerance,
        "FP16_TOLERANCE": build.expected["fp16"].tolerance,
    }
    lines = [f'{name}="{re.sub(r"[^A-Za-z0-9 ._+-]", "_", str(value))}"' for name, value in values.items()]
    return "# What this bundle is for; read by common.sh.\n" + "\n".join(lines) + "\n"


def bundle_sections(build: JetsonBuild, accuracy: dict[str, Any]) -> dict[str, Any]:
    """Return what the manifest says besides the list of files.

    Args:
        build: what goes into the bundle.
        accuracy: the record of the int8 file.
    """
    subject, networks = build.subject, build.networks
    jetpack, (height, width, channels) = networks.jetpack, subject.preprocess.shape
    kinds, outputs = networks.placement.layer_types(), networks.outputs()
    return {
        "abi": 0,  # no library, so no C interface
        **({"outputs": outputs} if outputs else {}),
        **({"detection": dict(subject.detection)} if outputs and subject.detection is not None else {}),
        "model": subject.facts,
        "target": {
            "name": JETSON.name,
            "triple": JETSON.triple,
            "jetpack": jetpack.name,
            "tensorrt": list(jetpack.tensorrt),
            "strongly_typed": jetpack.strongly_typed,
        },
        "precision": INT8,
        "program_digest": build.digest,
        "input": {
            "height": height,
            "width": width,
            "channels": channels,
            "samples": len(build.samples),
            "tolerance": {kind: expected.tolerance for kind, expected in build.expected.items()},
        },
        "classes": build.numbers,
        "preprocess": subject.preprocess.to_dict(),
        "quantization": {**build.config, **vars(build.options)},
        "variants": [],
        "layers": [{"name": name, "arithmetic": kind} for name, kind in kinds.items()],
        "accuracy": accuracy,
        "tools": versions(*TOOLS),
    }
