"""Opening the subject of a run: reading weights and images, and checking that they fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calib.importer.names import LIBRARIES, ONNX, PRETRAINED, TIMM
from calib.importer.onnx_file import is_quantized
from compile.subject.from_library import random_library_subject
from compile.subject.from_qdq_file import quantized_subject
from compile.subject.from_random_weights import random_subject
from compile.subject.images import choose_calibration, open_test, select_test_images
from compile.subject.request import SubjectRequest
from compile.subject.subject import (
    CARRIED_KIND,
    RANDOM,
    RANDOM_SIZE,
    FloatSubject,
    ImportedSubject,
    RepGhostSubject,
    Subject,
)
from repghost import bundled
from repghost.data import notes_on
from repghost.data.base import notes_on_calibration
from repghost.errors import UsageError, option
from repghost.evaluation.classes import match_classes
from repghost.network.spec import parse_width

if TYPE_CHECKING:
    from calib.importer.open_network import FloatNetwork


def load_subject(request: SubjectRequest) -> Subject:
    """Return the network and the images of a request.

    Raises:
        UsageError: when weights, images and width do not fit together.
    """
    name, weights = _network_and_weights(request)
    if name is not None and request.width is not None:
        raise UsageError(f"{option('width', request.width)} belongs to RepGhostNet, not to {name}; leave it out.")
    if name is not None and weights == RANDOM:
        return random_library_subject(name, request.size or RANDOM_SIZE, request.seed)
    if weights == RANDOM:
        return random_subject(request.width, request.size or RANDOM_SIZE, request.seed)
    if name is None and weights and weights.endswith(ONNX) and is_quantized(Path(weights)):
        return quantized_subject(Path(weights), request)
    return _with_images(request, *_float_network(name, weights, request))


def _network_and_weights(request: SubjectRequest) -> tuple[str | None, str | None]:
    """Return the name of a library's network, None for any other, and the weights.

    Raises:
        UsageError: when a name has no weights.
    """
    if request.model is None:
        if request.weights and request.weights.startswith(LIBRARIES):
            return request.weights, PRETRAINED
        return None, None if request.weights == bundled.NAME else request.weights
    name = request.model if request.model.startswith(LIBRARIES) else f"timm:{request.model}"
    if request.weights is None:
        raise UsageError(
            f"{name} needs {option('weights')}: a file of that network, 'pretrained' for the published ones, or "
            "'random' to measure speed and size alone."
        )
    return name, request.weights


def _float_network(
    name: str | None, weights: str | None, request: SubjectRequest
) -> tuple[FloatNetwork, Mapping[str, Any]]:
    """Return the network and, for the report, where its weights came from."""
    from calib.importer.open_network import NetworkSource, open_network

    if weights is None:
        network = open_network(replace(NetworkSource(str(_carried(request))), **_asked(request)))
        return network, {"kind": CARRIED_KIND, "source": bundled.WEIGHTS.name, "sha256": network.digest}
    if request.data is None:
        raise UsageError(
            f"{request.weights} needs {option('data', 'DIR')}, pictures of the classes it was trained for: they "
            "calibrate the int8 form and measure its accuracy."
        )
    source = NetworkSource(weights) if name is None else NetworkSource(name, weights)
    network = open_network(replace(source, **_asked(request)))
    if weights == TIMM and network.checkpoint is not None:
        published = str(network.checkpoint.metadata.get("source", TIMM))
        return network, {"kind": TIMM, "source": published, "sha256": network.digest}
    return network, dict(network.origin) | ({"note": "; ".join(network.notes)} if network.notes else {})


def _asked(request: SubjectRequest) -> dict[str, Any]:
    return {"width": request.width, "size": request.size, "preprocess": request.preprocess}


def _carried(request: SubjectRequest) -> Path:
    """Return the bundled weights.

    Raises:
        UsageError: when another width was asked for, or they were not installed.
    """
    multiplier = parse_width(request.width, custom=True) if request.width else None
    if multiplier not in (None, bundled.WIDTH):
        raise UsageError(
            f"the bundled weights are of width {bundled.WIDTH:g} only, not {multiplier:g}. Give "
            f"{option('weights', 'FILE')} and {option('data', 'DIR')}, or {option('weights', 'timm')}, or "
            f"{option('weights', 'random')} to measure speed and size alone."
        )
    return bundled.resolve(bundled.NAME, bundled.WEIGHTS)


def _with_images(request: SubjectRequest, network: FloatNetwork, origin: Mapping[str, Any]) -> FloatSubject:
    """Return a network with the images that calibrate and evaluate it."""
    folder, preprocess = request.data or bundled.DATA, network.preprocess
    test_set = open_test(folder, request)
    chosen = choose_calibration(folder, test_set, request)
    try:
        matched = match_classes(chosen.dataset, network.classes, network.labels, request.class_order)
        if test_set is not None:  # by the names that the calibration images have, where the weights have none
            cut = test_set is chosen.dataset
            test_set = matched if cut else match_classes(test_set, network.classes, matched.classes)
    except UsageError as error:
        raise UsageError(f"{folder}: {error}") from error
    chosen = replace(chosen, dataset=matched)
    calibration = chosen.decoded(preprocess)
    test = None if test_set is None else select_test_images(test_set, folder, preprocess, request, chosen)
    said = (
        *network.notes,
        *notes_on(matched),
        *(notes_on(test_set) if test_set else ()),
        *notes_on_calibration(calibration.images),
    )
    known: dict[str, Any] = {
        "name": network.name,
        "digest": network.digest,
        "weights": origin,
        "preprocess": preprocess,
        "labels": matched.classes,
        "calibration": calibration,
        "test": test,
        "unmeasured": "" if test else f"{folder.name} has no test split",
        "notes": tuple(dict.fromkeys(said)),
    }
    if network.model is None or network.checkpoint is None:
        return ImportedSubject(imported=network.graph, **known)
    return RepGhostSubject(model=network.model, metadata=network.checkpoint.metadata, **known)
