"""What was measured is kept: a run that was stopped goes on, and an added row measures nothing else again.

A cell's key holds what the measurement is about: weights, images, method; for answers the program and the images.
It does not hold the code: after a change that alters a method's numbers, its rows have to be named with --again.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.storage.stage_cache import Files, StageCache
from repghost.errors import RepGhostError

QDQ, RECORD, PREDICTIONS = "model.qdq.onnx", "record.json", "answers.npy"


class NotMeasuredError(RepGhostError):
    """A measurement that is not there."""


@dataclass(frozen=True)
class Cells:
    """A folder of measurements, each whole or absent and checked when it is read.

    Attributes:
        folder: where they lie.
        again: whether what is there is measured again.
        kept: whether only what is there is given, and nothing measured.
    """

    folder: Path
    again: bool = False
    kept: bool = False

    def get(self, kind: str, key: dict[str, Any], make: Callable[[], Files]) -> Files:
        """Return the files of a measurement, making them where they are not there.

        Raises:
            NotMeasuredError: when they are not there and nothing shall be measured.
        """
        cache = StageCache(self.folder)
        if self.kept and not cache.has(kind, key):
            raise NotMeasuredError("not yet; the same command without --kept measures it")
        if self.again:
            shutil.rmtree(cache.place(kind, key), ignore_errors=True)
        return cache.get(kind, key, make)[0]


def record_bytes(record: dict[str, Any]) -> bytes:
    """Return a record as JSON."""
    return json.dumps(record, sort_keys=True).encode()


def read_record(files: Files) -> dict[str, Any]:
    """Return the record of a cell."""
    record: dict[str, Any] = json.loads(files[RECORD])
    return record


def predictions_bytes(predictions: NDArray[np.int64]) -> bytes:
    """Return answers as .npy."""
    buffer = io.BytesIO()
    np.save(buffer, predictions, allow_pickle=False)
    return buffer.getvalue()


def read_predictions(files: Files) -> NDArray[np.int64]:
    """Return the answers of a cell, int64 [N]."""
    predictions: NDArray[np.int64] = np.load(io.BytesIO(files[PREDICTIONS]), allow_pickle=False)
    return predictions
