"""A bundle of the network made for tests, as if its ten numbers were a detector's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compile.bundle.host_model import ABI_RESULTS
from compile.bundle.manifest import write_bundle
from compile.link.by_form import link_models
from compile.targets.table import Target
from repghost.data.images.preprocess import Preprocess
from repghost.data.names.class_names import to_lines
from repghost.detection.boxes import BoxRule, Level
from tests.support.fake_bundle import fake_info, fake_sections
from tests.support.fake_network import HEIGHT, SOURCE, fake_network

DETECTION = BoxRule(5, (Level(1, 1, ((0.5, 0.5),)),), score=0.01)
LABELS = ('a "b"', "c\\", "ü", "", "last")
OUTPUTS = [
    {"name": "scores", "height": 1, "width": 1, "channels": 6},
    {"name": "boxes", "height": 1, "width": 1, "channels": 4},
]  # fmt: skip


def write_detector(path: Path, target: Target, given: dict[str, bytes]) -> Path:
    """Write the bundle and return its folder.

    Args:
        path: of the folder.
        target: what it is for.
        given: the files of a bundle for it; labels and the model are replaced.
    """
    squash = Preprocess(HEIGHT, HEIGHT, squash=True).to_dict()
    more: dict[str, Any] = {
        "abi": ABI_RESULTS, "outputs": OUTPUTS, "detection": DETECTION.to_dict(), "preprocess": squash
    }  # fmt: skip
    small = fake_network(target, SOURCE.replace("0.125f", "0x1p-20f"))  # so that anchors move, and stay on the picture
    files = {**given, **link_models(small, target, {**fake_info(), **more})}
    write_bundle(path, {**files, "labels.txt": to_lines(LABELS)}, {**fake_sections(target), **more})
    return path
