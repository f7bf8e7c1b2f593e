"""Options of the commands that quantize a checkpoint: `repghost quantize`, `repghost sensitivity`, `repghost qat`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repghost.commands.options.data_options import DATA_HELP, class_options
from repghost.commands.options.gather import gather
from repghost.commands.options.size_option import SizeType
from repghost.errors import ONNX_SUFFIXES, not_onnx

if TYPE_CHECKING:
    from repghost.api.dataset import Split
    from repghost.sizes import Size

DEFAULT_IMAGES = 512


@dataclass(frozen=True)
class CalibrationRequest:
    """Which network is quantized how, on which images; each option under its own name."""

    checkpoint: str
    weights: str | None
    data: Path
    split: str | None
    seed: int
    preprocess: Path | None
    size: Size | None  # pixels
    width: str | None
    config: Path | None
    policy: str | None
    class_order: str | None
    class_map: Path | None
    val_share: float | None
    images: int | None = None  # None: `DEFAULT_IMAGES`, or all there are

    def images_of_set(self) -> Split:
        """Return the images to calibrate with: of the split, or of the one for calibration or training.

        Raises:
            UsageError: when the path is no set of images, or has no such split.
        """
        from repghost.api.dataset import Dataset

        dataset = Dataset(self.data, self.class_map, self.val_share)
        return dataset.open(self.split) if self.split else dataset.calibration

    def options(self) -> dict[str, Any]:
        """Return the arguments of `repghost.quantize` that are called as options are."""
        names = ("config", "policy", "images", "seed", "preprocess", "weights", "size", "width", "class_order")
        return {name: getattr(self, name) for name in names}


_FILE = click.Path(path_type=Path)
_CHECKPOINT = click.argument("checkpoint", metavar="NETWORK")
_DATA = click.option("--data", required=True, type=_FILE, help=DATA_HELP)
_OPTIONS = (
    click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Chooses the pictures."),
    click.option("--weights", help="Of a network that is named, timm:NAME: a weight file, or 'pretrained'."),
    click.option("--preprocess", type=_FILE, help="JSON, where the file has none."),
    click.option("--size", type=SizeType(32), help="Pixels of the input, instead of the checkpoint's."),
    click.option("--width", help="Refuse a checkpoint of another width; chooses the file when NETWORK is 'timm'."),
    click.option("--config", "-c", type=_FILE, help="Quantization settings, the JSON beside a quantized file."),
    click.option("--policy", help="cpu or tensorrt, instead of the config's."),
    *class_options,
)
_TRAINING_SPLIT = click.option(
    "--split", default="train", show_default=True, help="Never the split that accuracy is measured on."
)
_CALIBRATION_SPLIT = click.option(
    "--split", help="Never the split that accuracy is measured on.  [default: calibration, or else train]"
)
_IMAGES = click.option(
    "--images", type=click.IntRange(1), help=f"Calibration pictures.  [default: {DEFAULT_IMAGES} or all]"
)

network_options = gather("request", CalibrationRequest, (_CHECKPOINT, _DATA, _TRAINING_SPLIT, *_OPTIONS))
calibration_options = gather(
    "request", CalibrationRequest, (_CHECKPOINT, _DATA, _CALIBRATION_SPLIT, *_OPTIONS, _IMAGES)
)


def _onnx_file(context: click.Context, parameter: click.Parameter, path: Path) -> Path:
    """Refuse the name of another format at once, not after calibration."""
    if path.suffix not in ONNX_SUFFIXES:
        raise not_onnx(path)
    return path


output_option = click.option(
    "--output", "-o", required=True, type=_FILE, callback=_onnx_file, help="The ONNX file to write."
)
