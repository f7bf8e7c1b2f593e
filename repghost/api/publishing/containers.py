"""Bundles as a container image, for fleets that an engine rolls out: `repghost.pack`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from compile.bundle.manifest import Bundle, check_bundle
from compile.bundle.signing import MOST_BYTES, signature_path, verify_signature
from compile.deploy.gate import DROP_LIMIT_POINTS, check_gate
from compile.oci.layout import NAME, PackedImage, write_layout
from repghost.api.bundles import BundleLike, as_paths
from repghost.errors import IntegrityError
from repghost.untrusted import read_bounded


def pack(
    bundles: BundleLike | Sequence[BundleLike],
    *,
    oci: str | os.PathLike[str],
    name: str = NAME,
    accept_unmeasured: bool = False,
    max_drop: float = DROP_LIMIT_POINTS,
    public_key: str | os.PathLike[str] | None = None,
) -> PackedImage:
    """Write bundles of one network, each for another kind of machine, as one container image: an OCI image layout.

    The image is from scratch and runs as nobody: a static runner that watches /incoming, and the bundle. The same
    bundles give the same bytes. No daemon is needed.

    Args:
        bundles: a bundle or several; each its folder, or what `repghost.compile` returned.
        oci: the folder to write; a layout that is there is replaced.
        name: as a registry would call the image, with or without a tag.
        accept_unmeasured: also without a passing accuracy record.
        max_drop: percentage points of top-1 that they may have lost.
        public_key: demand a signature BUNDLE.sig by this key (PEM) of each; without it, one that is there is packed
            unseen.

    Raises:
        UsageError: when they are not one network, two are for the same machine, or no image is made for one.
        AccuracyGateError: when one has no passing accuracy record.
        ToolMissingError: when the linker of the static runner is not installed.
        IntegrityError: when a file was changed, or a signature does not match.
    """
    checked = [check_bundle(path) for path in as_paths(bundles)]
    for bundle in checked:
        if public_key is not None:
            verify_signature(bundle, Path(public_key))
        if not accept_unmeasured:
            check_gate(bundle, max_drop)
    return write_layout(Path(oci), [(bundle, _signature(bundle)) for bundle in checked], name)


def _signature(bundle: Bundle) -> bytes | None:
    place = signature_path(bundle.path)
    return read_bounded(place, MOST_BYTES, error=IntegrityError) if place.is_file() else None
