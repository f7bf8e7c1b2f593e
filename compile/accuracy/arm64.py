"""The compiled arm64 build under emulation: every logit of every image has to be that of the numpy reference."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from compile.accuracy.network import Network
from compile.accuracy.ours import QDQ
from compile.bundle.vectors import pack_vectors
from compile.machine.replay import verify_bundle
from compile.pipeline import run
from compile.stages.expect import expect
from compile.storage.files import sha256
from compile.storage.measurements import Measurements
from compile.storage.stage_cache import StageCache
from compile.subject.request import Request
from compile.subject.subject import Images
from compile.targets.precisions import INT8
from repghost.evaluation.accuracy import accuracy

IMAGES = 1000


def measure_arm64(network: Network, qdq: bytes, store: Measurements) -> dict[str, Any]:
    """Return what was compared: images, instruction sets, and the top-1 that both have.

    Args:
        network: its test images are taken at equal distances.
        qdq: the quantized file.
        store: keeps the result.

    Raises:
        IntegrityError: when one logit differs.
        ToolMissingError: when there is no emulator.
    """
    key = {"qdq": sha256(qdq), "pictures": network.test_digest, "count": IMAGES}
    return dict(store.record("arm64", key, lambda: _compare(network, qdq)))


def _compare(network: Network, qdq: bytes) -> dict[str, Any]:
    test, count = network.test, min(IMAGES, len(network.test.labels))
    chosen = np.unique(np.linspace(0, len(test.labels) - 1, count).astype(int))
    images = Images(test.images[chosen], test.labels[chosen], test.origin)
    with tempfile.TemporaryDirectory(prefix="repghost-accuracy-") as name:
        folder = Path(name)
        file = folder / QDQ
        file.write_bytes(qdq)
        expected, _ = expect(file, network.subject.preprocess, images, StageCache(folder / "cache"))
        vectors = folder / "vectors.bin"
        vectors.write_bytes(pack_vectors(expected))
        run(
            Request(target="arm64", precisions=(INT8,), weights=str(file), output=folder / "build", fetch=False),
            lambda line: None,
        )
        (bundle,) = (folder / "build").glob("*/arm64/int8")
        verified = verify_bundle(bundle, vectors=vectors)
    return {
        "pictures": len(chosen),
        "reference": accuracy(expected.logits.argmax(1), images.labels).to_dict(),
        "equal_to_the_bit": [{"variant": it.variant, "machine": it.machine} for it in verified.replays],
        "not_run": [{"variant": it.variant, "reason": it.reason} for it in verified.skipped],
    }
