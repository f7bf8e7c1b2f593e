"""What the runner's C code draws on a picture."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from compile.link.toolchain import REPRODUCIBLE, RUNNER_SOURCES
from compile.link.zig import run_zig
from compile.targets.table import host_target

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include "images/draw.c"

int main(int count, char **arguments) {
  int width = atoi(arguments[1]), height = atoi(arguments[2]);
  struct pixels pixels = {.rgb = malloc((size_t)(width * height * 3)), .width = width, .height = height};
  if (count != 4 || fread(pixels.rgb, 1, (size_t)(width * height * 3), stdin) == 0) return 2;
  double score, edges[4];
  int number;
  while (scanf("%d %lf %lf %lf %lf %lf", &number, &score, edges, edges + 1, edges + 2, edges + 3) == 6)
    if (score >= DRAWN_SCORE) draw_box(&pixels, edges, number);
  return write_ppm(arguments[3], &pixels) != NULL;
}
"""


def drawn_by_the_runner(pixels: np.ndarray, boxes: list[dict[str, Any]], folder: Path) -> np.ndarray:
    """Return uint8 [height, width, 3] with boxes as `repghost-run --detect --draw` draws them.

    Args:
        pixels: uint8 [height, width, 3].
        boxes: as it prints them.
        folder: for what is built.
    """
    (folder / "draw.c").write_text(SOURCE)
    target = host_target()
    assert target is not None
    flags = [*target.zig_target(), *REPRODUCIBLE, f"-I{RUNNER_SOURCES}"]
    run_zig(["cc", *flags, "draw.c", "-o", "draw"], cwd=folder)
    lines = [" ".join(map(str, [box["class"] + 1, box["score"], *box["box"]])) for box in reversed(boxes)]
    height, width = pixels.shape[:2]
    given = pixels.tobytes() + "\n".join(lines).encode() + b"\n"
    command = [str(folder / "draw"), str(width), str(height), str(folder / "drawn-by-runner.ppm")]
    subprocess.run(command, input=given, timeout=60, check=True)
    body = (folder / "drawn-by-runner.ppm").read_bytes()
    return np.frombuffer(body[-pixels.size :], np.uint8).reshape(pixels.shape)
