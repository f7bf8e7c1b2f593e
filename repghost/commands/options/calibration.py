"""What the commands that quantize share: what they say of the network and its images, and opening both for training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from repghost.commands.options.data_options import tell_notes
from repghost.commands.options.quant_options import CalibrationRequest, NetworkRequest
from repghost.commands.progress.notes import say_notes
from repghost.terminal import say

if TYPE_CHECKING:
    from calib.importer.open_network import FloatNetwork
    from repghost.api.quantized import QuantizedNetwork
    from repghost.data.base import ImageSet


def tell_quantized(made: QuantizedNetwork, request: CalibrationRequest) -> None:
    """Say what to know of a network that was quantized and of the images that calibrated it."""
    say_notes(made.notes)
    for message in made.calibration.origin["broken"]:
        say(f"broken picture, left out: {message}", err=True)
    checkpoint = made.network.checkpoint
    if checkpoint is not None and checkpoint.spec.form != "fused":
        form = checkpoint.spec.form
        say(f"{Path(request.checkpoint).name} is in {form} form; it is fused before it is quantized")


def open_float_network(request: NetworkRequest) -> FloatNetwork:
    """Return the network that was asked for, and say what to know of it.

    Raises:
        UsageError: when it cannot be used, or nothing says how its images are prepared.
    """
    from calib.importer.open_network import NetworkSource, open_network

    network = open_network(
        NetworkSource(request.checkpoint, request.weights, request.width, request.size, request.preprocess)
    )
    say_notes(network.notes)
    return network


def with_classes_of(network: FloatNetwork, dataset: ImageSet, request: NetworkRequest) -> ImageSet:
    """Return a set with the classes in the order of a network's scores, and say what to know of the set.

    Raises:
        UsageError: when they are not the network's classes.
    """
    from repghost.evaluation.classes import match_classes

    dataset = match_classes(dataset, network.classes, network.labels, request.class_order)
    tell_notes(dataset)
    return dataset
