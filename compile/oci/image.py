"""The container image of one bundle: from scratch, a static runner and the bundle, for an account without rights.

/repghost-run      the runner, static: nothing else is in the image that it could need
/bundle            the bundle as it is
/bundle.sig        its signature, where it has one
/incoming          where the pictures arrive: what is mounted here
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from compile.bundle.host_model import check_interface
from compile.bundle.manifest import MANIFEST, Bundle, bundle_target
from compile.link.stored_runner import stored_runner
from compile.oci.layer import FILE, PROGRAM, Entry, to_layer
from compile.storage.files import EXECUTABLE, read_plain_file, sha256
from compile.targets.table import TARGETS, Container, Target
from repghost.errors import IntegrityError, UsageError
from repghost.untrusted import JSON_BYTES

MEDIA = "application/vnd.oci.image"  # what the types of an image's parts begin with
ACCOUNT = "65534:65534"  # nobody's, on every distribution
ENTRY = ["/repghost-run", "--bundle", "/bundle"]
ORDERS = ["--watch", "/incoming"]  # what a container does unless it is told otherwise, e.g. --verify


@dataclass(frozen=True)
class Blobs:
    """The parts of images by their digests: what equals something else is kept once."""

    content: dict[str, bytes] = field(default_factory=dict)  # by SHA-256

    def add(self, data: bytes, kind: str) -> dict[str, Any]:
        """Keep a part and return its descriptor.

        Args:
            data: its bytes.
            kind: the rest of its media type, e.g. "manifest.v1+json".
        """
        digest = sha256(data)
        self.content[digest] = data
        return {"mediaType": f"{MEDIA}.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    def add_json(self, value: dict[str, Any], kind: str) -> dict[str, Any]:
        """Keep a JSON object, which is written in one way only, and return its descriptor."""
        return self.add(json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii"), kind)


def container_of(bundle: Bundle) -> Container:
    """Return how images name the machine of a bundle.

    Raises:
        UsageError: for a target that no image is made for.
    """
    container = bundle_target(bundle).container
    if container is None:
        able = ", ".join(target.name for target in TARGETS.values() if target.container)
        raise UsageError(f"{bundle.path} is for {bundle.target_name}; container images are made for: {able}.")
    return container


def add_image(blobs: Blobs, bundle: Bundle, signature: bytes | None) -> dict[str, Any]:
    """Keep the parts of a bundle's image and return the descriptor of its manifest, with its platform.

    Args:
        blobs: where the parts are kept.
        bundle: from `compile.bundle.manifest.check_bundle`.
        signature: of the bundle; None: it has none.

    Raises:
        UsageError: for a target that no image is made for.
        IntegrityError: when a file was changed meanwhile, or the bundle has another C interface than today's runner.
    """
    check_interface(bundle)
    container, runner = container_of(bundle), static_runner(bundle, bundle_target(bundle))
    labels = labels_of(bundle, runner, signature)
    layers = [to_layer(entries) for entries in (_runner_entries(runner), _bundle_entries(bundle, signature))]
    platform = {"architecture": container.architecture, "os": "linux"}
    if container.variant:
        platform["variant"] = container.variant
    config = {
        **platform,
        "config": {"User": ACCOUNT, "Entrypoint": ENTRY, "Cmd": ORDERS, "WorkingDir": "/", "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer)}" for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{MEDIA}.manifest.v1+json",
        "config": blobs.add_json(config, "config.v1+json"),
        "layers": [blobs.add(layer, "layer.v1.tar") for layer in layers],
        "annotations": labels,
    }
    return {**blobs.add_json(manifest, "manifest.v1+json"), "platform": platform}


def static_runner(bundle: Bundle, target: Target) -> bytes:
    """Return a runner that needs nothing of the image: the bundle's own where it is static, one that is linked so."""
    if target.runner_triple:
        return bundle.read("repghost-run")
    return stored_runner(replace(target, runner_triple=container_of(bundle).runner_triple))


def labels_of(bundle: Bundle, runner: bytes, signature: bytes | None) -> dict[str, str]:
    """Return what an image says of itself, which every tool shows without starting it."""
    manifest = bundle.manifest
    labels = {
        "org.opencontainers.image.title": str(manifest["model"]["name"]),
        "org.opencontainers.image.version": bundle.digest[:12],
        "repghost.accuracy": json.dumps(manifest["accuracy"], sort_keys=True, separators=(",", ":")),
        "repghost.bundle.digest": bundle.digest,
        "repghost.input": "x".join(str(side) for side in bundle.shape),
        "repghost.model.digest": str(manifest["files"]["model.so"]["sha256"]),
        "repghost.precision": str(manifest["precision"]),
        "repghost.program.digest": str(manifest["program_digest"]),
        "repghost.runner.digest": sha256(runner),
        "repghost.target": bundle.target_name,
    }
    if signature is not None:
        labels["repghost.signature"] = signature.decode("utf-8", "replace").strip()
    return labels


def _runner_entries(runner: bytes) -> Iterable[Entry]:
    return Entry("incoming"), Entry("repghost-run", runner, PROGRAM)


def _bundle_entries(bundle: Bundle, signature: bytes | None) -> Iterable[Entry]:
    """Yield the bundle as it is, read and checked once more while it is packed."""
    yield Entry("bundle")
    manifest = read_plain_file(bundle.path / MANIFEST, JSON_BYTES)
    if sha256(manifest) != bundle.digest:
        raise IntegrityError(f"{bundle.path / MANIFEST} changed while the bundle was packed. Try again.")
    yield Entry(f"bundle/{MANIFEST}", manifest)
    for name in bundle.manifest["files"]:
        yield Entry(f"bundle/{name}", bundle.read(name), PROGRAM if name in EXECUTABLE else FILE)
    if signature is not None:
        yield Entry("bundle.sig", signature)
