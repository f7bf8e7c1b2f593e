"""All widths of a folder beside what their authors published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repghost.checkpoints.checkpoint import read_checkpoint
from repghost.errors import UsageError, option
from repghost.network.spec import WIDTHS, Width
from repghost.validation.validate import Validation

SUFFIXES = (".safetensors", ".pth.tar", ".pth", ".pt")
QDQ = ".qdq.onnx"


@dataclass(frozen=True)
class WidthFiles:
    """What a folder holds of one width: a checkpoint, and a quantized network of the same name beside it."""

    checkpoint: Path
    quantized: Path | None


@dataclass(frozen=True)
class WidthRow:
    """One published width, and what was measured of it; None where the folder has no checkpoint."""

    width: Width
    files: WidthFiles | None
    measured: Validation | None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        row = self.width
        published = {"top1": row.top1 / 100, "top5": row.top5 / 100, "on": "ImageNet-1k at 224 px"}
        measured = None if self.measured is None else self.measured.to_dict()
        return {"width": row.multiplier, "published": published, "measured": measured}


def find_widths(folder: Path) -> dict[float, WidthFiles]:
    """Return the checkpoints in a folder by their width, which their weights say and not their names.

    Looked at are the weight files in the folder and each sub-folder's model.safetensors, as `repghost train` leaves it.

    Raises:
        UsageError: when there is none, or more than one of a width.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; give {option('all_widths')} a folder of checkpoints.")
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name.endswith(SUFFIXES))
    paths += sorted(folder.glob("*/model.safetensors"))
    found: dict[float, WidthFiles] = {}
    for path in paths:
        width = read_checkpoint(path).spec.width
        if width in found:
            raise UsageError(
                f"{path} and {found[width].checkpoint} are both of width {width:g}; leave one of each width in the "
                "folder, or validate them by their names."
            )
        quantized = path.with_name(_stem(path.name) + QDQ)
        found[width] = WidthFiles(path, quantized if quantized.is_file() else None)
    if not found:
        raise UsageError(f"{folder} holds no checkpoint; looked for are files that end in {', '.join(SUFFIXES)}.")
    return found


def validate_widths(folder: Path, measure: Callable[[WidthFiles], Validation]) -> list[WidthRow]:
    """Return one row for each published width.

    Args:
        folder: of the checkpoints.
        measure: validates one width.
    """
    found = find_widths(folder)
    rows = []
    for width in WIDTHS:
        files = found.get(width.multiplier)
        rows.append(WidthRow(width, files, None if files is None else measure(files)))
    return rows


def _stem(name: str) -> str:
    """Return a file name without the suffix of a weight file."""
    return next(name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix))
