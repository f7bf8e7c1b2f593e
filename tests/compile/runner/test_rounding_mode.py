"""No mode of floating-point arithmetic of the calling thread, or of a pool's threads, changes an answer."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from compile.link.toolchain import link_model
from compile.targets.table import ARM64, Target
from repghost.data.images.preprocess import Preprocess
from tests.support.fake_bundle import fake_info
from tests.support.fake_network import CLASSES, SOURCE, fake_network, random_images
from tests.support.prepared import Prepared
from tests.support.rounding_mode import in_every_mode

# Of ten scores five are rounded, and five are subnormal numbers.
INEXACT = SOURCE.replace("0.125f", "(c % 2 ? 0.1f : 1e-41f)")
FE_UPWARD = {"x86_64": 0x800, "aarch64": 0x400000}


def outcome(target: Target, prefix: tuple[str, ...], folder: Path) -> str:
    library = folder / "model.so"
    library.write_bytes(link_model(fake_network(target, INEXACT), target, fake_info()))
    return in_every_mode(library, random_images(1)[0], CLASSES, target, prefix, folder)


def test_on_this_machine(host: Target, tmp_path: Path) -> None:
    assert outcome(host, (), tmp_path) == "same"


@pytest.mark.slow
def test_on_arm64(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    emulator = request.getfixturevalue("emulator")
    assert outcome(ARM64, tuple(emulator.command("cortex-a53")), tmp_path) == "same"


@contextmanager
def rounding(library: ctypes.CDLL, mode: int) -> Iterator[None]:
    library.fesetround(mode)
    try:
        yield
    finally:
        library.fesetround(0)


def test_preparing_an_image_on_a_thread_that_rounds_up(host: Target, tmp_path: Path) -> None:
    # From 340 to 143 pixels a weight of column 105 depends on the mode by one unit; these pixels bring it to light.
    pixels = np.zeros((340, 340, 3), np.uint8)
    pixels[:, 246:256] = np.array([158, 204, 137, 141, 46, 112, 142, 184, 243, 229], np.uint8)[None, :, None]
    prepared = Prepared(host, Preprocess(143, 143, "bicubic"), tmp_path)
    expected = prepared.rgb(pixels)
    with rounding(ctypes.CDLL("libm.so.6"), FE_UPWARD[host.triple.split("-")[0]]):
        found = prepared.rgb(pixels)
    assert expected[0, 105, 0] == 88
    np.testing.assert_array_equal(found, expected)
