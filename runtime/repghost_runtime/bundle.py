"""A bundle on disk: every promise of its manifest is checked before anything in it is used."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from repghost_runtime.errors import IntegrityError, UsageError
from repghost_runtime.find_boxes import Rule

FORMAT, VERSION, MANIFEST = "repghost-bundle", 1, "manifest.json"
RESULTS_VERSION = 2  # of a network with several results
FILES = frozenset({"model.so", "repghost-run", "repghost.h", "labels.txt", "vectors.bin"})
MANIFEST_LIMIT, FILE_LIMIT = 1 << 20, 1 << 30  # bytes
MOST_SIDE, MOST_CLASSES = 1 << 14, 1_000_000
MOST_OUTPUTS, MOST_NUMBERS = 64, 1 << 26
DIGEST = re.compile(r"[0-9a-f]{64}")

Pathlike = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Output:
    """One of several results: float32 [height, width, channels]."""

    name: str
    height: int
    width: int
    channels: int

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return self.height * self.width * self.channels


@dataclass(frozen=True)
class Bundle:
    """A folder whose files were there with the promised sizes and digests."""

    path: Path
    manifest: dict[str, Any]
    digest: str  # the SHA-256 of the manifest
    library: bytes  # model.so, as it was checked; empty once it was loaded
    labels: tuple[str, ...]
    outputs: tuple[Output, ...] = ()  # of a network with several results, in the order of their numbers
    rule: Rule | None = None  # of a detector: how its numbers become boxes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images that the network takes."""
        entry = self.manifest["input"]
        return entry["height"], entry["width"], entry["channels"]

    def read(self, name: str) -> bytes:
        """Return the content of a file, checked against the manifest at this moment."""
        return _checked(self.path, name, self.manifest["files"][name])


def read_bundle(path: Pathlike, digest: str = "") -> Bundle:
    """Return a bundle after checking all of it.

    Args:
        path: its folder.
        digest: the beginning of the SHA-256 that its manifest has to have, hexadecimal; empty: any.

    Raises:
        UsageError: when there is no bundle at `path`.
        IntegrityError: when it is not as its manifest says, or has another digest.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give the folder of a bundle, with a {MANIFEST} in it.")
    if not os.path.lexists(folder / MANIFEST):
        raise UsageError(f"{folder} holds no {MANIFEST}, so it is no bundle; 'repghost compile' makes one.")
    text = read_file(folder / MANIFEST, MANIFEST_LIMIT)
    found = hashlib.sha256(text).hexdigest()
    if not found.startswith(digest.lower()):
        raise IntegrityError(f"{folder} is the bundle {found}, not {digest}. Get the one that was meant.")
    manifest = parse_manifest(text)
    foreign = sorted(set(os.listdir(folder)) - FILES - {MANIFEST})  # noqa: PTH208 - names are enough
    if foreign:
        raise IntegrityError(f"{folder} holds {foreign[:8]}, which its manifest does not name; remove them.")
    kept: dict[str, bytes] = {}
    for name in sorted(FILES):
        data = _checked(folder, name, manifest["files"][name])
        if name in ("labels.txt", "model.so"):  # the others are read again where they are asked for
            kept[name] = data
    labels, outputs = _lines(kept["labels.txt"]), parse_outputs(manifest)
    rule = parse_rule(manifest, outputs)
    named = rule.classes if rule else len(outputs) or manifest["classes"]
    if len(labels) != named:
        raise IntegrityError(f"{folder}: labels.txt has {len(labels)} names, not {named}.")
    return Bundle(folder, manifest, found, kept["model.so"], labels, outputs, rule)


def parse_manifest(text: bytes) -> dict[str, Any]:
    """Return what a manifest says; what this package does not use is not looked at.

    Raises:
        IntegrityError: when it is no manifest, or names other files than a bundle has.
    """
    manifest = _parse_json(text)
    if manifest.get("format") != FORMAT:
        raise IntegrityError(f"{MANIFEST} is not of the format {FORMAT!r}.")
    if type(manifest.get("version")) is not int or manifest["version"] not in (VERSION, RESULTS_VERSION):
        raise IntegrityError(
            f"{MANIFEST} has another version than {VERSION} and {RESULTS_VERSION}; take a repghost-runtime that reads "
            "it."
        )
    files, image = manifest.get("files"), manifest.get("input")
    if not isinstance(files, dict) or not isinstance(image, dict):
        raise IntegrityError(f"{MANIFEST}: files or input is missing.")
    if set(files) != FILES:
        raise IntegrityError(
            f"{MANIFEST}: its files are {sorted(files)[:8]!r}, not {sorted(FILES)}. Bundles for Jetson, whose "
            "engine is built on the board, and for browsers have no library to load."
        )
    for name, entry in files.items():
        _check_entry(name, entry)
    sides = [image.get("height"), image.get("width")]
    if not all(_is_whole(side, 1, MOST_SIDE) for side in sides) or image.get("channels") not in (1, 2, 3, 4):
        raise IntegrityError(f"{MANIFEST}: input is out of range.")
    most = MOST_CLASSES if manifest["version"] == VERSION else MOST_NUMBERS
    if not _is_whole(manifest.get("classes"), 1, most):
        raise IntegrityError(f"{MANIFEST}: classes is out of range.")
    return manifest


def parse_outputs(manifest: dict[str, Any]) -> tuple[Output, ...]:
    """Return the results of a network that has several; () of one with scores of classes.

    Raises:
        IntegrityError: when they are damaged, or have other numbers than the manifest says.
    """
    several, entries = manifest["version"] == RESULTS_VERSION, manifest.get("outputs")
    if (entries is None) is several or (not several and "detection" in manifest):
        raise IntegrityError(f"{MANIFEST}: outputs and detection belong to version {RESULTS_VERSION} alone.")
    if not several:
        return ()
    keys = {"name", "height", "width", "channels"}
    if not isinstance(entries, list) or not 2 <= len(entries) <= MOST_OUTPUTS:
        raise IntegrityError(f"{MANIFEST}: outputs must be 2 to {MOST_OUTPUTS} maps.")
    for entry in entries:
        sizes = isinstance(entry, dict) and set(entry) == keys and [entry[key] for key in sorted(keys - {"name"})]
        if not sizes or not all(_is_whole(it, 1, MOST_NUMBERS) for it in sizes) or not isinstance(entry["name"], str):
            raise IntegrityError(f"{MANIFEST}: an output has a name, height, width and channels.")
    found = tuple(Output(**entry) for entry in entries)
    if sum(it.numbers for it in found) != manifest["classes"]:
        raise IntegrityError(f"{MANIFEST}: the outputs have other numbers than classes says.")
    return found


def parse_rule(manifest: dict[str, Any], outputs: tuple[Output, ...]) -> Rule | None:
    """Return how a detector's numbers become boxes; None of any other network.

    Raises:
        IntegrityError: when it is damaged or does not fit the results.
    """
    if "detection" not in manifest:
        return None
    try:
        rule = Rule.from_dict(manifest["detection"])
    except ValueError as error:
        raise IntegrityError(f"{MANIFEST}: detection: {error}") from error
    if rule.shapes() != tuple((it.height, it.width, it.channels) for it in outputs):
        raise IntegrityError(f"{MANIFEST}: the outputs are not those of its detection.")
    return rule


def read_file(path: Path, limit: int) -> bytes:
    """Return the content of a regular file; a link, a pipe or a device is refused at once, never waited for.

    Raises:
        IntegrityError: when it cannot be read, is something else, or is larger than `limit` bytes.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        reason = "a symbolic link" if path.is_symlink() else error.strerror
        raise IntegrityError(f"{path}: cannot be read ({reason}).") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise IntegrityError(f"{path}: not a regular file; folders, pipes and devices are not read.")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size > limit:
            raise IntegrityError(f"{path}: {status.st_size} bytes; at most {limit} are allowed.")
        return file.read(limit + 1)


