"""The log of a run: one line per epoch, as JSON and as CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path

from repghost.files import write_text_atomically
from repghost.training.state.state import EpochRecord

LOG_FILE = "log.jsonl"
TABLE_FILE = "log.csv"


def write_log(folder: Path, history: Sequence[EpochRecord]) -> None:
    """Write log.jsonl and log.csv, each whole or not at all."""
    rows = [dataclasses.asdict(record) for record in history]
    write_text_atomically(folder / LOG_FILE, "".join(json.dumps(row) + "\n" for row in rows))
    table = io.StringIO()
    writer = csv.DictWriter(table, [item.name for item in dataclasses.fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomically(folder / TABLE_FILE, table.getvalue())
