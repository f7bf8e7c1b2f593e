"""Gradient checkpointing: of each stage only the input is kept for the backward pass, which computes the rest again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from repghost.network.model import RepGhostNet


class Checkpointed(nn.Module):
    """The forward pass of a network in training, with the same gradients and statistics to the bit.

    Args:
        model: whose parameters learn; it is not changed.
    """

    def __init__(self, model: RepGhostNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, num_classes] of images [N, in_chans, H, W]."""
        model = self.model
        x = model.act1(model.bn1(model.conv_stem(x)))
        for stage in model.blocks:
            x = checkpoint(stage, x, use_reentrant=False, context_fn=partial(_contexts, stage))
        return model.forward_head(x)


def _contexts(stage: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of a stage's first pass and of its second."""
    return nullcontext(), _statistics_kept(stage)


@contextmanager
def _statistics_kept(stage: nn.Module) -> Iterator[None]:
    """Let the batch norms of a stage leave their running statistics alone: its first pass has moved them."""
    norms = [module for module in stage.modules() if isinstance(module, _BatchNorm) and module.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # the statistics stay to the bit, and are still what the backward pass keeps
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
