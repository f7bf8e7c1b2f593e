"""What a step of training under quantization is made of; the loop itself is in `repghost.training.core`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from calib.qat.network import QatNetwork
from calib.qat.settings import FREEZE_OBSERVERS, FREEZE_STATISTICS, QUANTIZE, QatSettings
from repghost.training.core.run import N, Run
from repghost.training.losses import Teacher, distilled
from repghost.training.options import Loss

WARMUP = 0.05  # share of the steps in which the rate rises


@dataclass(frozen=True)
class QatStep:
    """What one step did."""

    number: int  # from 0
    of: int  # steps of the whole run
    epoch: int  # from 0
    images: int
    phase: str
    loss: float


@dataclass(eq=False, kw_only=True)
class AdamRun(Run[N]):
    """A network that Adam trains with the rates of training under quantization.

    Attributes:
        settings: how.
    """

    settings: QatSettings
    own_buffers: bool = False

    @property
    def steps(self) -> int:
        """How many steps of the optimizer the whole run has."""
        return self.epochs * self.steps_per_epoch

    def set_rate(self, epoch: int, step: int) -> float:
        """Set the rates of a step and return the share of the peak."""
        return set_rates(self.optimizer, epoch * self.steps_per_epoch + step, self.steps)


@dataclass(eq=False, kw_only=True)
class QatRun(AdamRun[QatNetwork]):
    """A network under quantization, whose scales and statistics become final in phases."""

    phase: str = QUANTIZE

    def set_rate(self, epoch: int, step: int) -> float:
        """Begin the phase of a step, choose the int16 multipliers when it is time, and set the rates."""
        number = epoch * self.steps_per_epoch + step
        first = self.settings.schedule.first_steps(self.steps)
        for name in (FREEZE_OBSERVERS, FREEZE_STATISTICS):
            if number >= first[name]:
                self.enter(name)
        if number and number % self.settings.schedule.replan == 0:
            self.model.replan()
        return super().set_rate(epoch, step)

    def enter(self, phase: str) -> None:
        """Make final what is final in a phase and after it."""
        if self.phase == phase or self.phase == FREEZE_STATISTICS:
            return
        self.model.freeze_observers()
        if self.ranks.count == 1:  # DistributedDataParallel expects gradients of all that it was built with
            self.model.scales.requires_grad_(False)
        if phase == FREEZE_STATISTICS:
            self.model.freeze_statistics()
        self.phase = phase


def qat_loss(settings: QatSettings, teacher: Teacher | None) -> Loss:
    """Return the loss of the settings: cross-entropy with labels, and their share of the distance to a teacher."""
    return distilled(
        lambda inputs, logits, targets: F.cross_entropy(logits, targets),
        teacher,
        settings.distillation,
        settings.temperature,
        settings.distillation_kind,
    )


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
    loss = qat_loss(settings, teacher)(images, network(images), labels)
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


def set_rates(optimizer: torch.optim.Optimizer, number: int, total: int) -> float:
    """Set the rates of a step, a short linear rise, then a cosine to 0; return their share of the peaks."""
    warmup = max(1, round(WARMUP * total))
    share = (
        (number + 1) / warmup
        if number < warmup
        else 0.5 * (1 + math.cos(math.pi * (number - warmup) / (total - warmup)))
    )
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    return share
