"""Refuses options of `repghost compile` that would have no effect in a run."""

from __future__ import annotations

from collections.abc import Collection

from repghost.errors import UsageError, option

OF_JETSON = ("jetpack", "squeeze_excite", "depthwise", "via")
# Which options mean nothing for weights that are not a trained checkpoint, and why.
OF_CHECKPOINTS = {
    "random": (
        ("data", "preprocess", "images", "test_images", "class_order", "class_map", "val_share"),
        "random weights are calibrated on noise, and their accuracy is not measured",
    ),
    "quantized": (("config", "images"), "a QDQ file is quantized already"),
}


def refuse_without_effect(given: Collection[str], for_jetson: bool, weights: str | None, data: bool) -> None:
    """Refuse options that were given and would have no effect.

    Args:
        given: the names of the options that the user wrote.
        for_jetson: whether the target is a Jetson.
        weights: as the user wrote them; "quantized" for a file of integers.
        data: whether there are images to evaluate on.

    Raises:
        UsageError: for the first of them, with the reason.
    """
    if not for_jetson:
        _refuse(given, OF_JETSON, "it belongs to the target jetson")
    if weights in OF_CHECKPOINTS:
        _refuse(given, *OF_CHECKPOINTS[weights])
    if weights == "quantized" and not data:
        lost = ("test_images", "class_order", "class_map", "val_share")
        _refuse(given, lost, f"nothing is evaluated without {option('data')}")


def _refuse(given: Collection[str], names: Collection[str], reason: str) -> None:
    for name in names:
        if name in given:
            raise UsageError(f"{option(name)} has no effect here: {reason}; leave it out.")
