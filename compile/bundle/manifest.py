"""A bundle, the folder that goes to a device: written whole, and checked before anything in it is used.

    model.so        code and weights; needs no library
    repghost-run    checks, verifies, measures and uses the bundle on the device
    repghost.h      the C interface of model.so
    labels.txt      one class name a line
    vectors.bin     recorded images and expected logits (compile/bundle/vectors.py)
    manifest.json   everything else, and the SHA-256 of each other file

Targets of another form (compile/targets/forms.py) have other names for the first three.

A bundle is flat and holds nothing besides the files its manifest names. The bundle digest is the SHA-256 of the
manifest.
"""

from __future__ import annotations

import math
import os
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from compile.bundle.sections import Sections
from compile.storage.files import DIGEST, FILE_LIMIT, NAME, read_plain_file, sha256, write_folder_atomically
from compile.storage.strict_json import canonical_json, parse_strict
from compile.storage.typed_json import check_types
from compile.targets.forms import ELF, Form
from compile.targets.table import HOST, TARGETS, Target, find_target
from repghost.data.images.preprocess import Preprocess
from repghost.data.names.class_names import from_lines
from repghost.detection.boxes import BoxRule
from repghost.errors import IntegrityError, UsageError, command
from repghost.hub.address import is_address, parse_address
from repghost.sizes import reported

FORMAT = "repghost-bundle"
VERSION = 1
RESULTS_VERSION = 2  # of a network with several results, which readers of version 1 do not understand
MANIFEST = "manifest.json"
SHOWN = 8  # bundles in a message
FILES = ELF.files
ENGINE_TARGETS = frozenset({"jetson"})  # the board builds the engine itself, with scripts of the bundle
ENGINE_FILES = frozenset({"build.sh", "check.sh", "labels.txt"})  # what such a bundle holds at least
MOST_FILES = 64
MOST_CLASSES = 1_000_000  # as in `ModelSpec`

SECTIONS = tuple(entry.name for entry in fields(Sections) if entry.default_factory is MISSING)
OF_RESULTS = {"outputs", "detection"}  # sections of `RESULTS_VERSION`; the second is that of detectors
MOST_OUTPUTS, MOST_NUMBERS = 64, 1 << 26


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: every file was there with the promised size and digest."""

    path: Path
    manifest: dict[str, Any]  # the sections above, and files
    digest: str  # the bundle digest

    @property
    def target_name(self) -> str:
        """The row of `compile.targets.table` it was made for."""
        return str(self.manifest["target"]["name"])

    @property
    def form(self) -> Form:
        """What its program is."""
        return form_of(self.target_name)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images it takes."""
        entry = self.manifest["input"]
        return entry["height"], entry["width"], entry["channels"]

    @property
    def size(self) -> int | str:
        """Pixels of the images it takes, as reports hold them: a number, or e.g. "96x160"."""
        return reported(self.shape[:2])

    def read(self, name: str) -> bytes:
        """Return the content of a file, checked against the manifest at this moment.

        Raises:
            IntegrityError: when the file is not what the manifest says.
            UsageError: when a bundle of this target has no such file.
        """
        if name not in self.manifest["files"]:
            raise UsageError(f"{self.path} is for {self.target_name} and holds no {name}; give a bundle that has one.")
        entry, data = self.manifest["files"][name], read_plain_file(self.path / name, FILE_LIMIT)
        if len(data) != entry["size"] or sha256(data) != entry["sha256"]:
            raise IntegrityError(
                f"{self.path / name} was changed: {len(data)} bytes with SHA-256 {sha256(data)}, but the manifest says "
                f"{entry['size']} bytes with {entry['sha256']}. Copy or build the bundle again."
            )
        return data

    def labels(self) -> tuple[str, ...]:
        """Return the class names."""
        return from_lines(self.read("labels.txt"))


