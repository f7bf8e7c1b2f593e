"""Every way to quantize a checkpoint without training, as digests; a program, because each run of it has its own CPU.

python -m tests.support.ways_to_quantize CHECKPOINT IMAGES.npy [WAY ...] prints a JSON object: the fused weights' and
each way's digest, and what the machine could do.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from calib.observers import OBSERVERS
from calib.ptq import apply, choose_observers
from calib.ptq.adaround import RoundingSettings, learn_rounding
from calib.ptq.levers import LEVERS
from calib.ptq.search_settings import SearchImages, Trial, search_settings
from calib.quantize import Source, quantize_network
from calib.settings.config import LayerSettings, QuantConfig, default_config
from calib.settings.policy import POLICIES
from repghost.checkpoints.checkpoint import build_model, read_checkpoint
from repghost.data.images.preprocess import Preprocess
from repghost.errors import AccuracyGateError
from repghost.graph.operators import Graph
from repghost.graph.trace import graph_of
from repghost.network.fuse import fused
from repghost.network.model import RepGhostNet

EVERYTHING = "every observer, equalized, corrected, learned"
ONE_OBSERVER = QuantConfig(ranges_by_answers=False, bias_correction=False)
WAYS: dict[str, QuantConfig] = {
    **{policy: default_config(policy) for policy in POLICIES},
    **{f"{policy} {name}": replace(default_config(policy), ranges_by_answers=False, defaults=LayerSettings(name))
       for policy in POLICIES for name in OBSERVERS},
    **{lever.name: changed for lever in LEVERS if (changed := lever.change(QuantConfig())) != QuantConfig()},
    "equalize": replace(ONE_OBSERVER, equalize=True),
    "bias correction": replace(ONE_OBSERVER, bias_correction=True),
    "learned rounding": replace(ONE_OBSERVER, learned_rounding=True),
    EVERYTHING: replace(
        ONE_OBSERVER,
        equalize=True,
        bias_correction=True,
        learned_rounding=True,
        layers=tuple((f"blocks.{stage}.0.ghost1.*", (("observer", name),)) for stage, name in enumerate(OBSERVERS)),
    ),
    "int32 sums, weights by least squares": replace(
        ONE_OBSERVER, defaults=LayerSettings(depthwise_accumulator="int32", weight_range="mse")
    ),
}  # fmt: skip
SEARCH = "search with layers in float"


def digests(model: RepGhostNet, images: NDArray[np.uint8], preprocess: Preprocess, ways: list[str]) -> dict[str, str]:
    """Return the program digest of each way, by its name."""
    labels = tuple(str(index) for index in range(model.spec.num_classes))
    source = Source(labels, "0" * 64, {})
    quick = partial(learn_rounding, settings=RoundingSettings(steps=4, batch=4))
    few = patch.object(choose_observers, "MOST", 0.2)  # a few tensors try every observer
    with patch.object(apply, "learn_rounding", quick), few:
        return {
            name: search_digest(graph_of(model), images, preprocess)
            if name == SEARCH
            else quantize_network(
                model.spec.name, graph_of(fused(model)), images, preprocess, WAYS[name], source
            ).digest
            for name in ways
        }


def search_digest(graph: Graph, images: NDArray[np.uint8], preprocess: Preprocess) -> str:
    """Return the digest of all trials of a search that no lever satisfies; the last ones leave layers in float."""
    trials: list[Trial] = []
    sets = SearchImages(images, images[::-1], np.zeros(len(images), np.int64), preprocess)
    with contextlib.suppress(AccuracyGateError):
        search_settings(graph, sets, default_config("tensorrt"), -200.0, trials.append)
    record = [[trial.to_dict(), trial.config.to_dict()] for trial in trials]
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()


def main() -> None:
    """Print the digests of the checkpoint and images that the command line names."""
    checkpoint = read_checkpoint(Path(sys.argv[1]))
    assert checkpoint.preprocess is not None
    model = fused(build_model(checkpoint).eval())
    weights = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
    ways = sys.argv[3:] or [*WAYS, SEARCH]
    print(
        json.dumps(
            {
                "machine": [torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()],
                "fused": hashlib.sha256(weights).hexdigest(),
                **digests(model, np.load(sys.argv[2]), Preprocess.from_dict(checkpoint.preprocess), ways),
            }
        )
    )


if __name__ == "__main__":
    main()
