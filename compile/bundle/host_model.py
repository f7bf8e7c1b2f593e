"""Run the network of a host bundle from Python: `repghost.load(bundle)(image)`."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compile.bundle.manifest import Bundle, bundle_target, check_bundle
from compile.link.promises import check_model
from compile.targets.table import host_target
from repghost.data.images.preprocess import Preprocess
from repghost.detection.boxes import Boxes, BoxRule, find_boxes
from repghost.errors import IntegrityError, RepGhostError, UsageError, command
from repghost.evaluation.predictor import HOST_BUILD, Predictor
from repghost.evaluation.tally import softmax

if TYPE_CHECKING:
    from PIL import Image

ABI = 2  # RG_ABI of compile/runner/repghost.h
ABI_RESULTS = 3  # RG_ABI_RESULTS: of a network with several results
ALIGNMENT = 64  # RG_WORKSPACE_ALIGNMENT


@dataclass(frozen=True)
class Prediction:
    """The class of one image, with the logits of all classes."""

    label: str
    index: int
    probability: float  # softmax of the logits
    logits: NDArray[np.float32] = field(repr=False)  # [classes]

    def top(self, count: int) -> list[int]:
        """Return the `count` best classes, best first; of equal scores the lower index comes first."""
        return [int(index) for index in np.argsort(-self.logits, kind="stable")[:count]]


class LoadedModel:
    """model.so in this process; it may be called from several threads at once."""

    def __init__(self, data: bytes, shape: tuple[int, int, int], classes: int) -> None:
        """Load a library whose bytes were checked.

        Args:
            data: the bytes of model.so.
            shape: height, width and channels of its images.
            classes: how many logits it gives, or numbers of all its results.
        """
        self.shape, self.classes = shape, classes
        self._library = _load_library(data, self)
        if (found := self._library.rg_abi()) not in (ABI, ABI_RESULTS):
            raise IntegrityError(f"model.so has interface version {found}; this program knows {ABI} and {ABI_RESULTS}.")
        self._workspace_bytes = int(self._library.rg_workspace_bytes())
        self._memory = threading.local()

    @property
    def variant(self) -> str | None:
        """The instruction set in use; None when this core has none of the library's."""
        name = self._library.rg_variant()
        return name.decode("ascii") if name else None

    def select(self, variant: str | None) -> None:
        """Use an instruction set by name; None means the best one.

        Raises:
            UsageError: when the library has no such variant, or this core cannot run it.
        """
        status = self._library.rg_select(variant.encode("ascii", "replace") if variant else None)
        if status:
            raise UsageError(f"variant {variant!r} cannot be used (status {status}); {self.variant!r} stays in use.")

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the scores of cropped images.

        Args:
            images: uint8 [N, height, width, channels], as `Preprocess.apply` gives them.

        Returns:
            float32 [N, classes].

        Raises:
            UsageError: when the images have another type or shape.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self.shape:
            raise UsageError(
                f"this network reads uint8 pictures of shape (N, {', '.join(map(str, self.shape))}), not "
                f"{images.dtype} {images.shape}. Call the model with a PIL image, or crop with its .preprocess."
            )
        images = np.ascontiguousarray(images)
        scores = np.empty((len(images), self.classes), np.float32)
        workspace = self._workspace()
        for image, row in zip(images, scores, strict=True):
            status = self._library.rg_infer(image.ctypes.data, row.ctypes.data, workspace)
            if status:
                raise RepGhostError(f"the inference failed with status {status} (rg_status in repghost.h).")
        return scores

    def _workspace(self) -> int:
        """Return the address of the workspace of the calling thread; threads that shared one would spoil the scores."""
        kept: dict[str, NDArray[np.uint8]] = self._memory.__dict__
        if "workspace" not in kept:
            kept["workspace"] = np.zeros(self._workspace_bytes + ALIGNMENT, np.uint8)
        return -(-kept["workspace"].ctypes.data // ALIGNMENT) * ALIGNMENT


class HostModel(LoadedModel):
    """The network of a bundle, with its labels and the preprocessing it was trained with."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle.read("model.so"), bundle.shape, bundle.manifest["classes"])
        self.bundle = bundle
        self.labels = bundle.labels()
        self.preprocess = Preprocess.from_dict(bundle.manifest["preprocess"])

    def __call__(self, image: Image.Image) -> Prediction:
        """Resize, crop and classify one image.

        Args:
            image: a PIL image of any size and mode.
        """
        return self.prediction(self.logits(self.preprocess.apply(image)[None])[0])

    def detect(self, image: Image.Image) -> Boxes:
        """Return what a detector finds on one image.

        Args:
            image: a PIL image of any size and mode; the boxes are shares of its width and height.

        Raises:
            UsageError: when the network is no detector.
        """
        if "detection" not in self.bundle.manifest:
            raise UsageError(f"{self.bundle.path} is no detector; call it, or take its logits.")
        return find_boxes(
            BoxRule.from_dict(self.bundle.manifest["detection"]), self.logits(self.preprocess.apply(image)[None])[0]
        )

    def prediction(self, scores: NDArray[np.float32]) -> Prediction:
        """Return the class of an image by its logits, float32 [classes].

        Raises:
            UsageError: of a network with several results, which are no scores of classes.
        """
        if "outputs" in self.bundle.manifest:
            raise UsageError(f"{self.bundle.path} gives several results and no class; `detect` takes a detector's.")
        index = int(scores.argmax())
        return Prediction(self.labels[index], index, float(softmax(scores)[index]), scores)

    def as_predictor(self) -> Predictor:
        """Return the network as a function from images to logits.

        Raises:
            UsageError: of a network with several results, which are no scores of classes.
        """
        manifest = self.bundle.manifest
        if "outputs" in manifest:
            raise UsageError(
                f"{self.bundle.path} gives several results and no scores of classes; 'repghost detect-validate' "
                "measures detectors, and repghost-run --detect uses them."
            )
        precision = str(manifest["precision"])
        return Predictor(
            name=f"{precision} bundle",
            source=str(self.bundle.path),
            digest=self.bundle.digest,
            by=f"{HOST_BUILD}, {self.variant}",
            preprocess=self.preprocess,
            classes=self.classes,
            labels=tuple(self.labels),
            logits=self.logits,
            program=str(manifest["program_digest"]) if precision == "int8" else None,
        )


def _load_library(data: bytes, owner: object) -> ctypes.CDLL:
    """Load model.so from bytes that were checked, until the owner is gone.

    The bytes go through an anonymous file: what is loaded is what was checked, whatever happens to the file on disk,
    and a bundle that was rebuilt at the same path is not taken for the one loaded before.
    """
    descriptor = os.memfd_create("model.so")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    path = f"/proc/self/fd/{descriptor}"
    library = ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL)
    weakref.finalize(owner, _unload, library._handle, descriptor, path).atexit = False
    library.rg_abi.restype = ctypes.c_int
    library.rg_workspace_bytes.restype = ctypes.c_size_t
    library.rg_info.restype = ctypes.c_char_p
    library.rg_variant.restype = ctypes.c_char_p
    library.rg_select.argtypes = [ctypes.c_char_p]
    library.rg_infer.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    return library


def _unload(handle: int, descriptor: int, path: str) -> None:
    """Give back what a library took, once nothing uses it any more.

    The loader knows a library by its path. Where it stays loaded after all (musl never unloads), its number has to
    stay taken, or a library with the same one would be taken for it.
    """
    close = ctypes.CDLL(None).dlclose
    close.argtypes = [ctypes.c_void_p]
    close(handle)
    try:
        ctypes.CDLL(path, mode=os.RTLD_LAZY | os.RTLD_NOLOAD)
    except OSError:
        os.close(descriptor)


def check_interface(bundle: Bundle) -> None:
    """Refuse a bundle whose model.so has another interface than this program calls.

    Raises:
        IntegrityError: naming both versions.
    """
    found = bundle.manifest["abi"]
    if found != (ABI_RESULTS if "outputs" in bundle.manifest else ABI):
        raise IntegrityError(
            f"{bundle.path} has version {found} of the C interface; this program knows {ABI}, and {ABI_RESULTS} of "
            "several results. Build the bundle again, or use the version of repghost that made it."
        )


def load(path: str | os.PathLike[str]) -> HostModel:
    """Return the network of a host bundle; every digest is checked before anything of it is loaded.

    Args:
        path: the folder of a bundle for this kind of machine, e.g. build/<model>/host/int8.

    Raises:
        UsageError: when there is no bundle, or it is for another kind of machine.
        IntegrityError: when a file was changed.
    """
    return HostModel(check_host_bundle(path))


def check_host_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Return a bundle that this machine can load (arguments and errors as `load`)."""
    bundle = check_bundle(Path(path))
    target = bundle_target(bundle)
    if host_target() is not target:
        raise UsageError(
            f"{path} is a bundle for {target.name}, which this machine is not. Build one with "
            f"'{command('compile', target='host')}', or verify this one with 'repghost verify'."
        )
    check_interface(bundle)
    try:
        check_model(bundle.read("model.so"), target)
    except UsageError as error:
        raise IntegrityError(f"{path}: {error}") from error
    return bundle
