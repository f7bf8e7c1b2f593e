"""Bundles of the hand-written network, built once per run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from compile.bundle.host_model import ABI
from compile.bundle.manifest import write_bundle
from compile.bundle.vectors import Vectors, pack_vectors
from compile.link.toolchain import RUNNER_SOURCES, build_runner, link_model
from compile.machine.emulator import Emulator, find_emulator
from compile.targets.table import ARM64, Target, host_target
from repghost.data.preprocess import Preprocess
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
    """The files of a bundle, made once for each target in a process."""
    return dict(_made(target))


@cache
def _made(target: Target) -> dict[str, bytes]:
    images = random_images(12)
    return {
        "model.so": link_model(fake_network(target), target, fake_info()),
        "repghost-run": build_runner(target),
        "repghost.h": (RUNNER_SOURCES / "repghost.h").read_bytes(),
        "labels.txt": "".join(f"{label}\n" for label in LABELS).encode(),
        "vectors.bin": pack_vectors(Vectors(images, expected_logits(images))),
    }


@pytest.fixture(scope="session")
def host() -> Target:
    target = host_target()
    if target is None:
        pytest.skip("no target fits this machine")
    return target


@pytest.fixture(scope="session")
def host_files(host: Target) -> dict[str, bytes]:
    return fake_files(host)


@pytest.fixture(scope="session")
def host_bundle(host: Target, host_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("host") / "bundle"
    write_bundle(path, host_files, fake_sections(host))
    return path


@pytest.fixture(scope="session")
def arm64_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arm64") / "bundle"
    write_bundle(path, fake_files(ARM64), fake_sections(ARM64))
    return path


@pytest.fixture(scope="session")
def emulator() -> Emulator:
    found = find_emulator()
    if found is None:
        pytest.skip("no qemu-aarch64 with an arm64 C library; 'repghost doctor' says how to get one")
    return found
