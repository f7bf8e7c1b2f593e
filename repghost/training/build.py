"""The parts of a run that change while training: network, average, optimizer, schedule, gradient scaler."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3, dispatch_clip_grad
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError, option
from repghost.network.model import RepGhostNet
from repghost.training.checkpointing import Checkpointed
from repghost.training.losses import recipe_loss
from repghost.training.options import Loss
from repghost.training.precision import autocast, loss_scaler
from repghost.training.recipe import Recipe, Weights
from repghost.training.transfer import Start, freeze, train_mode

# timm's names of the optimizer that PyTorch has as one kernel: a step of 336 small tensors takes 1 ms instead of 9.
FUSED = ("sgd", "momentum")


@dataclass(frozen=True, eq=False)
class Run:
    """One process's parts; each step updates them in place."""

    recipe: Recipe
    ranks: Ranks
    model: RepGhostNet
    forward: Callable[[torch.Tensor], torch.Tensor]  # the model, distributed and compiled where asked for
    average: ModelEmaV3 | None
    optimizer: torch.optim.Optimizer
    schedule: Scheduler
    scaler: torch.amp.GradScaler
    epochs: int  # of the schedule: the recipe's, repeated cycles and the cool-down included
    steps_per_epoch: int  # of the optimizer

    @property
    def accumulate(self) -> int:
        """Batches whose gradients are summed before one step."""
        return self.recipe.execution.accumulate

    @property
    def channels_last(self) -> bool:
        """Whether images are brought to that memory layout."""
        return self.recipe.execution.channels_last

    @property
    def loss(self) -> Loss:
        """The recipe's cross-entropy."""
        return recipe_loss(self.recipe)

    @property
    def networks(self) -> dict[Weights, RepGhostNet]:
        """The networks that are evaluated after an epoch, of which the better is kept: the average comes first."""
        if self.average is None:
            return {"raw": self.model}
        return {"averaged": self.average.module, "raw": self.model}

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context of the forward pass."""
        return autocast(self.recipe.execution.amp, self.ranks.device)

    def sync(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Return the context of a backward pass; gradients meet those of other processes once per step."""
        if last or not isinstance(self.forward, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.forward.no_sync()

    def set_rate(self, epoch: int, step: int) -> float:
        """Set the learning rate of a step (from 0 in its epoch) and return it."""
        self.schedule.step(epoch)
        self.schedule.step_update(epoch * self.steps_per_epoch + step)
        return float(max(group["lr"] for group in self.optimizer.param_groups))  # of the last layers, with layer decay

    def update(self, epoch: int, step: int) -> None:
        """Take one step of the optimizer with the gradients there are, and move the average."""
        optimization = self.recipe.optimization
        if optimization.clip_grad is not None:
            self.scaler.unscale_(self.optimizer)
            # agc leaves the classifier's two tensors out, as its authors and timm do
            clipped = list(self.model.parameters())[: -2 if optimization.clip_mode == "agc" else None]
            dispatch_clip_grad(clipped, optimization.clip_grad, mode=optimization.clip_mode)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            done = epoch * self.steps_per_epoch + step + 1
            self.average.update(self.model, done if self.recipe.ema_warmup else None)


def start(recipe: Recipe, classes: int, steps_per_epoch: int, ranks: Ranks, weights: Start | None = None) -> Run:
    """Build everything from the recipe's seed.

    Args:
        recipe: how.
        classes: of the network.
        steps_per_epoch: of the optimizer.
        ranks: this process among the others.
        weights: to begin with instead of random ones.

    Raises:
        UsageError: for an optimizer timm does not know, or execution that this machine cannot carry out.
    """
    _check_execution(recipe, ranks)
    torch.manual_seed(recipe.seed)
    model = RepGhostNet(recipe.width, classes, recipe.preprocess.channels, recipe.dropout)
    if weights is not None:
        weights.load_into(model)
    for module in model.modules():
        if recipe.optimization.bn_momentum is not None and isinstance(module, nn.BatchNorm2d):
            module.momentum = recipe.optimization.bn_momentum
    model.to(ranks.device)
    if recipe.execution.channels_last:
        model.to(memory_format=torch.channels_last)
    freeze(model, recipe.execution.freeze)
    if recipe.execution.sync_bn:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    optimizer = make_optimizer(recipe, model)
    schedule, epochs = make_schedule(recipe, optimizer, steps_per_epoch)
    average = None
    if recipe.ema:
        # timm's warm-up: the decay of step t is min(ema_decay, 1 - (1 + t)^(-2/3)), so that the average covers about
        # the last t^(2/3) steps (ModelEmaV3.get_decay in timm/utils/model_ema.py). A plain mean of all steps would keep
        # the random start, and batch-norm statistics that belong to it, for thousands of steps.
        average = ModelEmaV3(model, recipe.ema_decay, use_warmup=recipe.ema_warmup)
    train_mode(model, recipe.execution.freeze)
    scaler = loss_scaler(recipe.execution.amp, ranks.device)
    forward = _forward(recipe, model, ranks)
    return Run(recipe, ranks, model, forward, average, optimizer, schedule, scaler, epochs, steps_per_epoch)


def make_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Return timm's optimizer; weights with one dimension do not decay."""
    optimization = recipe.optimization
    options = {
        key: value
        for key, value in (
            ("eps", optimization.opt_eps),
            ("betas", optimization.opt_betas),
            ("fused", True if optimization.opt in FUSED else None),
            ("layer_decay", optimization.layer_decay),
        )
        if value is not None
    }
    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            model,
            opt=optimization.opt,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            **options,
        )
    except (ValueError, TypeError, AssertionError, KeyError) as error:
        raise UsageError(
            f"timm cannot build the optimizer {optimization.opt!r} with {options or 'its own options'}: {error}. "
            "Names are listed by timm.optim.list_optimizers()."
        ) from error
    return optimizer


