"""A folder's ledger: which file was made from what, so that a run that was stopped repeats no finished step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repghost.checkpoints.checkpoint import file_digest
from repghost.errors import IntegrityError
from repghost.files import write_text_atomically

LEDGER = "ledger.json"
LARGEST = 1 << 20  # bytes


@dataclass(frozen=True)
class Ledger:
    """Files of one folder, each with the digest of what decided it and of its bytes."""

    folder: Path

    def make(self, name: str, key: dict[str, Any], make: Callable[[Path], None]) -> bool:
        """Make a file where it is absent, was changed, or was made from something else; return whether it was made.

        Args:
            name: of the file in the folder.
            key: JSON values; everything that decides the file.
            make: writes the file, whole or not at all.
        """
        path, entries = self.folder / name, self._read()
        wanted = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        entry = entries.get(name, {})
        if entry.get("made_from") == wanted and path.is_file() and file_digest(path) == entry.get("sha256"):
            return False
        make(path)
        entries[name] = {"made_from": wanted, "sha256": file_digest(path)}
        write_text_atomically(self.folder / LEDGER, json.dumps(entries, indent=1, sort_keys=True) + "\n")
        return True

    def _read(self) -> dict[str, dict[str, str]]:
        path = self.folder / LEDGER
        if not path.is_file():
            return {}
        try:
            with path.open("rb") as file:
                entries = json.loads(file.read(LARGEST))
        except ValueError as error:
            raise IntegrityError(f"{path} is damaged: {error}. Remove it; its files are then made again.") from error
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise IntegrityError(f"{path} is no ledger. Remove it; its files are then made again.")
        return entries
