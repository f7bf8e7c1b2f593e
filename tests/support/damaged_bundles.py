"""Every way to damage a manifest or a file of a bundle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compile.bundle.manifest import MANIFEST
from compile.storage.strict_json import canonical_json


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    change(manifest)
    (path / MANIFEST).write_bytes(canonical_json(manifest))


def set_files(name: str, entry: object) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["files"].__setitem__(name, entry)


def set_entry(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["files"]["model.so"].__setitem__(key, value)


MANIFEST_CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "other format": lambda manifest: manifest.update(format="zip"),
    "version 0": lambda manifest: manifest.update(version=0),
    "future version": lambda manifest: manifest.update(version=3),
    "version as text": lambda manifest: manifest.update(version="1"),
    "no files": lambda manifest: manifest.pop("files"),
    "files as list": lambda manifest: manifest.update(files=[]),
    "model.so not listed": lambda manifest: manifest["files"].pop("model.so"),
    "parent folder": set_files("../model.so", {"size": 0, "sha256": "0" * 64}),
    "absolute path": set_files("/etc/passwd", {"size": 0, "sha256": "0" * 64}),
    "sub-folder": set_files("a/b", {"size": 0, "sha256": "0" * 64}),
    "backslash": set_files("a\\b", {"size": 0, "sha256": "0" * 64}),
    "hidden file": set_files(".hidden", {"size": 0, "sha256": "0" * 64}),
    "empty name": set_files("", {"size": 0, "sha256": "0" * 64}),
    "long name": set_files("x" * 65, {"size": 0, "sha256": "0" * 64}),
    "the manifest itself": set_files(MANIFEST, {"size": 0, "sha256": "0" * 64}),
    "entry without digest": set_files("model.so", {"size": 1}),
    "entry as number": set_files("model.so", 5),
    "size one less": lambda manifest: manifest["files"]["model.so"].__setitem__(
        "size", manifest["files"]["model.so"]["size"] - 1
    ),
    "negative size": set_entry("size", -1),
    "size as text": set_entry("size", "12"),
    "fractional size": set_entry("size", 12.5),
    "short digest": set_entry("sha256", "0" * 63),
    "long digest": set_entry("sha256", "0" * 65),
    "upper-case digest": lambda manifest: manifest["files"]["model.so"].__setitem__(
        "sha256", manifest["files"]["model.so"]["sha256"].upper()
    ),
    "digest of nothing": set_entry("sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    "digest as number": set_entry("sha256", 0),
    "digests swapped": lambda manifest: manifest["files"].update(
        {"labels.txt": manifest["files"]["vectors.bin"], "vectors.bin": manifest["files"]["labels.txt"]}
    ),
}


PYTHON_ONLY: dict[str, Callable[[dict[str, Any]], None]] = {
    "unknown key": lambda manifest: manifest.update(extra=1),
    "missing section": lambda manifest: manifest.pop("preprocess"),
    "section of another type": lambda manifest: manifest.update(target="arm64"),
    "boolean as number": lambda manifest: manifest.update(classes=True),
    "no classes": lambda manifest: manifest.update(classes=0),
    "more classes than labels": lambda manifest: manifest.update(classes=11),
    "input of size 0": lambda manifest: manifest["input"].update(height=0),
    "input that preprocess does not make": lambda manifest: manifest["input"].update(width=9),
    "channels that preprocess does not make": lambda manifest: manifest["input"].update(channels=1),
    "more in an entry": set_entry("mode", 0o777),
}


RAW_MANIFESTS = {
    "empty": b"",
    "not JSON": b"hello",
    "array": b"[]",
    "not UTF-8": b'{"format": "\xff"}',
    "duplicate key": b'{"format": "repghost-bundle", "format": "repghost-bundle"}',
    "depth bomb": b"[" * 200000,
    "object bomb": b'{"a":' * 200000,
    "too large": b" " * ((1 << 20) + 1),
    "not a number": b'{"version": NaN}',
}


def symlink(path: Path) -> None:
    path.rename(path.with_name("..elsewhere"))
    shutil.move(path.with_name("..elsewhere"), path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


FILE_CHANGES: dict[str, Callable[[Path], None]] = {
    "removed": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b"") and None,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]) and None,
    "extended": lambda path: path.write_bytes(path.read_bytes() + b"\n") and None,
    "a symbolic link": symlink,
    "a pipe": pipe,
    "a folder": folder,
    "replaced by another": lambda path: shutil.copy(path.with_name("repghost.h"), path) and None,
}
