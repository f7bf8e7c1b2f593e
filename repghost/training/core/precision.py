"""Mixed precision of a training: the context of the forward pass, and the scale of the loss."""

from __future__ import annotations

import contextlib
from typing import Any

import torch


def autocast(amp: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return the context of the forward pass.

    Args:
        amp: a name of `repghost.training.recipe_parts.AMP_TYPES`.
        device: where it runs.
    """
    return contextlib.nullcontext() if amp == "off" else torch.autocast(device.type, getattr(torch, amp))


def loss_scaler(amp: str, device: torch.device) -> torch.amp.GradScaler:
    """Return what scales the loss, in float16 alone."""
    return torch.amp.GradScaler(device.type, enabled=amp == "float16")
