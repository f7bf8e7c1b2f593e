"""Which Preprocess is meant: a file that the user gave, what a network says, or ImageNet's; and at which size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from repghost.channels import CHANNELS, GREY, RGB, WORDS
from repghost.data.images.preprocess import IMAGENET, Preprocess, read_preprocess
from repghost.errors import UsageError, option
from repghost.sizes import Size, sides, sides_text

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def resolve_preprocess(
    stored: Mapping[str, Any] | None, num_classes: int, given: Path | Preprocess | None = None
) -> Preprocess:
    """Return the preprocessing of a checkpoint: a file that the user gave, what the checkpoint says, or ImageNet's.

    Args:
        stored: `Checkpoint.preprocess`.
        num_classes: ImageNet's is assumed for 1000 classes only, as in upstream's and timm's files.
        given: a JSON file, or the value itself, that takes precedence.

    Raises:
        UsageError: when nothing says how images were prepared.
    """
    if given is not None:
        return read_preprocess(given)
    if stored is not None:
        return Preprocess.from_dict(stored)
    if num_classes == 1000:
        return IMAGENET
    example = json.dumps(IMAGENET.to_dict())
    raise UsageError(
        f"the checkpoint does not say how its pictures were prepared, and {num_classes} classes are not ImageNet's "
        f"1000; give {option('preprocess', 'FILE')} with JSON like {example}."
    )


def resized(preprocess: Preprocess, size: Size | None) -> Preprocess:
    """Return the same preprocessing for another input size, its resize scaled alike; None changes nothing."""
    if size is None or size == preprocess.size:
        return preprocess
    before, after, resize = sides(preprocess.size), sides(size), preprocess.resize
    if isinstance(resize, int) and before[0] != before[1] and not preprocess.squash:  # of the short side
        return replace(preprocess, size=size, resize=round(max(after) * resize / max(before)))
    scaled = tuple(round(new * side / old) for new, side, old in zip(after, sides(resize), before, strict=True))
    return replace(preprocess, size=size, resize=(scaled[0], scaled[1]))


def with_values(preprocess: Preprocess, given: Mapping[str, Any]) -> Preprocess:
    """Return a preprocessing with other values, as arguments of commands call them.

    Args:
        preprocess: what is changed.
        given: any of in_chans, mean, std, interpolation; img_size or input_size, which keep the share that is cropped;
            crop_pct.

    Raises:
        UsageError: for a value out of range.
    """
    preprocess = _of_channels(preprocess, given.get("in_chans", preprocess.channels))
    changes = {key: given[key] for key in ("mean", "std", "interpolation") if key in given}
    for key in ("mean", "std"):
        if len(changes.get(key, preprocess.mean)) != preprocess.channels:
            raise UsageError(
                f"{option(key)} needs as many numbers as the network has channels, {preprocess.channels}, not "
                f"{len(changes[key])}; give so many, or another {option('in_chans')}."
            )
    size = given.get("img_size")
    if "input_size" in given:
        channels, height, width = given["input_size"]
        if channels != preprocess.channels or height != width or size not in (None, height):
            raise UsageError(
                f"{option('input_size')} must be {preprocess.channels} N N and agree with {option('img_size')}, not "
                f"{channels} {height} {width}."
            )
        size = height
    share = given.get("crop_pct", preprocess.height / sides(preprocess.resize)[0])
    if not 0.1 <= share <= 1:
        raise UsageError(f"{option('crop_pct')} must be from 0.1 to 1, not {share}.")
    if size is not None or "crop_pct" in given:
        size = preprocess.height if size is None else size
        changes |= {"size": size, "resize": int(size / share)}
    return replace(preprocess, **changes)


def require_square(preprocess: Preprocess, what: str) -> int:
    """Return the side of a preprocessing for square images.

    Raises:
        UsageError: for another one, naming `what` takes no such images.
    """
    if not isinstance(preprocess.size, int) or preprocess.squash:
        raise UsageError(
            f"{what} takes square pictures, not {sides_text(preprocess.size)} pixels; give a Preprocess for such "
            "pictures, which squashes none."
        )
    return preprocess.size


def _of_channels(preprocess: Preprocess, channels: int) -> Preprocess:
    """Return a preprocessing for images of so many channels.

    The mean of grey is the luma of the mean in colour, its deviation the mean one; so are those of another band, of
    which nothing is known.
    """
    if channels not in CHANNELS:
        words = ", ".join(f"{count} ({WORDS[count]})" for count in CHANNELS)
        raise UsageError(
            f"{option('in_chans')} must be {words}, not {channels}: pictures are decoded to one of them. Train a "
            "network of other channels in a loop of your own: repghost.create_model takes any number."
        )
    if channels == preprocess.channels:
        return preprocess
    (mean, std), colours = _of_rgb(preprocess), RGB if channels >= RGB else GREY
    luma = round(sum(weight * value for weight, value in zip(LUMA, mean, strict=True)), 6)
    usual = round(sum(std) / RGB, 6)
    if colours == GREY:
        mean, std = (luma,), (usual,)
    return replace(preprocess, mean=(*mean, luma)[:channels], std=(*std, usual)[:channels])


def _of_rgb(preprocess: Preprocess) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of the three colours, without those of another band."""
    if preprocess.channels >= RGB:
        return preprocess.mean[:RGB], preprocess.std[:RGB]
    return preprocess.mean[:GREY] * RGB, preprocess.std[:GREY] * RGB