def write_bundle(path: Path, files: dict[str, bytes], sections: dict[str, Any]) -> Bundle:
    """Write a bundle; it is read back and checked as a reader would before it replaces an earlier one.

    Args:
        path: the folder of the bundle.
        files: content of the files named above; a bundle for one of `ENGINE_TARGETS` has others.
        sections: every key of `SECTIONS`, and of several results those of `OF_RESULTS`.

    Raises:
        UsageError: when a file or section is missing or unknown.
        IntegrityError: when the files do not fit together, or are not on the disk as they were made.
    """
    path = Path(path)
    entries = {name: {"size": len(data), "sha256": sha256(data)} for name, data in files.items()}
    version = RESULTS_VERSION if "outputs" in sections else VERSION
    manifest = {"format": FORMAT, "version": version, "files": entries, **sections}
    try:
        _check_manifest(manifest)
    except IntegrityError as error:
        raise UsageError(f"the bundle cannot be written: {error}") from error
    checked: list[Bundle] = []

    def check(folder: Path) -> None:
        try:
            checked.append(check_bundle(folder))
        except IntegrityError as error:
            reason = str(error).replace(str(folder), str(path))
            raise IntegrityError(f"the bundle was not written, and {path} is as it was: {reason}") from error

    write_folder_atomically(path, {**files, MANIFEST: canonical_json(manifest)}, check)
    return replace(checked[0], path=path)


def _check_manifest(manifest: dict[str, Any]) -> None:
    """Raise IntegrityError when a manifest is not one of ours, or names a file it must not."""
    if manifest.get("format") != FORMAT:
        raise IntegrityError(f"{MANIFEST} is of format {manifest.get('format')!r:.80}, not {FORMAT!r}.")
    version = manifest.get("version")
    if type(version) is not int or version not in (VERSION, RESULTS_VERSION):
        raise IntegrityError(
            f"{MANIFEST} has version {version!r:.80}; this program reads versions {VERSION} and {RESULTS_VERSION}."
        )
    several = version == RESULTS_VERSION
    needed = {"format", "version", "files", *SECTIONS} | ({"outputs"} if several else set())
    wrong = sorted(needed ^ (set(manifest) - ({"detection"} if several else set())))
    if wrong:
        raise IntegrityError(f"{MANIFEST}: the keys {wrong} are missing or unknown.")
    present = [key for key in (*SECTIONS, *sorted(OF_RESULTS)) if key in manifest]
    sections = check_types({key: manifest[key] for key in present}, Sections, MANIFEST)
    sides = [sections.input.height, sections.input.width]
    most = MOST_NUMBERS if several else MOST_CLASSES
    if any(not 1 <= side <= 1 << 14 for side in sides) or not 1 <= sections.classes <= most:
        raise IntegrityError(f"{MANIFEST}: input {sides} or classes {sections.classes} is out of range.")
    if several:
        _check_outputs(sections, "detection" in manifest)
    try:
        prepared = Preprocess.from_dict(sections.preprocess).shape
    except UsageError as error:
        raise IntegrityError(f"{MANIFEST}: preprocess: {error}") from error
    if prepared != (*sides, sections.input.channels):
        raise IntegrityError(f"{MANIFEST}: input {[*sides, sections.input.channels]} is not what preprocess makes.")
    files = manifest["files"]
    if not isinstance(files, dict) or len(files) > MOST_FILES:
        raise IntegrityError(f"{MANIFEST}: files must be an object of at most {MOST_FILES}, not {str(files)[:200]}.")
    if sections.target.name in ENGINE_TARGETS:
        if not set(files) >= ENGINE_FILES:
            raise IntegrityError(f"{MANIFEST}: files must name {sorted(ENGINE_FILES)}, not {sorted(files)}.")
    elif not sections.variants:
        raise IntegrityError(f"{MANIFEST}: variants must name an instruction set.")
    elif not (form := form_of(sections.target.name)).is_whole(files):
        raise IntegrityError(f"{MANIFEST}: files must be exactly {sorted(form.files)}, not {sorted(files)}.")
    for name, entry in files.items():
        _check_entry(name, entry)


def _check_outputs(sections: Sections, detects: bool) -> None:
    """Refuse results whose sizes do not add up, or that are not those of the detector."""
    sizes = [(it.height, it.width, it.channels) for it in sections.outputs]
    if not 2 <= len(sizes) <= MOST_OUTPUTS or any(not 1 <= side <= MOST_NUMBERS for size in sizes for side in size):
        raise IntegrityError(f"{MANIFEST}: outputs must be 2 to {MOST_OUTPUTS} maps of positive sizes.")
    numbers = sum(math.prod(size) for size in sizes)
    if numbers != sections.classes:
        raise IntegrityError(f"{MANIFEST}: the outputs have {numbers} numbers, classes says {sections.classes}.")
    if detects:
        try:
            wanted = BoxRule.from_dict(sections.detection).shapes()
        except UsageError as error:
            raise IntegrityError(f"{MANIFEST}: detection: {error}") from error
        if list(wanted) != sizes:
            raise IntegrityError(
                f"{MANIFEST}: the outputs are not those of its detection: {sizes}, not {list(wanted)}."
            )


