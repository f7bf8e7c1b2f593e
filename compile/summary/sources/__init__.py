"""The files a summary is made from: one reader per format; the table of them is in readers.py.

A reader takes the JSON of one file and returns what it says as facts. A new kind of file is a reader and a row there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from compile.summary.facts import Detector, LayerTable, Missing, Network, Pixels, Size, Speed
from repghost.errors import IntegrityError, UsageError
from repghost.sizes import check_size, parse_size, reported


@dataclass(frozen=True)
class Learned:
    """What one file says.

    Attributes:
        about: one line for the list of sources.
        tools: versions it names.
        found: what other files say is missing, and this one has; as they say it in `Missing.what`.
    """

    about: str
    networks: tuple[Network, ...] = ()
    detectors: tuple[Detector, ...] = ()
    speeds: tuple[Speed, ...] = ()
    sizes: tuple[Size, ...] = ()
    layers: tuple[LayerTable, ...] = ()
    missing: tuple[Missing, ...] = ()
    tools: Mapping[str, str] | None = None
    found: tuple[str, ...] = ()


@dataclass(frozen=True)
class File:
    """A file that is read: its JSON, and the name it is cited by."""

    values: Mapping[str, Any]
    name: str

    def require_version(self, version: int, remedy: str) -> None:
        """Refuse a file of another version than a reader knows.

        Args:
            version: the one it knows.
            remedy: what makes such a file, e.g. "count again".

        Raises:
            IntegrityError: when it is of another version.
        """
        given = self.values.get("version")
        if given != version:
            raise IntegrityError(f"{self.name} has version {given!r}, not {version}; {remedy}.")


Reader = Callable[[File], Learned]


def pixels(size: Any) -> Pixels:
    """Return a size as reports hold it; a Preprocess holds height and width as a list.

    Raises:
        IntegrityError: when it is none.
    """
    try:
        return reported(parse_size(size) if isinstance(size, str) else check_size("size", size))
    except UsageError as error:
        raise IntegrityError(str(error)) from error


def measured_ms(latency: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Speed` for a measured latency, as the runner and the benchmarks write it."""
    low, high = float(latency["min_ms"]), float(latency["p90_ms"])
    return {"kind": "measured", "unit": "ms", "value": float(latency["median_ms"]), "low": low, "high": high}
