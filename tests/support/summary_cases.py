"""Reports of runs that never ran, for the tests of the page over all widths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compile.storage import formats
from compile.storage.strict_json import canonical_json

NAMES = ("repghostnet_0_5x", "repghostnet_1_0x", "repghostnet_2_0x")


def run_report(model: str, drop: float, median_ms: float, data_sha256: str = "d" * 64) -> dict[str, Any]:
    """Return the report of a run: int8 loses `drop` of the share of right answers."""
    before, after = 0.8, 0.8 - drop
    share = {"low": 0.7, "high": 0.9, "pictures": 1000}
    latency = {
        "measured": True, "core": "Test Core", "variant": "avx2", "threads": 1, "median_ms": median_ms,
        "min_ms": median_ms * 0.9, "p90_ms": median_ms * 1.2,
    }  # fmt: skip
    layer = {
        "name": "conv_stem", "operator": "Conv2d", "input": [64, 64, 3], "output": [32, 32, 16], "macs": 442368,
        "weight_bytes": 496, "arithmetic": "int32", "kernels": {"avx2": "rg_qs8_conv"},
    }  # fmt: skip
    return {
        "format": formats.REPORT[0],
        "version": formats.REPORT[1],
        "folder": f"build/{model}-64px",
        "model": {"name": model, "classes": 10},
        "weights": {"kind": "trained", "source": f"{model}.safetensors", "sha256": "a" * 64},
        "preprocess": {
            "size": 64,
            "resize": 64,
            "interpolation": "bilinear",
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
        },
        "quantization": {
            "config": {"observer": "percentile"},
            "operators": 119,
            "program_digest": "b" * 64,
            "calibration": {"pictures": 512, "data": "clothes", "split": "train"},
            "sqnr": {"pictures": 32, "decibels": {"conv_stem": 31.25}},
        },
        "programs": {"int8": "b" * 64},
        "accuracy": {
            "measured": True,
            "program_digest": "b" * 64,
            "test": {"pictures": 1000, "sha256": data_sha256, "data": "clothes", "split": "test", "broken": []},
            "fp32": {"top1": before, **share, "by": "PyTorch"},
            "int8": {"top1": after, **share, "by": "compiled host build", "checked_on": 100},
            "change": {
                "difference": after - before,
                "low": after - before - 0.001,
                "high": after - before + 0.001,
                "pictures": 1000,
                "agreeing": 990,
                "only_before": 3,
                "only_after": 1,
            },
        },
        "builds": [
            _build("int8", latency, layer),
            _build("fp32", {**latency, "median_ms": 2 * median_ms}, {**layer, "arithmetic": "float32"}),
        ],
        "next": [],
        "tools": {"numpy": "2.0"},
    }


def _build(precision: str, latency: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    return {
        "folder": f"host/{precision}",
        "target": "x86-64",
        "precision": precision,
        "exact": precision == "int8",
        "variants": ["avx2"],
        "bundle_digest": ("c" if precision == "int8" else "f") * 64,
        "program_digest": "b" * 64,
        "sizes": {"files": {"model.so": 1_234_567}, "weights": 1, "bundle": 2_345_678, "workspace": 412_345},
        "layers": [layer],
        "verification": {"verified": False, "reason": "a test", "command": "repghost verify"},
        "latency": latency,
    }


def write_runs(folder: Path, *reports: dict[str, Any]) -> Path:
    """Write each report into a folder of its own and return the folder that holds them."""
    for report in reports:
        path = folder / f"{report['model']['name']}-{report['accuracy']['test']['sha256'][:4]}" / "report.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(canonical_json(report))
    return folder
