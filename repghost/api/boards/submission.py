"""What a board measured, as a small file to send: `repghost.submit`."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from compile.storage.files import sha256
from compile.storage.strict_json import canonical_json
from compile.summary.submission import Submission
from compile.summary.submit import make_submission
from repghost.errors import UsageError
from repghost.files import write_bytes_atomically
from repghost.terminal import Shown

FOLDER = "docs/boards"
ReportLike: TypeAlias = "str | os.PathLike[str]"


@dataclass(frozen=True, repr=False)
class Submitted(Shown):
    """A submission that was written.

    Attributes:
        path: the file.
        values: what it holds, JSON values: figures and words of tables, nothing else.
    """

    path: Path
    values: dict[str, Any]

    def __repr__(self) -> str:
        board, results = self.values["board"], len(self.values["results"])
        return f"{self.path}: {results} results of board {board}, chip {self.values['chip'] or 'not said'}"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"path": str(self.path), "submission": self.values}


def submit(
    reports: ReportLike | Sequence[ReportLike],
    *,
    on: str | None = None,
    output: str | os.PathLike[str] = FOLDER,
) -> Submitted:
    """Write what one board measured as a small JSON for docs/boards, and return it; nothing is sent anywhere.

    It holds the kind of board, chip and core, the governor, and of each measured build of a published network its
    times, clock, temperature and, where it was measured there, accuracy: no host name, serial number, address, user
    name or path.

    Args:
        reports: folders of runs, their report.json, or JSON of `repghost bench --on --json`.
        on: the board, as it was named when it measured; None where only one did.
        output: the folder of the file, whose name is the board and a digest.

    Raises:
        UsageError: when no board measured a published network, or several boards did and none is named.
        IntegrityError: when a report is damaged.
    """
    several: list[Any] = list(reports) if isinstance(reports, list | tuple) else [reports]
    if not several:
        raise UsageError("submit what? Give the folder of a run, or JSON of 'repghost bench --on BOARD --json FILE'.")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    made: Submission = make_submission([Path(path) for path in several], on, today)
    data = canonical_json(made.to_dict())
    name = made.board if made.board != "other" else made.chip.replace(",", "-") or "other"
    path = Path(output) / f"{name}-{sha256(data)[:8]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, data)
    return Submitted(path, made.to_dict())
