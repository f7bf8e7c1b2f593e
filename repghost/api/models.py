"""Bundles that this machine runs: `repghost.load`, and the network it returns."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from numpy.typing import NDArray
from PIL import Image

from compile.bundle.host_model import HostModel, Prediction, check_host_bundle
from compile.bundle.manifest import MANIFEST, refuse_training_run
from compile.targets.precisions import PRECISIONS
from compile.targets.table import HOST, host_target
from repghost.api.accepted.images import Reader
from repghost.api.accepted.pixels import Pixels, check_pixels
from repghost.api.shown.html import page, table
from repghost.errors import UsageError, unknown_value
from repghost.evaluation.predictor import Predictor

if TYPE_CHECKING:
    import torch


class Model(HostModel):
    """The network of a bundle in this process, with its labels and preprocessing."""

    @overload
    def __call__(self, image: str | os.PathLike[str] | Image.Image, *, pixels: Pixels | None = None) -> Prediction: ...

    @overload
    def __call__(
        self,
        image: NDArray[Any] | torch.Tensor | list[Any] | tuple[Any, ...],
        *,
        pixels: Pixels | None = None,
    ) -> list[Prediction]: ...

    def __call__(self, image: Any, *, pixels: Pixels | None = None) -> Prediction | list[Prediction]:
        """Return what an image shows, or of a batch what each image shows.

        Args:
            image: a path or a PIL image; or a batch: an array [N, H, W, C] or [H, W, C], a tensor [N, C, H, W] or
                [C, H, W], or a list. Arrays of the network's own size are taken as prepared, others are resized.
            pixels: the range of floats, see `repghost.evaluate`.

        Raises:
            UsageError: for what is no image, or floats whose range is not clear.
        """
        reader = Reader(self.preprocess, check_pixels(pixels))
        if isinstance(image, str | os.PathLike | Image.Image):
            return self.prediction(self.logits(reader.one_or_many(image))[0])
        parts = image if isinstance(image, list | tuple) else [image]
        return [self.prediction(row) for part in parts for row in self.logits(reader.one_or_many(part))]

    def __reduce__(self) -> tuple[Callable[[Path], Model], tuple[Path]]:
        """Return how another process opens the same bundle, e.g. a worker of a DataLoader."""
        return load, (self.bundle.path,)

    def as_predictor(self) -> Predictor:
        """Return the network as a function from images to logits, for `repghost.evaluate`."""
        found = super().as_predictor()
        return replace(found, name=f"{self.bundle.manifest['model'].get('name', 'network')} {found.name}")

    def __repr__(self) -> str:
        manifest = self.bundle.manifest
        size = " x ".join(map(str, self.shape[:2]))
        return (
            f"{manifest['model'].get('name', 'network')}, {manifest['precision']}, {size} px, {self.classes} classes, "
            f"on this machine by {self.variant}"
        )

    def _repr_html_(self) -> str:
        rows = [(key, str(value)) for key, value in self.preprocess.to_dict().items()]
        return page(repr(self), table(("preprocess", "value"), rows))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "path": str(self.bundle.path),
            "bundle_digest": self.bundle.digest,
            "model": dict(self.bundle.manifest["model"]),
            "precision": self.bundle.manifest["precision"],
            "labels": list(self.labels),
            "preprocess": self.preprocess.to_dict(),
            "variant": self.variant,
        }


def load(path: str | os.PathLike[str], precision: str | None = None) -> Model:
    """Return the network of a bundle for this machine; every digest is checked before anything of it is loaded.

    Args:
        path: the folder of a bundle, or of a run that holds bundles: the one for this machine is taken.
        precision: of a run: "int8", "fp32" or "fp16"; None: int8, or else what there is.

    Raises:
        UsageError: when there is no bundle for this machine.
        IntegrityError: when a file was changed.
    """
    return Model(check_host_bundle(find_bundle(Path(path), precision)))


def find_bundle(path: Path, precision: str | None = None) -> Path:
    """Return the folder of the bundle for this machine in the folder of a run; of a bundle, the folder itself.

    Raises:
        UsageError: when there is none.
    """
    if precision is not None and precision not in PRECISIONS:
        raise unknown_value("precision", precision, PRECISIONS)
    if path.is_file():
        raise UsageError(
            f"{path} is a file, and a bundle is a folder, e.g. build/<model>/host/int8. Weights and ONNX files are for "
            "repghost.predict and repghost.evaluate; repghost.load_model gives the module of a checkpoint."
        )
    if not path.is_dir() or (path / MANIFEST).exists():
        return path  # what is wrong with it is said where it is read
    target = host_target()
    places = (HOST,) if target is None else (HOST, target.name)
    wanted = PRECISIONS if precision is None else (precision,)
    for place in places:
        for name in wanted:
            if (path / place / name / MANIFEST).exists():
                return path / place / name
    there = sorted(str(found.parent.relative_to(path)) for found in path.glob(f"*/*/{MANIFEST}"))
    if not there:
        refuse_training_run(path)
    held = f"holds {', '.join(there)}" if there else "holds no bundle"
    raise UsageError(
        f"{path} {held}, and no {precision or ''} bundle for this machine".replace("  ", " ")
        + ". Build one: repghost.compile(network, target='host'), or repghost compile --target host."
    )
