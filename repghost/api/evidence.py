"""Every way to quantize a network, measured on the same images: `repghost.accuracy`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.accuracy.evidence import JSON_FILE, PAGE_FILE, Plan, run_accuracy
from compile.accuracy.methods import choose_methods
from repghost.api.accepted.calibration import CALIBRATION_IMAGES
from repghost.api.bundles import Say, as_path, silent
from repghost.api.dataset import SetLike, place_of
from repghost.errors import UsageError
from repghost.terminal import Shown

CELLS, OUTPUT = "build/accuracy/cells", "build/accuracy"


@dataclass(frozen=True, repr=False)
class AccuracyEvidence(Shown):
    """What was measured of every network by every way to quantize it.

    Attributes:
        values: JSON values.
        json_file: where they were written.
        page_file: the same as a page in Markdown.
    """

    values: Mapping[str, Any]
    json_file: Path
    page_file: Path

    def __repr__(self) -> str:
        lines = [f"written: {self.json_file} and {self.page_file}"]
        for network in self.values["networks"]:
            measured = [row for row in network["rows"] if "top1" in row]
            lines.append(
                f"{network['name']}: float {network['fp32']['top1']:.2%}; {len(measured)} of {len(network['rows'])} "
                "ways measured"
            )
            for row in measured:
                lines.append(f"  {row['name']}: {row['top1']['top1']:.2%}, {100 * row['change']['difference']:+.2f}")
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        return self.page_file.read_text(encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dict(self.values)


def accuracy(
    networks: str | Sequence[str],
    data: SetLike,
    *,
    preprocess: str | os.PathLike[str] | None = None,
    weights: str | None = None,
    class_order: str | None = None,
    class_map: str | os.PathLike[str] | None = None,
    val_share: float | None = None,
    methods: Sequence[str] = (),
    again: Sequence[str] = (),
    kept: bool = False,
    add: bool = False,
    images: int = CALIBRATION_IMAGES,
    test_images: int | None = None,
    pythons: Sequence[str | os.PathLike[str]] = (),
    arm64: bool = True,
    cells: str | os.PathLike[str] = CELLS,
    output: str | os.PathLike[str] = OUTPUT,
    say: Say = silent,
) -> AccuracyEvidence:
    """Quantize networks in every way, measure all of them on the same test images, and write what came out.

    A run that was stopped goes on where it was: each measurement is kept, whole.

    Args:
        networks: checkpoints with their branches, float ONNX files, "timm:NAME" or "torchvision:NAME".
        data: a set of images with a split to evaluate on: what `repghost.open_dataset` returned, or its path.
        preprocess: a JSON file, for a checkpoint that has none.
        weights: of a name: a weight file, or "pretrained".
        class_order: of a network that does not name its classes.
        class_map: a file with the class of each picture, for a set without class folders.
        val_share: of each class that is held out of a folder of classes without splits; None: a fifth.
        methods: patterns of the rows, e.g. "QAT*"; none: all.
        again: patterns of rows that are measured again.
        kept: measure nothing: write what is kept, and name what is not there.
        add: keep the networks in the document that are not among these.
        images: how many calibrate.
        test_images: how many to evaluate on; None: all.
        pythons: interpreters that have other tools (onnxruntime, nncf, nvidia-modelopt); none: this one.
        arm64: compare the arm64 build under emulation.
        cells: the folder where measurements are kept.
        output: the folder of accuracy.json and accuracy.md.
        say: called with a line for each measurement.

    Raises:
        UsageError: when a network cannot be measured, a pattern fits no row, or there is no document to add to.
        IntegrityError: when two computations that have to agree do not.
    """
    named = (networks,) if isinstance(networks, str) else tuple(networks)
    found = tuple(map(Path, pythons))
    for python in found:
        if not python.is_file():
            raise UsageError(f"{python} is no file; give an interpreter, e.g. peers/bin/python.")
    chosen = choose_methods(tuple(methods))
    if again:
        choose_methods(tuple(again))
    place = place_of(data, class_map, val_share)
    plan = Plan(
        checkpoints=named, data=place.path, methods=chosen, again=tuple(again), measurements=Path(cells),
        pythons=tuple(python.absolute() for python in found) or (Path(sys.executable),), calibration_images=images,
        test_images=test_images, arm64=arm64, preprocess=as_path(preprocess), kept=kept, add=add,
        class_order=class_order, class_map=place.class_map, val_share=place.val_share, weights=weights,
    )  # fmt: skip
    folder = Path(output)
    values = run_accuracy(plan, folder, say)
    return AccuracyEvidence(values, folder / JSON_FILE, folder / PAGE_FILE)
