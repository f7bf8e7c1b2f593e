"""A float network quantized on noise: what its layers become can be seen before there are any images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from calib.importer.names import is_named
from calib.settings.config import QuantConfig
from compile.subject.from_library import random_library_subject
from compile.subject.noise import noise_images
from repghost.channels import RGB
from repghost.evaluation.classes import numbered_labels

TRIAL_IMAGES = 2
TRIAL_SIZE = 224  # pixels


def quantized_on_noise(network: str, preprocess_file: Path | None, say: Callable[[str], None]) -> bytes:
    """Return the QDQ file of a float network whose scales come from noise.

    Args:
        network: a float ONNX file, or "timm:NAME" or "torchvision:NAME", which gets random weights.
        preprocess_file: JSON that says how images are prepared, for a file that does not.
        say: called with notes on the network.

    Raises:
        UsageError: when the network cannot be read, or holds what a graph does not have.
    """
    from calib.importer.open_network import NetworkSource, open_network
    from calib.qdq.writer import serialize
    from calib.quantize import Source, quantize_network

    config = QuantConfig(ranges_by_answers=False)
    if is_named(network):
        subject = random_library_subject(network, TRIAL_SIZE, 0)
        name, graph, preprocess, notes = subject.name, subject.graph, subject.preprocess, subject.notes
        images, labels = subject.calibration.images[:TRIAL_IMAGES], subject.labels
    else:
        opened = open_network(NetworkSource(network, preprocess=preprocess_file))
        name, graph, preprocess, notes = opened.name, opened.graph, opened.preprocess, opened.notes
        images, labels = (
            noise_images(TRIAL_IMAGES, preprocess.size, 0, max(RGB, preprocess.channels))[..., : preprocess.channels],
            numbered_labels(opened.classes),
        )
    for note in notes:
        say(f"note: {note}")
    source = Source(labels, "", {"data": "noise"})
    return serialize(quantize_network(name, graph, images, preprocess, config, source).onnx)
