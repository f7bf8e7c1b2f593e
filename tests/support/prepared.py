"""The C preparation alone, as a library that stops at undefined behaviour, called with guarded memory."""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.link.toolchain import RUNNER_SOURCES, preprocess_config
from compile.link.zig import run_zig
from compile.targets.table import Target
from repghost.data.images.preprocess import Preprocess

RGB, BGR, NV12, NV12_FULL, NV12_BT709, GREY_AND_BAND, RGB_AND_BAND = range(7)
GUARD = 0xA5


class CameraImage(ctypes.Structure):
    _fields_ = [
        ("pixels", ctypes.c_void_p),
        ("chroma", ctypes.c_void_p),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("order", ctypes.c_int32),
        ("stride", ctypes.c_ssize_t),
        ("chroma_stride", ctypes.c_ssize_t),
    ]


class Prepared:
    """`rg_prepare` for one Preprocess."""

    def __init__(self, target: Target, preprocess: Preprocess, folder: Path) -> None:
        self.shape = preprocess.shape
        config = folder / str(len(list(folder.iterdir())))
        config.mkdir()
        (config / "rg_config.h").write_text("\n".join([*preprocess_config(preprocess.to_dict()), ""]))
        flags = ["-std=c11", "-O2", "-shared", "-fPIC", "-fsanitize=undefined", "-fsanitize-trap=undefined"]
        flags += ["-Wall", "-Wextra", "-Werror", f"-I{RUNNER_SOURCES}", f"-I{config}"]
        sources = [str(RUNNER_SOURCES / unit) for unit in ("library/prepare.c", "library/resample.c")]
        run_zig(["cc", "-target", target.zig_triple, *flags, *sources, "-o", str(config / "prepare.so")])
        self.library = ctypes.CDLL(str(config / "prepare.so"))
        self.library.rg_prepare_bytes.restype = ctypes.c_size_t
        self.library.rg_prepare_bytes.argtypes = [ctypes.POINTER(CameraImage)]
        self.library.rg_prepare.argtypes = [ctypes.POINTER(CameraImage), ctypes.c_void_p, ctypes.c_void_p]

    def status(self, image: CameraImage) -> int:
        """What `rg_prepare` says to an image, with memory that is not touched."""
        memory = (ctypes.c_uint8 * 4096)()
        base = -(-ctypes.addressof(memory) // 64) * 64
        return int(self.library.rg_prepare(image, base, base))

    def image(self, image: CameraImage) -> NDArray[np.uint8]:
        """Prepare an image; whatever is written outside of the promised memory fails the test."""
        needed = int(self.library.rg_prepare_bytes(image))
        assert needed > 0
        result = np.full(math.prod(self.shape) + 128, GUARD, np.uint8)
        memory = np.full(needed + 256, GUARD, np.uint8)
        start = -memory.ctypes.data % 64 + 64
        status = self.library.rg_prepare(image, result.ctypes.data + 64, memory.ctypes.data + start)
        assert status == 0
        assert (memory[:start] == GUARD).all()
        assert (memory[start + needed :] == GUARD).all()
        assert (result[:64] == GUARD).all()
        assert (result[-64:] == GUARD).all()
        return result[64:-64].reshape(self.shape)

    def rgb(self, pixels: NDArray[np.uint8], order: int = RGB) -> NDArray[np.uint8]:
        """Prepare an array [height][width][3]."""
        return self.image(image_of(pixels, order))


def image_of(array: NDArray[np.uint8], layout: int = RGB, **changes: Any) -> CameraImage:
    """Describe an array [height][width][3] whose rows may be apart; the array has to stay alive."""
    height, width = array.shape[:2]
    values = {"pixels": array.ctypes.data, "width": width, "height": height, "stride": array.strides[0]}
    return CameraImage(**{**values, "order": layout, **changes})
