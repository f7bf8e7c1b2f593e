"""`Model("bundle")(image)`: images of any size to classes."""

from __future__ import annotations

import os
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Iterable

import numpy as np

from repghost_runtime.bundle import Pathlike, read_bundle
from repghost_runtime.errors import IntegrityError, UsageError
from repghost_runtime.find_boxes import Boxes, find_boxes
from repghost_runtime.frames import is_one_image, to_picture
from repghost_runtime.library import NOT_PREPARED, Library

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALIGNMENT = 64  # RG_WORKSPACE_ALIGNMENT
MOST_THREADS = 64
VECTORS = struct.Struct("<8sIIIIfI")  # the header of vectors.bin: compile/runner/bundle/vectors.h
VECTORS_MAGIC = b"RGVEC\0\0\1"


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


class Model:
    """The network of a bundle; it may be called from several threads at once."""

    def __init__(self, bundle: Pathlike, *, variant: str | None = None, threads: int = 1, digest: str = "") -> None:
        """Check every digest of a bundle, then load it.

        Args:
            bundle: the folder.
            variant: an instruction set by name; None: the best one that this core has.
            threads: how many images of a batch are computed at once, 1 to 64.
            digest: the beginning of the SHA-256 that the bundle's manifest has to have; empty: any.

        Raises:
            UsageError: when there is no bundle, or no such instruction set.
            UnsupportedError: when this machine cannot run it.
            IntegrityError: when a file was changed, or it is another bundle than `digest` says.
        """
        if type(threads) is not int or not 1 <= threads <= MOST_THREADS:
            raise UsageError(f"threads is a number from 1 to {MOST_THREADS}, not {threads!r}.")
        for name, text in (("digest", digest), ("variant", variant or "")):
            if not isinstance(text, str):
                raise UsageError(f"{name} is a text, not {text!r}.")
        checked = read_bundle(bundle, digest)
        self._library = Library(checked, variant)
        self.bundle = replace(checked, library=b"")  # a small board has little memory
        self._memory = threading.local()
        self._threads = threads
        self._pool: tuple[int, ThreadPoolExecutor] | None = None  # with the process that it belongs to

    def __repr__(self) -> str:
        """Return what was loaded from where."""
        return f"Model({str(self.bundle.path)!r}, variant={self.variant!r}, shape={self.shape}, classes={self.classes})"

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits; of several results without classes those of results."""
        return self.bundle.labels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images that the network takes."""
        return self.bundle.shape

    @property
    def classes(self) -> int:
        """How many logits it gives, or numbers of all its results."""
        return int(self.bundle.manifest["classes"])

    @property
    def variant(self) -> str:
        """The instruction set in use."""
        return self._library.variant

    def __call__(self, image: Any, order: str = "rgb") -> Prediction:
        """Resize, crop and classify one image.

        Args:
            image: uint8 [height, width, 3] or [height, width] of any size; a frame of a camera in NV12 is
                [height * 3 / 2, width] or a pair of planes. Rows may be apart, and upside down. A network of 2 or 4
                channels takes uint8 [height, width, channels].
            order: "rgb", "bgr" (OpenCV), "nv12" (BT.601, 16 to 235), "nv12-full" (0 to 255) or "nv12-bt709".

        Raises:
            UsageError: when the image is something else.
        """
        return self.prediction(self.logits(self.prepare(image, order)[None])[0])

    def detect(self, image: Any, order: str = "rgb") -> Boxes:
        """Return what a detector finds on one image, as shares of its width and height.

        Args:
            image: as `__call__` takes it.
            order: likewise.

        Raises:
            UsageError: when the network is no detector, or the image is something else.
        """
        if self.bundle.rule is None:
            raise UsageError(f"{self.bundle.path} is no detector; call it, or take its logits.")
        return find_boxes(self.bundle.rule, self.logits(self.prepare(image, order)[None])[0])

    def results(self, image: Any, order: str = "rgb") -> dict[str, NDArray[np.float32]]:
        """Return each of several results by name, float32 [height, width, channels] (arguments as `__call__`).

        Raises:
            UsageError: when the network has one, the scores of classes.
        """
        if not self.bundle.outputs:
            raise UsageError(f"{self.bundle.path} has no several results; call it, or take its logits.")
        numbers, found, start = self.logits(self.prepare(image, order)[None])[0], {}, 0
        for it in self.bundle.outputs:
            found[it.name] = numbers[start : start + it.numbers].reshape(it.height, it.width, it.channels)
            start += it.numbers
        return found

    def batch(self, images: Iterable[Any], order: str = "rgb") -> list[Prediction]:
        """Classify several images, of one size or of different ones, on as many threads as the model has.

        Args:
            images: each as `__call__` takes it.
            order: of all of them.

        Raises:
            UsageError: when it is one image, whose rows or planes would count as images, or an image is something else.
        """
        if is_one_image(images, order):
            raise UsageError("batch takes several images, and what was given is one; give [image].")
        return self._spread(lambda image: self(image, order), images)

    def prepare(self, image: Any, order: str = "rgb") -> NDArray[np.uint8]:
        """Return the network's input, uint8 [height, width, channels]; arguments and errors as `__call__`."""
        picture, _pixels = to_picture(image, order, self.shape[2])
        needed = self._library.prepare_bytes(picture)
        made: NDArray[np.uint8] = np.empty(self.shape, np.uint8)
        status = self._library.prepare(picture, made.ctypes.data, self._aligned("scratch", needed))
        if status == NOT_PREPARED:
            raise UsageError("the network does not say how its images are prepared; give `logits` what it takes.")
        if status:
            raise UsageError(
                f"an image of {picture.width} x {picture.height} is too large, or too long and thin, to be resized; "
                "crop it first."
            )
        return made

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the scores of prepared images, float32 [N, classes].

        Args:
            images: uint8 [N, height, width, channels], as `prepare` gives them.

        Raises:
            UsageError: when they have another type or shape.
        """
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != self.shape:
            given = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
            raise UsageError(f"this network takes uint8 (N, {', '.join(map(str, self.shape))}), not {given}.")
        images = np.ascontiguousarray(images)
        scores: NDArray[np.float32] = np.empty((len(images), self.classes), np.float32)

        def infer(index: int) -> None:
            workspace = self._aligned("workspace", self._library.workspace_bytes)
            self._library.infer(images[index].ctypes.data, scores[index].ctypes.data, workspace)

        self._spread(infer, range(len(images)))
        return scores

    def prediction(self, scores: NDArray[np.float32]) -> Prediction:
        """Return the class of an image by its logits, float32 [classes].

        Raises:
            UsageError: of a network with several results, which are no scores of classes.
        """
        if self.bundle.outputs:
            raise UsageError(f"{self.bundle.path} gives several results and no class; `detect` takes a detector's.")
        exponentials = np.exp(scores.astype(np.float64) - float(scores.max()))
        index = int(scores.argmax())
        return Prediction(self.labels[index], index, float(exponentials[index] / exponentials.sum()), scores)

    def verify(self) -> int:
        """Replay the recorded images of the bundle and return how many there are.

        Raises:
            IntegrityError: when the scores differ by more than was recorded, which is 0 for int8: equal to the bit.
        """
        images, expected, tolerance = self._vectors()
        found = self.logits(images)
        same = np.array_equal(found, expected) if tolerance == 0 else bool((abs(found - expected) <= tolerance).all())
        if not same:
            wrong = int((found != expected).any(axis=1).sum())
            raise IntegrityError(
                f"{self.bundle.path}: {wrong} of {len(images)} recorded images gave other scores with {self.variant}."
            )
        return len(images)

    def _vectors(self) -> tuple[NDArray[np.uint8], NDArray[np.float32], float]:
        data = self.bundle.read("vectors.bin")
        if len(data) < VECTORS.size:
            raise IntegrityError(f"{self.bundle.path}: vectors.bin is truncated.")
        magic, count, height, width, classes, tolerance, channels = VECTORS.unpack_from(data)
        size = count * height * width * (channels or 3)
        start = VECTORS.size + size + -size % 4
        shapes = (height, width, channels or 3) == self.shape and classes == self.classes
        if magic != VECTORS_MAGIC or not shapes or not count or len(data) != start + 4 * count * classes:
            raise IntegrityError(f"{self.bundle.path}: vectors.bin is not for this network.")
        images = np.frombuffer(data, np.uint8, size, VECTORS.size).reshape(count, *self.shape)
        logits = np.frombuffer(data, "<f4", count * classes, start).reshape(count, classes)
        return images, logits.astype(np.float32), float(tolerance)

    def _spread(self, function: Any, values: Iterable[Any]) -> list[Any]:
        """Return a function of each value, in order; the calls into model.so release Python's lock."""
        values = list(values)
        if self._threads == 1 or len(values) < 2:
            return [function(value) for value in values]
        return list(self._workers().map(function, values))

    def _workers(self) -> ThreadPoolExecutor:
        """Return the threads of this process; those of the process that it was forked from are not in it."""
        process = os.getpid()
        if self._pool is None or self._pool[0] != process:
            self._pool = process, ThreadPoolExecutor(self._threads)
        return self._pool[1]

    def _aligned(self, name: str, size: int) -> int:
        """Return the address of memory of this thread, kept until a larger piece of the same name is asked for."""
        kept: dict[str, NDArray[np.uint8]] = self._memory.__dict__
        if name not in kept or len(kept[name]) < size + ALIGNMENT:
            kept[name] = np.empty(size + ALIGNMENT, np.uint8)
        return -(-kept[name].ctypes.data // ALIGNMENT) * ALIGNMENT
