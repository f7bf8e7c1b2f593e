"""A board that is none: a folder with stand-ins for NVIDIA's programs, and the environment the scripts see."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

TEGRASTATS = {  # what one line looks like, by JetPack
    "5": "RAM 2604/6480MB (lfb 2x4MB) CPU [1%@1190,0%@1190] EMC_FREQ 0%@2133 GR3D_FREQ 45%@{mhz} CPU@45.2C "
    "GPU@{heat}C VDD_IN 5251mW/5100mW VDD_CPU_GPU_CV 512mW/500mW",
    "6": "11-20-2025 08:32:52 RAM 6712/7620MB (lfb 12x4MB) SWAP 3/10MB (cached 8MB) CPU [38%@1497,2%@729] EMC_FREQ "
    "61%@2133 GR3D_FREQ 99%@[{mhz}] NVDEC off APE 200 cpu@45.125C gpu@{heat}C tj@44.312C VDD_IN 6321mW/5204mW",
    "7": "RAM 9000/125772MB (lfb 2x4MB) GR3D_FREQ @[{mhz},{mhz},{mhz}] cpu@40C gpu@{heat}C VIN_SYS_5V0 7000mW/6900mW",
}

Done: TypeAlias = "subprocess.CompletedProcess[str]"


@dataclass
class Jetson:
    """Runs the scripts of a bundle as a board would."""

    folder: Path  # of the stand-ins
    jetpack: str
    version: str
    model: str = "NVIDIA Jetson Orin Nano Developer Kit"
    cuda: str = "12.6.68"
    fault: str = ""
    power_mode: str = "15W"
    mhz: tuple[int, ...] = (612,)
    environment: dict[str, str] = field(default_factory=dict)

    def install(self) -> None:
        """Write the stand-ins."""
        programs = self.folder / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        fake = Path(__file__).with_name("fake_trtexec.py")
        lines = [TEGRASTATS[self.jetpack].format(mhz=mhz, heat="58.625") for mhz in self.mhz]
        scripts = {
            "trtexec": f'exec "{sys.executable}" -S -E "{fake}" "$@"',
            "python3": f'exec "{sys.executable}" "$@"',
            "nvpmodel": f"echo 'NV Power Mode: {self.power_mode}'; echo 0",
            "tegrastats": "\n".join(f"echo '{line}'" for line in lines) + "\nexec sleep 60",
        }
        for name, text in scripts.items():
            (programs / name).write_text(f"#!/bin/sh\n{text}\n")
            (programs / name).chmod(0o755)
        (self.folder / "model").write_bytes(self.model.encode() + b"\0")
        (self.folder / "cuda").mkdir(exist_ok=True)
        (self.folder / "cuda/version.json").write_text(
            f'{{\n   "cuda" : {{\n      "name" : "CUDA SDK",\n      "version" : "{self.cuda}"\n   }}\n}}\n'
        )

    def remove(self, program: str) -> None:
        """Take a program away."""
        (self.folder / "bin" / program).unlink()

    def run(self, bundle: Path, script: str, *arguments: str, cwd: Path | None = None) -> Done:
        """Run a script of a bundle, as somebody in the folder `cwd`."""
        environment = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "DEVICE_MODEL": str(self.folder / "model"),
            "CUDA_HOME": str(self.folder / "cuda"),
            "TRTEXEC_VERSION": self.version,
            "TRTEXEC_FAULT": self.fault,
            "LANG": os.environ.get("LANG", "C"),
            **self.environment,
        }
        return subprocess.run(
            ["sh", str(bundle / script), *arguments],
            env=environment, cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
