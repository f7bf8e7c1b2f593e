"""What the caller of a run decides beside its recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from repghost.distributed.ranks import Ranks
from repghost.training.transfer import Start

Resume = Literal["new", "continue", "auto"]
# inputs float32 [N, 3, H, W], logits [N, classes], targets int64 [N] or float32 [N, classes] -> scalar
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Loading:
    """How images are read; none of it changes a result.

    Args:
        workers: processes that decode; 0 decodes in the training process.
        pin_memory: lock pages for faster copies to a GPU.
        broken_limit: images that may be broken, in all processes of a run together, before it stops.
        validation_batch: images per step when an epoch is evaluated.
    """

    workers: int = 4
    pin_memory: bool = False
    broken_limit: int = 50
    validation_batch: int = 128


@dataclass(frozen=True)
class Options:
    """Where images are read, how often the state is written, and what a run begins with.

    Attributes:
        loading: workers and limits; only where images are decoded in every epoch.
        state_interval: batches between two states within an epoch; 0: after each epoch only.
        log_interval: batches between two looks at the loss on a GPU, each of which waits for it.
        num_classes: of the network, when it shall have more than the images.
        weights: to begin with instead of random ones.
        loss: instead of the recipe's cross-entropy, e.g. one that asks a teacher about the inputs.
        resume: "new" refuses a folder with a state, "continue" needs one, "auto" goes on if there is one.
        ranks: this process among those of torchrun.
    """

    loading: Loading = field(default_factory=Loading)
    state_interval: int = 0
    log_interval: int = 50
    num_classes: int | None = None
    weights: Start | None = None
    loss: Loss | None = None
    resume: Resume = "new"
    ranks: Ranks = field(default_factory=Ranks)
