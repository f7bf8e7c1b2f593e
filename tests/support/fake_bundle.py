"""Bundles of a network that is written by hand, for tests that need no compiler."""

from __future__ import annotations

from functools import cache

from compile.bundle.host_model import ABI
from compile.bundle.vectors import Vectors, pack_vectors
from compile.link.stored_runner import stored_runner
from compile.link.toolchain import RUNNER_SOURCES, link_model
from compile.targets.table import Target
from repghost.data.images.preprocess import Preprocess
from tests.support.fake_network import CLASSES, HEIGHT, WIDTH, expected_logits, fake_network, random_images

PREPROCESS = Preprocess(size=HEIGHT, resize=HEIGHT)


LABELS = tuple(f"class {index}" for index in range(CLASSES))


def fake_info() -> dict[str, object]:
    return {
        "abi": ABI,
        "input": {"height": HEIGHT, "width": WIDTH, "channels": 3},
        "classes": CLASSES,
        "model": "fake",
        "preprocess": PREPROCESS.to_dict(),
    }


def fake_sections(target: Target) -> dict[str, object]:
    return {
        "abi": ABI,
        "model": {"name": "fake"},
        "target": {"name": target.name, "triple": target.triple},
        "precision": "int8",
        "program_digest": "0" * 64,
        "input": {"height": HEIGHT, "width": WIDTH, "channels": 3},
        "classes": CLASSES,
        "preprocess": PREPROCESS.to_dict(),
        "quantization": {},
        "variants": [variant.name for variant in target.variants_for("int8")],
        "layers": [],
        "accuracy": {"measured": False, "reason": "a network made for tests"},
        "tools": {},
    }


def fake_files(target: Target) -> dict[str, bytes]:
    """The files of a bundle, made once for each target in a process; the runner is kept for all of them."""
    return dict(_made(target))


@cache
def _made(target: Target) -> dict[str, bytes]:
    images = random_images(12)
    return {
        "model.so": link_model(fake_network(target), target, fake_info()),
        "repghost-run": stored_runner(target),
        "repghost.h": (RUNNER_SOURCES / "repghost.h").read_bytes(),
        "labels.txt": "".join(f"{label}\n" for label in LABELS).encode(),
        "vectors.bin": pack_vectors(Vectors(images, expected_logits(images))),
    }
