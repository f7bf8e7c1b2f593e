"""A stand-in for the compiler: its "kernels" look images up and copy the logits the reference gave for them.

The whole pipeline runs with it in seconds, and it can be told to lie. An image it was not told about gets zeros.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calib.integer.program import Program
from calib.integer.reference import run
from compile.ir.compiled_network import CompiledNetwork
from compile.targets.table import Target
from tests.support.fake_network import compile_variants

SOURCE = """
#include <stdint.h>
#include <string.h>
int32_t SYMBOL(int32_t step, int32_t begin, int32_t end, const uint8_t *rgb, float *logits, int8_t *workspace,
               const int8_t *weights) {
  (void)step, (void)begin, (void)end, (void)workspace;
  memset(logits, 0, LOGIT_BYTES);
  for (int32_t i = 0; i < COUNT; i++) {
    const int8_t *entry = weights + (int64_t)i * (PICTURE_BYTES + LOGIT_BYTES);
    if (!memcmp(entry + LOGIT_BYTES, rgb, PICTURE_BYTES)) memcpy(logits, entry, LOGIT_BYTES);
  }
  return 0;
}
"""

Oracle = Callable[..., CompiledNetwork]


def oracle(images: NDArray[np.uint8], lie: bool = False) -> Oracle:
    """Return a `compile_program` that knows the answers for some images; a liar changes one logit by one bit."""

    def compile_program(program: Program, target: Target, compiler: object = None) -> CompiledNetwork:
        logits = run(program, images)
        if lie:
            logits[-1, -1] = np.nextafter(logits[-1, -1], np.float32(np.inf))
        blob = b"".join(row.tobytes() + image.tobytes() for image, row in zip(images, logits, strict=True))
        constants = {
            "COUNT": len(images),
            "PICTURE_BYTES": images[0].size,
            "LOGIT_BYTES": logits[0].nbytes,
        }
        source = SOURCE
        for name, value in constants.items():
            source = source.replace(name, str(value))
        return CompiledNetwork(compile_variants(target, source), {"weights": blob}, (1,), 0, ("look up",))

    return compile_program
