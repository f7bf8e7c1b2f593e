"""A network that was never trained, for measuring size and speed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from compile.subject.noise import RANDOM_CLASSES, RANDOM_IMAGES, noise_images, statistics_size, unlabelled_noise
from compile.subject.subject import RANDOM, RepGhostSubject
from repghost import bundled
from repghost.data.images.preprocess import Preprocess
from repghost.evaluation.classes import numbered_labels
from repghost.network.spec import parse_width
from repghost.sizes import Size

if TYPE_CHECKING:
    from repghost.network.model import RepGhostNet


def random_subject(width: str | None, size: Size, seed: int) -> RepGhostSubject:
    """Return a network of random weights with the batch statistics its activations really have, and noise for images.

    Its predictions mean nothing, so its accuracy cannot be measured; sizes, speed and the equality of all builds can.
    """
    import torch

    from repghost.network.model import RepGhostNet

    multiplier = parse_width(width or str(bundled.WIDTH), custom=True)
    torch.manual_seed(seed)
    model = RepGhostNet(width=multiplier, num_classes=RANDOM_CLASSES)
    preprocess = Preprocess(size=size, resize=size)
    _measure_statistics(model, preprocess, seed)
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return RepGhostSubject(
        name=model.spec.name,
        digest=digest.hexdigest(),
        weights={"kind": RANDOM, "source": f"seed {seed}", "sha256": digest.hexdigest()},
        preprocess=preprocess,
        labels=numbered_labels(RANDOM_CLASSES),
        calibration=unlabelled_noise(size, seed),
        test=None,
        unmeasured="the weights are random",
        model=model,
    )


def _measure_statistics(model: RepGhostNet, preprocess: Preprocess, seed: int) -> None:
    """Give every batch norm the mean and variance of what reaches it; leaves the model in evaluation mode."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # a plain mean over the batches
    small = noise_images(RANDOM_IMAGES, statistics_size(preprocess.size), seed + 1)
    model.train()
    with torch.no_grad():
        for start in range(0, len(small), 8):
            model(torch.from_numpy(preprocess.normalize(small[start : start + 8])))
    model.eval()
