"""The decoders of the runner in a program of their own, with the sanitizers that this machine has."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compile.link.toolchain import RUNNER_SOURCES
from compile.link.zig import run_zig
from compile.targets.table import Target

# Reads images, each behind its length and the bands it is decoded to, and answers each with its sides and pixels, or
# with 0 and why not. Every image lies in memory of exactly its size, so that one byte read too far is noticed.
SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "images/decode.h"
int main(void) {
  uint32_t size, bands;
  while (fread(&size, sizeof size, 1, stdin) == 1 && fread(&bands, sizeof bands, 1, stdin) == 1) {
    uint8_t *data = malloc(size);
    struct pixels pixels = {0, 0, NULL};
    if (fread(data, 1, size, stdin) != size) return 9;
    const char *problem = "no picture";
    if (is_encoded(data, size))
      problem = bands == 3 ? decode(data, size, MOST_PIXELS, &pixels)
                           : decode_bands(data, size, MOST_PIXELS, (int32_t)bands, &pixels);
    uint32_t head[2] = {(uint32_t)pixels.width, (uint32_t)pixels.height};
    if (problem) head[0] = 0, head[1] = (uint32_t)strlen(problem);
    fwrite(head, sizeof head, 1, stdout);
    if (problem) fwrite(problem, 1, strlen(problem), stdout);
    else fwrite(pixels.rgb, bands, (size_t)pixels.width * (size_t)pixels.height, stdout);
    free(pixels.rgb);
    free(data);
  }
  return fflush(stdout) ? 8 : 0;
}
"""
SOURCES = ("images/decode.c", "images/orientation.c")


@dataclass(frozen=True)
class Decoder:
    program: Path
    sanitizers: str

    def decode(self, images: Sequence[bytes], bands: int = 3) -> list[NDArray[np.uint8] | str]:
        """Return the pixels of each image, or the sentence why there are none; a crash is an error."""
        stream = b"".join(struct.pack("<II", len(image), bands) + image for image in images)
        done = subprocess.run([str(self.program)], input=stream, capture_output=True, timeout=300, check=False)
        found, at, data = [], 0, done.stdout
        while at < len(data):
            width, height = struct.unpack_from("<II", data, at)
            size = width * height * bands if width else height
            body, at = data[at + 8 : at + 8 + size], at + 8 + size
            found.append(np.frombuffer(body, np.uint8).reshape(height, width, bands) if width else body.decode())
        report = done.stderr.decode(errors="replace")[:3000]
        assert done.returncode == 0, f"picture {len(found)} ended the decoder with code {done.returncode}: {report}"
        assert len(found) == len(images)
        return found


def build_decoder(folder: Path, target: Target) -> Decoder:
    """Compile, unoptimized, with both sanitizers where a C compiler has them, else with zig's trap."""
    (folder / "decoding.c").write_text(SOURCE)
    sources = [str(folder / "decoding.c"), *(str(RUNNER_SOURCES / name) for name in SOURCES)]
    common = ["-std=c11", "-D_GNU_SOURCE", f"-I{RUNNER_SOURCES}", *sources, "-o", str(folder / "decoding")]
    for compiler in filter(None, map(shutil.which, ("clang", "gcc"))):
        command = [compiler, "-w", "-g", "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", *common]
        if not subprocess.run(command, capture_output=True, timeout=300, check=False).returncode:
            return Decoder(folder / "decoding", "address,undefined")
    run_zig(["cc", "-target", target.zig_triple, "-O1", "-fsanitize=undefined", "-fsanitize-trap=undefined", *common])
    return Decoder(folder / "decoding", "undefined")