def make_schedule(recipe: Recipe, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> tuple[Scheduler, int]:
    """Return timm's schedule and the number of epochs it takes."""
    optimization = recipe.optimization
    warmup_steps = max(round(recipe.warmup_epochs * steps_per_epoch), 1)
    warmup_lr = optimization.warmup_lr
    schedule, epochs = create_scheduler_v2(
        optimizer,
        sched=optimization.sched,
        num_epochs=recipe.epochs,
        decay_epochs=optimization.decay_epochs,
        cooldown_epochs=optimization.cooldown_epochs,
        decay_rate=optimization.decay_rate,
        min_lr=recipe.min_learning_rate,
        warmup_lr=recipe.learning_rate / warmup_steps if warmup_lr is None else warmup_lr,
        warmup_epochs=recipe.warmup_epochs,
        noise=optimization.lr_noise,
        noise_pct=optimization.lr_noise_pct,
        noise_std=optimization.lr_noise_std,
        noise_seed=recipe.seed,
        cycle_mul=optimization.lr_cycle_mul,
        cycle_decay=optimization.decay_rate,
        cycle_limit=optimization.lr_cycle_limit,
        step_on_epochs=optimization.per_epoch,
        updates_per_epoch=steps_per_epoch,
    )
    return schedule, int(epochs)


def _forward(recipe: Recipe, model: nn.Module, ranks: Ranks) -> Callable[[torch.Tensor], torch.Tensor]:
    """Wrap the model for several processes and for the compiler."""
    wrapped: Any = Checkpointed(cast("RepGhostNet", model)) if recipe.execution.grad_checkpointing else model
    if ranks.count > 1:
        wrapped = ranks.distributed(wrapped)
    return torch.compile(wrapped) if recipe.execution.compile else wrapped


def _check_execution(recipe: Recipe, ranks: Ranks) -> None:
    """Refuse what would have no effect or cannot run here."""
    execution = recipe.execution
    if execution.sync_bn and (ranks.count == 1 or ranks.device.type != "cuda"):
        raise UsageError(f"{option('sync_bn')} needs several processes on GPUs (torchrun); leave it out here.")
    if execution.dist_bn and ranks.count == 1:
        raise UsageError(f"{option('dist_bn')} has no effect with one process; leave it out or start with torchrun.")
    if execution.freeze != "none" and recipe.optimization.bn_momentum is not None:
        raise UsageError(
            f"{option('bn_momentum')} has no effect with {option('freeze', execution.freeze)}; leave one of them out."
        )
