"""What a user can ask a run for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compile.targets.precisions import Precision


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    target: str  # a name of `compile.targets.table`, or "host"
    precisions: tuple[Precision, ...]
    weights: str | None = None  # a file, "timm", "random"; None: the carried ones
    model: str | None = None  # another network, of timm, with weights "random"; None: RepGhostNet
    data: Path | None = None  # a set of images; None: the carried one
    width: str | None = None
    size: int | None = None  # pixels
    output: Path = Path("build")
    config: Path | None = None  # quantization settings
    preprocess: Path | None = None  # JSON, for weights that do not say how images are prepared
    calibration_images: int = 512
    test_images: int | None = None  # None: all
    threads: int = 1  # of the measured inference
    seed: int = 0
    max_drop: float | None = None  # percentage points of top-1 that int8 may lose
    fetch: bool = True  # whether an absent emulator may be fetched
    jobs: int = 1  # threads that compile side by side
    host: bool = True  # whether this machine's builds are made besides; they evaluate and measure
    verify: bool = True  # whether the recorded images are replayed
    jetpack: str = "6"  # of the target jetson: a name of `compile.tensorrt.jetpack`
    squeeze_excite: str = "float"  # of the target jetson, see `compile.tensorrt.network.placement`
    depthwise: str = "int8"
    via: str = "trtexec"  # of the target jetson, see `compile.tensorrt.torch.build`
