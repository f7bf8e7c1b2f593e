"""What was measured of one way to quantize.

The key of a row does not hold the code that measures: after a change of a method, its rows are named with `--again`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.storage.measurements import RECORD, Measurements, read_record, record_bytes

PREDICTIONS = "answers.npy"


@dataclass(frozen=True, eq=False)
class Row:
    """A measured method.

    Attributes:
        predictions: the class of each test image, int64 [N].
        record: what the document says of it besides.
    """

    predictions: NDArray[np.int64]
    record: dict[str, Any]


def keep_row(store: Measurements, kind: str, key: dict[str, Any], make: Callable[[], Row]) -> Row:
    """Return a row that is measured once; arguments and errors as for `Measurements.files`."""

    def measure() -> dict[str, bytes]:
        row, buffer = make(), io.BytesIO()
        np.save(buffer, row.predictions, allow_pickle=False)
        return {PREDICTIONS: buffer.getvalue(), RECORD: record_bytes(row.record)}

    files = store.files(kind, key, measure)
    return Row(np.load(io.BytesIO(files[PREDICTIONS]), allow_pickle=False), read_record(files))
