"""Every file of a bundle for Jetson, and what its manifest says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from calib.digest import program_digest
from calib.qdq import LABELS, MODEL, PREPROCESS
from compile.cache import versions
from compile.subject import Subject
from compile.targets import JETSON
from compile.tensorrt.cache_file import calibration_cache
from compile.tensorrt.networks import Networks
from compile.tensorrt.placement import INT8, PlacementOptions
from compile.tensorrt.readme import bundle_readme
from compile.tensorrt.samples import Expected, sample_files

SCRIPTS = Path(__file__).resolve().parent / "scripts"
SCRIPT_NAMES = (
    "build.sh", "check.sh", "common.sh", "compare.awk", "layers.awk", "measure.awk", "measure.sh"
)  # fmt: skip
TOOLS = ("repghost-deploy", "torch", "numpy", "onnx")


@dataclass(frozen=True, eq=False)
class Contents:
    """What goes into a bundle besides the scripts.

    Attributes:
        subject: labels, Preprocess, where the weights are from.
        networks: the two files.
        int8: one of them.
        fp16: the other.
        options: what the user chose of the placement.
        config: how it was calibrated, as JSON values.
        samples: uint8 [N, size, size, 3].
        expected: by kind.
    """

    subject: Subject
    networks: Networks
    int8: onnx.ModelProto
    fp16: onnx.ModelProto
    options: PlacementOptions
    config: dict[str, Any]
    samples: Any
    expected: dict[str, Expected]

    @property
    def digest(self) -> str:
        """The program digest of the int8 file."""
        return program_digest(self.int8, self.subject.preprocess.to_dict())


def metadata_of(subject: Subject) -> dict[str, str]:
    """Return the texts that are stored in both files."""
    return {
        MODEL: subject.name,
        PREPROCESS: json.dumps(subject.preprocess.to_dict()),
        LABELS: json.dumps(list(subject.labels)),
    }


def bundle_files(contents: Contents) -> dict[str, bytes]:
    """Return the content of every file by name."""
    subject, networks = contents.subject, contents.networks
    promise = "".join(f"{name} {kind}\n" for name, kind in networks.placement.promise().items())
    files = {name: (SCRIPTS / name).read_bytes() for name in SCRIPT_NAMES}
    return {
        **files,
        **sample_files(contents.samples, contents.expected, subject.preprocess),
        "int8.onnx": contents.int8.SerializeToString(deterministic=True),
        "fp16.onnx": contents.fp16.SerializeToString(deterministic=True),
        "calibration.cache": calibration_cache(networks.plain, networks.spec, networks.jetpack).encode(),
        "promise.txt": promise.encode(),
        "labels.txt": "".join(f"{' '.join(label.split())}\n" for label in subject.labels).encode(),
        "preprocess.json": (json.dumps(subject.preprocess.to_dict(), indent=2) + "\n").encode(),
        "settings.sh": _settings(contents).encode(),
        "README.md": bundle_readme(contents).encode(),
    }


def _settings(contents: Contents) -> str:
    """Return what the scripts have to know, as assignments of the shell; every value is plain."""
    jetpack, subject = contents.networks.jetpack, contents.subject
    values = {
        "MODEL": subject.name,
        "SIZE": subject.preprocess.size,
        "WEIGHTS": subject.weights["kind"],
        "JETPACK": jetpack.name,
        "TENSORRT": " ".join(jetpack.tensorrt),
        "INT8_FLAGS": jetpack.flags["int8"],
        "FP16_FLAGS": jetpack.flags["fp16"],
        "SAMPLES": len(contents.samples),
        "INT8_TOLERANCE": contents.expected["int8"].tolerance,
        "FP16_TOLERANCE": contents.expected["fp16"].tolerance,
    }
    lines = [f'{name}="{re.sub(r"[^A-Za-z0-9 ._+-]", "_", str(value))}"' for name, value in values.items()]
    return "# What this bundle is for; read by common.sh.\n" + "\n".join(lines) + "\n"


def bundle_sections(contents: Contents, accuracy: dict[str, Any]) -> dict[str, Any]:
    """Return what the manifest says besides the list of files.

    Args:
        contents: of the bundle.
        accuracy: the record of the int8 file.
    """
    subject, networks = contents.subject, contents.networks
    jetpack, size = networks.jetpack, subject.preprocess.size
    kinds = networks.placement.promise()
    return {
        "abi": 0,  # no library, so no C interface
        "model": subject.facts,
        "target": {
            "name": JETSON.name,
            "triple": JETSON.triple,
            "jetpack": jetpack.name,
            "tensorrt": list(jetpack.tensorrt),
            "strongly_typed": jetpack.strongly_typed,
        },
        "precision": INT8,
        "program_digest": contents.digest,
        "input": {
            "height": size,
            "width": size,
            "channels": 3,
            "samples": len(contents.samples),
            "tolerance": {kind: expected.tolerance for kind, expected in contents.expected.items()},
        },
        "classes": len(subject.labels),
        "preprocess": subject.preprocess.to_dict(),
        "quantization": {**contents.config, **vars(contents.options)},
        "variants": [],
        "layers": [{"name": name, "arithmetic": kind} for name, kind in kinds.items()],
        "accuracy": accuracy,
        "tools": versions(*TOOLS),
    }
