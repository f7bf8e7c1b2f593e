"""Other runtimes under the counter of `repghost bench --count --against`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compile.storage import formats
from compile.summary.facts import Agreement, Speed
from compile.summary.sources import File, Learned, pixels
from compile.summary.sources.count import counted

FORMAT, VERSION = formats.PEER_COUNTS


def read(file: File) -> Learned:
    """Return the counts.

    Raises:
        IntegrityError: when it is of another version.
    """
    result = file.values
    file.require_version(VERSION, "count again")
    return Learned(
        about=f"other runtimes, {result['model']} at {result['size']} px on {result['cpu']}, {result['emulator']}",
        speeds=tuple(speed for entry in result["results"] for speed in _speeds(file, entry)),
    )


def _speeds(file: File, entry: Mapping[str, Any]) -> Iterator[Speed]:
    result = file.values
    for figure in counted(result["cpu"], entry["whole"]):
        yield Speed(
            **figure,
            model=result["model"],
            size=pixels(result["size"]),
            runtime=entry["runtime"],
            precision=entry["precision"],
            variant="",
            agreement=Agreement.of(entry["agreement"]),
            weights=str(result["weights"].get("kind", "unnamed")),
            made_by=f"{entry['made_by']}, {entry['version']}",
            source=file.name,
        )
