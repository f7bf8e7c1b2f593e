"""Bundles that may be deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compile.bundle.manifest import Bundle, write_bundle
from compile.targets.table import Target
from tests.support.fake_bundle import fake_sections

SHARE = {"top1": 0.9, "low": 0.88, "high": 0.92, "correct": 90, "pictures": 100}


PASSING: dict[str, Any] = {
    "measured": True,
    "program_digest": "0" * 64,
    "test": {"pictures": 100},
    "fp32": {**SHARE, "top1": 0.905},
    "int8": SHARE,
}


def bundle_of(files: dict[str, bytes], target: Target, path: Path, version: int = 1, **changes: Any) -> Bundle:
    """Write a bundle whose digest differs from that of another version."""
    sections = {**fake_sections(target), "accuracy": PASSING, "tools": {"version": str(version)}, **changes}
    return write_bundle(path, files, sections)
