"""A network written by hand in C: it plays the part of the compiled kernels, so that everything around them is proven.

Step 0 sums the image per unit (a unit is a row), step 1 turns the sums into ten scores. Each variant gives the same
scores, so that a replay cannot tell them apart, just like the real ones. `expected_logits` is the same in numpy.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compile.ir.compiled_network import CompiledNetwork, CompiledVariant
from compile.link.zig import run_zig
from compile.targets.forms import ELF
from compile.targets.table import Target

HEIGHT, WIDTH, CLASSES = 8, 8, 10

SOURCE = """
#include <stdint.h>

enum { HEIGHT = 8, WIDTH = 8, CLASSES = 10 };
int32_t SYMBOL(int32_t step, int32_t begin, int32_t end, const uint8_t *rgb, float *logits, int8_t *workspace,
               const int8_t *weights) {
  int32_t *rows = (int32_t *)workspace;
  if (step == 0) {
    for (int32_t row = begin; row < end; row++) {
      uint8_t line[WIDTH * 3];
      __builtin_memcpy(line, rgb + row * WIDTH * 3, sizeof line);
      rows[row] = 0;
      for (int32_t i = 0; i < WIDTH * 3; i++) rows[row] += line[i] * weights[i];
    }
    return 0;
  }
  if (step != 1) return 1;
  for (int32_t c = begin; c < end; c++) {
    int32_t sum = 0;
    for (int32_t row = 0; row < HEIGHT; row++) sum += rows[row] * weights[WIDTH * 3 + c * HEIGHT + row];
    logits[c] = (float)sum * 0.125f;
  }
  return 0;
}
"""


def weights() -> NDArray[np.int8]:
    return np.random.default_rng(7).integers(-127, 128, WIDTH * 3 + CLASSES * HEIGHT).astype(np.int8)


def random_images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(11).integers(0, 256, (count, HEIGHT, WIDTH, 3)).astype(np.uint8)


def expected_logits(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    w = weights().astype(np.int32)
    rows = images.reshape(len(images), HEIGHT, WIDTH * 3).astype(np.int32) @ w[: WIDTH * 3]
    sums = rows @ w[WIDTH * 3 :].reshape(CLASSES, HEIGHT).T
    return sums.astype(np.float32) * np.float32(0.125)


@cache
def compile_variants(target: Target, source: str) -> tuple[CompiledVariant, ...]:
    variants = []
    with tempfile.TemporaryDirectory() as folder:
        for variant in target.variants_for("int8"):
            symbol = f"rg_step_{variant.name}"
            unit, output = Path(folder) / f"{variant.name}.c", Path(folder) / f"{variant.name}.o"
            unit.write_text(source.replace("SYMBOL", symbol))
            flags = ["-target", target.zig_triple, "-c", "-O2", "-g0", "-fno-sanitize=all"]
            flags += ["-fPIC"] if target.form is ELF else []
            run_zig(["cc", *flags, str(unit), "-o", str(output)])
            variants.append(CompiledVariant(variant.name, output.read_bytes(), symbol, "weights"))
    return tuple(variants)


def fake_network(target: Target, source: str = SOURCE) -> CompiledNetwork:
    return CompiledNetwork(
        variants=compile_variants(target, source),
        blobs={"weights": weights().tobytes()},
        units=(HEIGHT, CLASSES),
        workspace_bytes=HEIGHT * 4,
        kernels=("sum each row", "scores"),
    )
