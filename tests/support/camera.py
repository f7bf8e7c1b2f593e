"""A stand-in for a camera: `repghost-run --camera` sees the frames of a file, by a library loaded before others."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from compile.link.zig import run_zig
from compile.targets.table import Target
from tests.support import ROOT

DEVICE = "/dev/video-standin"
SOURCE = ROOT / "tests/support/camera.c"


def build_standin(target: Target, folder: Path) -> Path:
    """Compile the library, which takes the place of open, poll, ioctl, mmap and the clock."""
    library = folder / "camera.so"
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fno-sanitize=all"]
    run_zig(["cc", "-target", target.zig_triple, *flags, str(SOURCE), "-o", str(library)])
    return library


@dataclass(frozen=True)
class Camera:
    """A runner that sees what a file holds."""

    bundle: Path
    library: Path
    folder: Path

    def command(self, *arguments: str, device: str = DEVICE) -> list[str]:
        return [str(self.bundle / "repghost-run"), "--camera", device, *arguments]

    def environment(self, frames: list[bytes], **settings: object) -> dict[str, str]:
        """The variables of the library: frames one after the other, and e.g. format="NV12", end="vanish"."""
        (self.folder / "frames").write_bytes(b"".join(frames))
        values = {"frames": self.folder / "frames", "frame_bytes": len(frames[0]) if frames else 288, **settings}
        return {
            **os.environ,
            "LD_PRELOAD": str(self.library),
            **{f"CAMERA_{name.upper()}": str(value) for name, value in values.items()},
        }

    def run(self, frames: list[bytes], *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        environment = self.environment(frames, **settings)
        return subprocess.run(
            self.command(*arguments), env=environment, capture_output=True, text=True, timeout=60, check=False
        )
