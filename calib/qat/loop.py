"""The quantization-aware training loop: steps through the phases of a schedule, and evaluates after each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from calib.qat.data import TrainingFeed
from calib.qat.network import QatNetwork
from calib.qat.settings import FREEZE_OBSERVERS, FREEZE_STATISTICS, QUANTIZE, QatSettings
from repghost.errors import RepGhostError

WARMUP = 0.05  # share of the steps in which the rate rises


Teacher = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class QatStep:
    """What one step did."""

    number: int  # from 0
    epoch: int  # from 0
    images: int
    phase: str
    loss: float


def prepare_teacher(model: nn.Module, settings: QatSettings) -> Teacher | None:
    """Return the float network as the teacher of the distillation, or None where the loss has labels alone.

    Args:
        model: fused, in evaluation mode; its memory layout is changed.
        settings: whether there is a teacher.
    """
    if settings.distillation == 0:
        return None
    return model.to(memory_format=torch.channels_last)


def train_quantized(
    network: QatNetwork,
    teacher: Teacher | None,
    feed: TrainingFeed,
    settings: QatSettings,
    on_step: Callable[[QatStep], None],
    on_epoch: Callable[[int], None],
) -> None:
    """Train a network in place.

    Args:
        network: just built.
        teacher: the float network, for distillation; None without.
        feed: the training images.
        settings: how.
        on_step: called after each step.
        on_epoch: called with the number of the epoch that has ended, from 0.

    Raises:
        RepGhostError: when the loss is no longer finite.
    """
    total = settings.epochs * feed.steps_per_epoch
    optimizer = make_optimizer(network, settings)
    phases = settings.schedule.first_steps(total)
    number, name = 0, QUANTIZE
    network.train()
    for epoch in range(settings.epochs):
        for images, labels in feed.batches(epoch):
            name = _enter_phase(network, phases, number, name, settings)
            set_rates(optimizer, number, total)
            loss = training_step(network, teacher, optimizer, images, labels, settings)
            if not math.isfinite(loss):
                raise RepGhostError(
                    f"the loss became {loss} in step {number + 1} of {total}; nothing was written. "
                    "Lower --learning-rate."
                )
            on_step(QatStep(number, epoch, len(labels), name, loss))
            number += 1
        if epoch == settings.epochs - 1:  # also where rounding put a phase behind the last step
            _enter_phase(network, dict.fromkeys(phases, 0), number, name, settings)
        on_epoch(epoch)


def _enter_phase(network: QatNetwork, phases: dict[str, int], number: int, name: str, settings: QatSettings) -> str:
    """Freeze what a phase that begins with this step freezes, and return the phase's name."""
    if number >= phases[FREEZE_OBSERVERS] and not bool(network.scales.frozen):
        network.freeze_observers()
        network.scales.requires_grad_(False)
        name = FREEZE_OBSERVERS
    if number >= phases[FREEZE_STATISTICS] and name != FREEZE_STATISTICS:
        network.freeze_statistics()
        name = FREEZE_STATISTICS
    if number and number % settings.schedule.replan == 0:
        network.replan()
    return name


def training_step(
    network: nn.Module,
    teacher: Teacher | None,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
    settings: QatSettings,
) -> float:
    """Run forward, backward and one step of the optimizer; return the loss.

    Args:
        network: what learns.
        teacher: the float network; None where the loss has labels alone.
        optimizer: of the network's parameters.
        images: float32 [N, 3, H, W], normalized.
        labels: int64 [N].
        settings: share and temperature of the distillation.
    """
    logits = network(images)
    loss = torch.zeros((), device=logits.device)
    if teacher is not None and settings.distillation > 0:
        with torch.no_grad():
            wanted = F.log_softmax(teacher(images) / settings.temperature, 1)
        given = F.log_softmax(logits / settings.temperature, 1)
        distance = F.kl_div(given, wanted, reduction="batchmean", log_target=True)
        loss = loss + settings.distillation * settings.temperature**2 * distance
    share = 1.0 if teacher is None else 1.0 - settings.distillation
    if share > 0:
        loss = loss + share * F.cross_entropy(logits, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def make_optimizer(network: QatNetwork, settings: QatSettings) -> torch.optim.Optimizer:
    """Return Adam for the weights of a network and its scales."""
    return adam(network.parameter_groups(settings.learning_rate, settings.scale_learning_rate))


def adam(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return Adam; each group keeps its rate as the "peak" from which `set_rates` computes that of a step."""
    optimizer = torch.optim.Adam(groups, fused=True)
    for group in optimizer.param_groups:
        group["peak"] = group["lr"]
    return optimizer


def set_rates(optimizer: torch.optim.Optimizer, number: int, total: int) -> None:
    """Set the rates of a step: a short linear rise, then a cosine to 0."""
    warmup = max(1, round(WARMUP * total))
    share = (
        (number + 1) / warmup
        if number < warmup
        else 0.5 * (1 + math.cos(math.pi * (number - warmup) / (total - warmup)))
    )
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
