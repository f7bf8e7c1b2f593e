"""The parts of a run that change while training: network, average, optimizer, gradient scaler."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

import torch
from timm.utils import ModelEmaV3, dispatch_clip_grad
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from repghost.distributed.ranks import Ranks
from repghost.training.core.precision import autocast, loss_scaler
from repghost.training.recipe_parts import Weights

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Updating:
    """How gradients become steps.

    Attributes:
        amp: type of automatic mixed precision, or "off".
        accumulate: batches whose gradients are summed before one step.
        clip_grad: limit of the gradient; None does not clip.
        clip_mode: "norm" of all gradients, each "value", or "agc" by the weight's norm.
        ema_decay: of the average of the weights; None: there is none.
        ema_warmup: at first the average covers the latest steps only.
    """

    amp: str = "off"
    accumulate: int = 1
    clip_grad: float | None = None
    clip_mode: str = "norm"
    ema_decay: float | None = None
    ema_warmup: bool = False


@dataclass(eq=False, kw_only=True)
class Run(ABC, Generic[N]):
    """A network with its optimizer and schedule, in one process of perhaps several; each step updates it in place.

    Attributes:
        model: on its device.
        optimizer: of its parameters.
        epochs: of the whole run.
        steps_per_epoch: of the optimizer.
        updating: how gradients become steps.
        ranks: this process among the others.
        own_buffers: see `Ranks.distributed`.
        forward: the model, distributed and compiled where asked for.
        average: of the weights, if any.
        scaler: of the loss in float16.
    """

    model: N
    optimizer: torch.optim.Optimizer
    epochs: int
    steps_per_epoch: int
    updating: Updating = Updating()
    ranks: Ranks = Ranks()  # noqa: RUF009 - immutable
    own_buffers: bool = True
    forward: Callable[..., Any] = field(init=False)
    average: ModelEmaV3 | None = field(init=False, default=None)
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        """Build what follows from the rest."""
        decay, warmup = self.updating.ema_decay, self.updating.ema_warmup
        if decay is not None:
            # timm's warm-up: the decay of step t is min(decay, 1 - (1 + t)^(-2/3)), so that the average covers about
            # the last t^(2/3) steps (ModelEmaV3.get_decay in timm/utils/model_ema.py). A plain mean of all steps would
            # keep the random start, and batch-norm statistics that belong to it, for thousands of steps.
            self.average = ModelEmaV3(self.model, decay, use_warmup=warmup)
        self.scaler = loss_scaler(self.updating.amp, self.ranks.device)
        self.forward = self.wrapped()

    @abstractmethod
    def set_rate(self, epoch: int, step: int) -> float:
        """Prepare a step (from 0 in its epoch) and return its learning rate."""

    def wrapped(self) -> Callable[..., Any]:
        """Return the network as the forward pass calls it."""
        return self.distributed(self.model)

    def distributed(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are averaged over the processes, where there are several."""
        return module if self.ranks.count == 1 else self.ranks.distributed(module, self.own_buffers)

    @property
    def accumulate(self) -> int:
        """Batches whose gradients are summed before one step."""
        return self.updating.accumulate

    @property
    def batches_per_epoch(self) -> int:
        """How many batches an epoch has in each process."""
        return self.steps_per_epoch * self.accumulate

    @property
    def networks(self) -> dict[Weights, N]:
        """The networks that are evaluated after an epoch, of which the better is kept: the average comes first."""
        if self.average is None:
            return {"raw": self.model}
        return {"averaged": cast("N", self.average.module), "raw": self.model}

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context of the forward pass."""
        return autocast(self.updating.amp, self.ranks.device)

    def sync(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Return the context of a backward pass; gradients meet those of other processes once per step."""
        if last or not isinstance(self.forward, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.forward.no_sync()

    def update(self, epoch: int, step: int) -> None:
        """Take one step of the optimizer with the gradients there are, and move the average."""
        updating = self.updating
        if updating.clip_grad is not None:
            self.scaler.unscale_(self.optimizer)
            # agc leaves the classifier's two tensors out, as its authors and timm do
            clipped = list(self.model.parameters())[: -2 if updating.clip_mode == "agc" else None]
            dispatch_clip_grad(clipped, updating.clip_grad, mode=updating.clip_mode)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            done = epoch * self.steps_per_epoch + step + 1
            self.average.update(self.model, done if updating.ema_warmup else None)
