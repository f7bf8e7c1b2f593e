"""A network as a function from images to logits, whatever computes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError, option

REFERENCE = "numpy reference"
HOST_BUILD = "compiled host build"


@dataclass(frozen=True, eq=False)
class Predictor:
    """One network with its weights.

    Attributes:
        name: what tables call it, e.g. "fp32 EMA fused".
        source: the file or folder it came from.
        digest: sha256 of that file; for a bundle, of its manifest.
        by: what computes it, e.g. "PyTorch on cpu".
        preprocess: what is done to its images.
        classes: how many logits it gives.
        labels: one name per class, None when the source does not say.
        logits: uint8 [N, height, width, channels] -> float32 [N, classes].
        program: digest of the integer program; two networks with the same one have to agree to the bit.
    """

    name: str
    source: str
    digest: str
    by: str
    preprocess: Preprocess
    classes: int
    labels: tuple[str, ...] | None
    logits: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    program: str | None = None


def common_preprocess(predictors: Sequence[Predictor]) -> Preprocess:
    """Return the preprocessing of all of them, because they are given the same bytes.

    Raises:
        UsageError: when two of them differ.
    """
    first = predictors[0]
    for other in predictors[1:]:
        if other.preprocess.channels != first.preprocess.channels:
            raise UsageError(
                f"{other.source} takes images of {other.preprocess.channels} channels and {first.source} of "
                f"{first.preprocess.channels}, so they cannot be compared picture by picture; validate them one after "
                "the other."
            )
        if other.preprocess != first.preprocess:
            raise UsageError(
                f"{other.source} and {first.source} prepare their pictures differently ({other.preprocess.to_dict()} "
                f"and {first.preprocess.to_dict()}), so they cannot be compared picture by picture; validate them one "
                f"after the other, or give {option('preprocess', 'FILE')} for both."
            )
    return first.preprocess
