"""Images that calibrate a detector: those of a split in COCO's format."""

from __future__ import annotations

from pathlib import Path

from repghost.checkpoints.checkpoint import is_detector

TRAINING_SPLIT = "train"  # with or without a year


def calibrating_images(network: str, folder: Path, split: str | None) -> list[Path] | None:
    """Return the images with objects that calibrate a detector, or None where a network is none.

    Raises:
        UsageError: when the folder is no set in COCO's format, or has no such split.
    """
    if not is_detector(Path(network)):
        return None
    from repghost.detection.data.coco import image_paths  # with torchvision, which other networks need not load

    return image_paths(folder, split or TRAINING_SPLIT)