def _checked(folder: Path, name: str, entry: dict[str, Any]) -> bytes:
    data = read_file(folder / name, entry["size"])
    found = hashlib.sha256(data).hexdigest()
    if len(data) != entry["size"] or found != entry["sha256"]:
        raise IntegrityError(
            f"{folder / name} was changed: {len(data)} bytes with SHA-256 {found}, but {MANIFEST} says {entry['size']} "
            f"bytes with {entry['sha256']}. Copy the bundle again."
        )
    return data


def _check_entry(name: str, entry: Any) -> None:
    if not isinstance(entry, dict) or set(entry) != {"size", "sha256"}:
        raise IntegrityError(f"{MANIFEST}: the entry of {name!r} must hold size and sha256 and nothing else.")
    if not _is_whole(entry["size"], 0, FILE_LIMIT):
        raise IntegrityError(f"{MANIFEST}: the size of {name!r} is no number from 0 to {FILE_LIMIT}.")
    if not isinstance(entry["sha256"], str) or not DIGEST.fullmatch(entry["sha256"]):
        raise IntegrityError(f"{MANIFEST}: the sha256 of {name!r} is not 64 lower-case hexadecimal digits.")


def _is_whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _lines(data: bytes) -> tuple[str, ...]:
    text = data.decode("utf-8", "replace")
    return tuple((text[:-1] if text.endswith("\n") else text).split("\n")) if text else ()


def _parse_json(text: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key stands twice in one object")
        return dict(pairs)

    def whole(digits: str) -> int:
        if len(digits) > 20:
            raise ValueError("a number has more than 20 digits")
        return int(digits)

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    try:
        value = json.loads(text.decode(), object_pairs_hook=once, parse_int=whole, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{MANIFEST} is not strict JSON: {str(error)[:200]}.") from error
    if not isinstance(value, dict):
        raise IntegrityError(f"{MANIFEST} holds no JSON object.")
    return value
