"""The run of a recipe: its network, optimizer and schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import nn

from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError, option
from repghost.network.model import RepGhostNet
from repghost.training.checkpointing import Checkpointed
from repghost.training.core.run import Run, Updating
from repghost.training.losses import recipe_loss
from repghost.training.options import Loss
from repghost.training.recipe import Recipe
from repghost.training.transfer import Start, freeze, train_mode

# timm's names of the optimizer that PyTorch has as one kernel: a step of 336 small tensors takes 1 ms instead of 9.
FUSED = ("sgd", "momentum")


@dataclass(eq=False, kw_only=True)
class ClassifierRun(Run[RepGhostNet]):
    """One process's parts; each step updates them in place.

    Attributes:
        recipe: how.
        schedule: timm's; `epochs` is its own number, repeated cycles and the cool-down included.
    """

    recipe: Recipe
    schedule: Scheduler

    @property
    def loss(self) -> Loss:
        """The recipe's cross-entropy."""
        return recipe_loss(self.recipe)

    def wrapped(self) -> Callable[..., Any]:
        """Return the model for several processes and for the compiler."""
        execution = self.recipe.execution
        forward = self.distributed(Checkpointed(self.model) if execution.grad_checkpointing else self.model)
        return torch.compile(forward) if execution.compile else forward

    def set_rate(self, epoch: int, step: int) -> float:
        """Set the learning rate of a step (from 0 in its epoch) and return it."""
        self.schedule.step(epoch)
        self.schedule.step_update(epoch * self.steps_per_epoch + step)
        return float(max(group["lr"] for group in self.optimizer.param_groups))  # of the last layers, with layer decay


def start(
    recipe: Recipe, classes: int, steps_per_epoch: int, ranks: Ranks, weights: Start | None = None
) -> ClassifierRun:
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
    train_mode(model, recipe.execution.freeze)
    execution, optimization = recipe.execution, recipe.optimization
    updating = Updating(
        execution.amp,
        execution.accumulate,
        optimization.clip_grad,
        optimization.clip_mode,
        recipe.ema_decay if recipe.ema else None,
        recipe.ema_warmup,
    )
    return ClassifierRun(
        model=model,
        optimizer=optimizer,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        updating=updating,
        ranks=ranks,
        recipe=recipe,
        schedule=schedule,
    )


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