def form_of(target_name: str) -> Form:
    """Return the form of a target's programs; the usual one of a target that this version does not know."""
    target = TARGETS.get(target_name)
    return target.form if target else ELF


def parse_manifest(text: bytes) -> dict[str, Any]:
    """Return the content of a manifest.

    Raises:
        IntegrityError: when it is not one of ours, or names a file it must not.
    """
    manifest = parse_strict(text, MANIFEST)
    _check_manifest(manifest)
    return manifest


def _check_entry(name: str, entry: Any) -> None:
    if not NAME.fullmatch(name) or name == MANIFEST or not isinstance(entry, dict) or set(entry) != {"size", "sha256"}:
        raise IntegrityError(f"{MANIFEST}: the entry of {name!r} must hold size and sha256 and nothing else.")
    if type(entry["size"]) is not int or not 0 <= entry["size"] <= FILE_LIMIT:
        size = f"{entry['size']!r:.80}"
        raise IntegrityError(f"{MANIFEST}: the size of {name!r} is {size}; at most {FILE_LIMIT} is allowed.")
    if not isinstance(entry["sha256"], str) or not DIGEST.fullmatch(entry["sha256"]):
        raise IntegrityError(f"{MANIFEST}: the sha256 of {name!r} is not 64 lower-case hexadecimal digits.")


def refuse_training_run(path: Path) -> None:
    """Refuse the folder of a training run where a bundle is meant.

    Raises:
        UsageError: with its network.
    """
    weights = path / "model.safetensors"
    if weights.is_file():
        raise UsageError(f"{path} is no bundle but the folder of a training run, whose network is {weights}.")


def check_bundle(path: Path) -> Bundle:
    """Check every promise of a bundle that can be checked without running anything in it.

    Args:
        path: the folder of the bundle.

    Raises:
        UsageError: when there is no bundle at `path`.
        IntegrityError: when a file is missing, foreign, changed, or no regular file, or the manifest is not ours.
    """
    path = Path(path)
    if is_address(path):
        raise UsageError(
            f"{parse_address(path)} is on the hub; fetch it with 'repghost pull', and give its folder here."
        )
    if not path.is_dir():
        raise UsageError(f"{path} is no folder; give the folder of a bundle, e.g. build/<model>/arm64/int8.")
    if not os.path.lexists(path / MANIFEST):
        found = sorted(str(entry.parent) for entry in (*path.glob(f"*/{MANIFEST}"), *path.glob(f"*/*/{MANIFEST}")))
        if not found:
            refuse_training_run(path)
        hint = (
            f"there are bundles in it: {', '.join(found[:SHOWN])}."
            if found
            else f"build one with '{command('compile')}'."
        )
        raise UsageError(f"{path} holds no {MANIFEST}, so it is no bundle; {hint}")
    text = read_plain_file(path / MANIFEST, 1 << 20)
    manifest = parse_manifest(text)
    listed = {*manifest["files"], MANIFEST}
    foreign = sorted({entry.name for entry in path.iterdir()} - listed)
    if foreign:
        raise IntegrityError(f"{path} holds {foreign}, which its manifest does not name; remove them.")
    bundle = Bundle(path, manifest, sha256(text))
    for name in manifest["files"]:
        bundle.read(name)
    named = None if "outputs" in manifest else manifest["classes"]
    named = manifest["detection"]["classes"] if "detection" in manifest else named
    if named is not None and len(bundle.labels()) != named:
        raise IntegrityError(f"{path}: labels.txt names {len(bundle.labels())} classes, not {named}.")
    return bundle


def bundle_target(bundle: Bundle) -> Target:
    """Return the row a bundle was made for.

    Raises:
        IntegrityError: when the manifest names a row that this version does not have.
        UsageError: for a bundle without a runner, whose engine is built on the board.
    """
    if bundle.target_name in ENGINE_TARGETS:
        raise UsageError(
            f"{bundle.path} is for {bundle.target_name} and runs nowhere else: its build.sh, check.sh and measure.sh "
            "build, check and measure an engine on the board. 'repghost verify' replays its samples here."
        )
    try:
        if bundle.target_name == HOST:
            raise UsageError("a bundle names the machine it is for")
        return find_target(bundle.target_name)
    except UsageError as error:
        raise IntegrityError(f"{bundle.path} is for an unknown target: {error}") from error
