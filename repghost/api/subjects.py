"""A quantized network and its test images, as the pipeline takes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from calib.qdq.writer import serialize
from compile.subject.subject import Images, ImportedSubject, QuantizedSubject, Subject
from repghost.api.accepted.calibration import prepared_images
from repghost.api.accepted.images import ImagesLike, Reader
from repghost.api.accepted.pixels import Pixels
from repghost.api.accepted.sources import SetSource, open_source
from repghost.api.evaluation import checked_batch
from repghost.api.quantized import QuantizedNetwork
from repghost.data import MissingSplitError, notes_on
from repghost.evaluation.classes import match_classes


def subject_of(
    network: QuantizedNetwork,
    data: ImagesLike,
    test_images: int | None,
    seed: int,
    pixels: Pixels | None,
    class_order: str | None,
    as_float: bool,
) -> Subject:
    """Return a quantized network and its test images, as the pipeline takes them.

    Args:
        network: the network.
        data: the images, see `repghost.compile`; None: its accuracy is not measured.
        test_images: how many are evaluated; None: all.
        seed: chooses them.
        pixels: the range of float images.
        class_order: of a network that does not name its classes.
        as_float: whether the pipeline calibrates by itself, as for Jetson.

    Raises:
        UsageError: when images and network do not fit together.
    """
    test, notes = _test_images(network, data, test_images, seed, pixels, class_order)
    known: dict[str, Any] = {
        "name": network.name,
        "digest": network.network.digest,
        "weights": dict(network.network.origin),
        "preprocess": network.preprocess,
        "labels": network.labels,
        "calibration": network.calibration,
        "test": test,
        "unmeasured": "" if test else "no labelled pictures were given",
        "notes": tuple(dict.fromkeys((*network.notes, *notes))),
        "detection": network.network.detection,
    }
    content = serialize(network.quantized.onnx)
    results = bool(network.network.graph.results)
    if (network.trained or results) and not as_float:  # its float form is not compiled, or nobody trained it
        origin = {**network.calibration.origin, "pictures": len(network.calibration.labels)}
        quantization = {"config": network.config.to_dict(), "calibration": origin}
        return QuantizedSubject(qdq=content, quantization=quantization, **known)
    return ImportedSubject(imported=network.network.graph, qdq=None if as_float else content, **known)


def _test_images(
    network: QuantizedNetwork,
    data: ImagesLike,
    count: int | None,
    seed: int,
    pixels: Pixels | None,
    class_order: str | None,
) -> tuple[Images | None, tuple[str, ...]]:
    """Return the labelled test images, None where there are none, and notes on them."""
    if data is None:
        return None, ()
    try:
        source = open_source(data, calibrates=False)
    except MissingSplitError as error:
        return None, (f"accuracy is not measured: {error}",)
    if isinstance(source, SetSource):
        dataset = match_classes(source.dataset, network.network.classes, network.labels, class_order)
        found = prepared_images(dataset, network.network, replace(source, dataset=dataset).chosen(count, seed))
        origin = {"data": source.name, "split": source.split}
        return Images(found.images, found.labels, {**origin, **found.origin}), notes_on(dataset)
    source = source.matched(network.labels)
    batches = list(source.batches(Reader(network.preprocess, pixels), count, seed))
    if not batches or any(batch.labels is None for batch in batches):
        return None, ("accuracy is not measured: the pictures have no labels",)
    labels = np.concatenate([checked_batch(batch, network.network.classes) for batch in batches])
    broken = [message for batch in batches for message in batch.broken]
    given = {"data": source.name, "split": "given", "broken": broken}
    return Images(np.concatenate([batch.images for batch in batches]), labels, given), ()
