"""An OCI image layout: one index over the images of several machines, in a folder.

oci-layout         the version of the layout
index.json         names the image index
blobs/sha256/...   the index, and of each image manifest, config and layers
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.bundle.manifest import Bundle
from compile.oci.image import MEDIA, Blobs, add_image, container_of
from compile.storage.files import write_folder_atomically
from compile.storage.strict_json import canonical_json
from repghost.errors import UsageError
from repghost.terminal import Shown

MARK = "oci-layout"  # the file that makes a folder a layout
NAME = "localhost/repghost:latest"
# A reference as registries take it: host and path in lower case, then a tag; without a digest.
WORD = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
TAG = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
REFERENCE = re.compile(rf"(?P<path>{WORD}(?::[0-9]{{1,5}}(?=/))?(?:/{WORD})*)(?::(?P<tag>{TAG}))?")
LONGEST_NAME = 255


@dataclass(frozen=True, repr=False)
class PackedImage(Shown):
    """A container image of bundles, in a folder."""

    path: Path
    name: str  # as a registry would call it
    digest: str  # of the image index
    platforms: dict[str, str]  # e.g. "linux/arm64": the digest of its bundle
    size: int  # bytes of all parts

    def __repr__(self) -> str:
        lines = [f"packed: {self.path} as {self.name}, {self.size / 1e6:.1f} MB, image sha256:{self.digest}"]
        return "\n".join([*lines, *(f"  {name}: bundle {digest[:12]}" for name, digest in self.platforms.items())])

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {**vars(self), "path": str(self.path)}


def write_layout(path: Path, bundles: Sequence[tuple[Bundle, bytes | None]], name: str = NAME) -> PackedImage:
    """Write the images of bundles of one network; the same bundles give the same bytes on every machine.

    Args:
        path: the folder; a layout that is there already is replaced in one step.
        bundles: checked ones, each for another kind of machine, with its signature or None.
        name: as a registry would call the image, with or without a tag.

    Raises:
        UsageError: when they do not fit together, `name` is none, or something else lies at `path`.
    """
    path = Path(path)
    _check_place(path)
    reference, tag = parse_name(name)
    platforms = _check_together([bundle for bundle, _ in bundles])
    blobs = Blobs()
    images = [add_image(blobs, *packed) for packed in sorted(bundles, key=lambda it: it[0].target_name)]
    kind = {"schemaVersion": 2, "mediaType": f"{MEDIA}.index.v1+json"}
    index = blobs.add_json({**kind, "manifests": images}, "index.v1+json")
    names = {"io.containerd.image.name": f"{reference}:{tag}", "org.opencontainers.image.ref.name": tag}
    files = {f"blobs/sha256/{digest}": data for digest, data in blobs.content.items()}
    files[MARK] = canonical_json({"imageLayoutVersion": "1.0.0"})
    files["index.json"] = canonical_json({**kind, "manifests": [{**index, "annotations": names}]})
    write_folder_atomically(path, files)
    size = sum(len(data) for data in files.values())
    return PackedImage(path, f"{reference}:{tag}", index["digest"].removeprefix("sha256:"), platforms, size)


def parse_name(name: str) -> tuple[str, str]:
    """Return path and tag of an image's name; without a tag it is "latest".

    Raises:
        UsageError: when registries would not take it.
    """
    found = REFERENCE.fullmatch(name)
    if not found or len(name) > LONGEST_NAME:
        raise UsageError(
            f"{name!r:.300} is no name of an image; allowed are lower-case names with slashes between them and a tag, "
            f"e.g. registry.example/cameras/net:1 or {NAME}."
        )
    return found["path"], found["tag"] or "latest"


def _check_place(path: Path) -> None:
    if path.is_dir() and any(path.iterdir()) and not (path / MARK).is_file():
        raise UsageError(f"{path} is a folder with something else in it; name a new one, or one with an image layout.")


def _check_together(bundles: Sequence[Bundle]) -> dict[str, str]:
    """Return the digests of bundles by platform; all have to be one network, each for a machine of its own."""
    if not bundles:
        raise UsageError("an image needs at least one bundle.")
    first, found = bundles[0], dict[str, str]()
    for bundle in bundles:
        for what, key in (("program", "program_digest"), ("input", "input"), ("preprocessing", "preprocess")):
            if bundle.manifest[key] != first.manifest[key]:
                raise UsageError(f"{bundle.path} has another {what} than {first.path}; one image holds one network.")
        if bundle.labels() != first.labels():
            raise UsageError(f"{bundle.path} names other classes than {first.path}; one image holds one network.")
        container = container_of(bundle)
        platform = "/".join(word for word in ("linux", container.architecture, container.variant) if word)
        if platform in found:
            raise UsageError(
                f"{bundle.path} is for {platform}, as another of these bundles is; give one for each kind of machine."
            )
        found[platform] = bundle.digest
    return found
