"""What a user can ask for: which network and images a run is about, and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compile.storage.files import NAME
from compile.targets.precisions import Precision
from repghost.errors import UsageError, option
from repghost.sizes import Size

if TYPE_CHECKING:
    from calib.settings.config import QuantConfig
    from repghost.data.images.preprocess import Preprocess


@dataclass(frozen=True, kw_only=True)
class SubjectRequest:
    """Which network and images the user asked for."""

    weights: str | None = None  # a checkpoint, a QDQ file, "timm", "random"; None: the bundled ones
    model: str | None = None  # another network than RepGhostNet, as timm calls it; with weights "random" only
    data: Path | None = None  # a set of images; None: the bundled one
    width: str | None = None  # refused when the weights have another; needed for "timm"
    size: Size | None = None  # pixels of the input, instead of the checkpoint's
    preprocess: Path | Preprocess | None = None  # JSON that says how images are prepared, instead of the weights
    calibration_images: int = 512  # at most so many calibrate
    test_images: int | None = None  # only so many are evaluated on; None: all
    seed: int = 0  # chooses images, and makes random weights
    class_order: str | None = None  # for a network that does not name its classes: natural, characters, or a file
    class_map: Path | None = None  # a file that says the class of each image, for a split without class folders
    val_share: float | None = None  # of each class held out of a folder of classes without splits; None: a fifth


@dataclass(frozen=True)
class Request(SubjectRequest):
    """What the user asked a run for.

    Raises:
        UsageError: when the name that was asked for cannot be part of a folder's.
    """

    target: str  # a name of `compile.targets.table`, or "host"
    precisions: tuple[Precision, ...]
    output: Path = Path("build")
    name: str | None = None  # ends the name of the run's folder, so that it shares none with other weights or images
    config: Path | QuantConfig | None = None  # quantization settings
    threads: int = 1  # of the measured inference
    max_drop: float | None = None  # percentage points of top-1 that int8 may lose
    fetch: bool = True  # whether an absent emulator may be fetched
    jobs: int = 1  # threads that compile side by side
    host: bool = True  # whether this machine's builds are made besides; they evaluate and measure
    verify: bool = True  # whether the recorded images are replayed
    jetpack: str = "6"  # of the target jetson: a name of `compile.tensorrt.jetpack`
    squeeze_excite: str = "float"  # of the target jetson, see `compile.tensorrt.network.placement`
    depthwise: str = "int8"
    via: str = "trtexec"  # of the target jetson, see `compile.tensorrt.torch.build`

    def __post_init__(self) -> None:
        """Check the name before anything is loaded."""
        if self.name is not None and not NAME.fullmatch(self.name):
            raise UsageError(
                f"{option('name', self.name)}: a name has at most 64 letters, digits, '_', '.' and '-', and "
                "begins with a letter, a digit or '_'."
            )
