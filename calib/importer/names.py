"""What networks are called: names of libraries, and files. Nothing heavy is imported here."""

from __future__ import annotations

TIMM, TORCHVISION = "timm", "torchvision"
LIBRARIES = (f"{TIMM}:", f"{TORCHVISION}:")
PRETRAINED = "pretrained"  # the word for the weights that a library publishes
ONNX = ".onnx"


def is_named(network: str) -> bool:
    """Return whether a network is named by a library: timm:NAME or torchvision:NAME."""
    return network.startswith(LIBRARIES)


def is_library_or_onnx(network: str) -> bool:
    """Return whether a network is no checkpoint of RepGhostNet."""
    return is_named(network) or network.endswith(ONNX)
