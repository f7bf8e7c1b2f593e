"""What the caller of a run decides beside its recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from repghost.training.feeds.loader import Loading
from repghost.training.transfer import Start

# inputs float32 [N, 3, H, W], logits [N, classes], targets int64 [N] or float32 [N, classes] -> scalar
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Options:
    """Where images are read, how often the state is written, and what a run begins with.

    Args:
        loading: workers and limits; only where images are decoded in every epoch.
        state_interval: batches between two states within an epoch; 0: after each epoch only.
        log_interval: batches between two looks at the loss on a GPU, each of which waits for it.
        num_classes: of the network, when it shall have more than the images.
        weights: to begin with instead of random ones.
        loss: instead of the recipe's cross-entropy, e.g. one that asks a teacher about the inputs.
    """

    loading: Loading = field(default_factory=Loading)
    state_interval: int = 0
    log_interval: int = 50
    num_classes: int | None = None
    weights: Start | None = None
    loss: Loss | None = None
