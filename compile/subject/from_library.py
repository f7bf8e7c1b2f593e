"""Networks of timm and torchvision with random weights, to compare size and speed with.

Their predictions mean nothing; size, speed and the equality of all builds do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compile.subject.noise import RANDOM_CLASSES, RANDOM_IMAGES, noise_images, statistics_size, unlabelled_noise
from compile.subject.subject import RANDOM, ImportedSubject
from repghost.data.images.preprocess import Preprocess
from repghost.evaluation.classes import numbered_labels
from repghost.graph.digest import graph_digest
from repghost.sizes import Size, sides

if TYPE_CHECKING:
    import torch


def random_library_subject(name: str, size: Size, seed: int) -> ImportedSubject:
    """Return a network with random weights and the batch statistics its activations really have.

    Args:
        name: "timm:NAME" or "torchvision:NAME".
        size: pixels of the input.
        seed: makes the weights.

    Raises:
        UsageError: when the library has no such network, or it holds what a graph does not have.
    """
    from calib.importer.import_module import import_module

    preprocess = Preprocess(size=size, resize=size)
    model = random_network(name, preprocess, RANDOM_CLASSES, seed)
    imported = import_module(model, sides(size), name=name)
    digest = graph_digest(imported.graph)
    return ImportedSubject(
        name=name.partition(":")[2],
        digest=digest,
        weights={"kind": RANDOM, "source": f"{name}, seed {seed}", "sha256": digest},
        preprocess=preprocess,
        labels=numbered_labels(RANDOM_CLASSES),
        calibration=unlabelled_noise(size, seed),
        test=None,
        unmeasured="the weights are random",
        notes=imported.notes,
        imported=imported.graph,
    )


def random_network(name: str, preprocess: Preprocess, classes: int, seed: int) -> torch.nn.Module:
    """Return a network in evaluation mode whose batch norms know the statistics of what reaches them.

    Args:
        name: "timm:NAME" or "torchvision:NAME".
        preprocess: of the images that it sees.
        classes: how many the last layer tells apart.
        seed: makes the weights.

    Raises:
        UsageError: when the library has no such network.
    """
    import torch

    from calib.importer.libraries.named import create_network

    torch.manual_seed(seed)
    model = create_network(name, classes)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # a plain mean over the batches
    small = noise_images(RANDOM_IMAGES, statistics_size(preprocess.size), seed + 1)
    with torch.no_grad():
        for start in range(0, len(small), 8):
            model.train()(torch.from_numpy(preprocess.normalize(small[start : start + 8])))
    network: torch.nn.Module = model.eval()
    return network
