"""A cache of the results of stages: each under the digest of everything that can change it, checked when read back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from compile.storage.files import DIGEST, FILE_LIMIT, NAME, read_plain_file, sha256, write_folder_atomically
from compile.storage.strict_json import canonical_json, parse_strict
from repghost.errors import IntegrityError
from repghost.files import sweep
from repghost.locks import locked

INDEX = "index.json"
ROOT = Path(__file__).resolve().parents[2]  # where the packages lie

Files = dict[str, bytes]


@dataclass(frozen=True)
class StageCache:
    """A folder with one sub-folder per result; a missing or damaged one is made again."""

    folder: Path

    def get(self, stage: str, key: dict[str, Any], make: Callable[[], Files]) -> tuple[Files, bool]:
        """Return the files of a stage, and whether they were in the cache.

        Where another process is making them, this one waits, says so, and takes what that one made.

        Args:
            stage: the name of the stage.
            key: JSON values; everything that can change the result.
            make: makes the files when they are not there.
        """
        place = self.place(stage, key)
        found = _read(place)
        if found is not None:
            return found, True
        with locked(place):
            found = _read(place)
            if found is not None:
                return found, True
            sweep(self.folder)
            files = make()
            index = {"key": key, "files": {name: sha256(data) for name, data in files.items()}}
            write_folder_atomically(place, {**files, INDEX: canonical_json(index)})
        return files, False

    def has(self, stage: str, key: dict[str, Any]) -> bool:
        """Return whether the files of a stage are there and unchanged."""
        return _read(self.place(stage, key)) is not None

    def place(self, stage: str, key: dict[str, Any]) -> Path:
        """Return the folder of a stage's files, whether it is there or not."""
        return self.folder / f"{stage}-{key_digest(key)[:32]}"


def _read(place: Path) -> Files | None:
    """Return the files of an entry, or None when one is missing or was changed."""
    if not place.is_dir():
        return None
    try:
        index = parse_strict(read_plain_file(place / INDEX, 1 << 20), INDEX)["files"]
        files = {}
        for name, digest in index.items():
            if not NAME.fullmatch(name) or not DIGEST.fullmatch(digest):
                return None
            files[name] = read_plain_file(place / name, FILE_LIMIT)
            if sha256(files[name]) != digest:
                return None
    except (IntegrityError, KeyError, AttributeError, TypeError):
        return None
    return files


def key_digest(key: dict[str, Any]) -> str:
    """Return the SHA-256 of a key; equal keys have equal digests in every process."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """Return the installed version of each package."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found
