"""What training minimizes: the recipe's cross-entropy, and the share of a teacher in it.

Knowledge distillation: a network learns from the predictions of another one, its teacher, on the same images.

With logits z of the student and z_t of the teacher, and p = softmax(z / T), p_t = softmax(z_t / T):
    soft:  (1 - alpha) * loss(z, labels) + alpha * T**2 * KL(p_t || p)          Hinton et al., arXiv 1503.02531
    hard:  (1 - alpha) * loss(z, labels) + alpha * CE(z, argmax(z_t))           Touvron et al. (DeiT), arXiv 2012.12877
They are equations 2 and 3 of DeiT, without its token for the teacher. T**2 keeps the gradients of the soft term at one
size whatever the temperature is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.loss import BinaryCrossEntropy, SoftTargetCrossEntropy
from torch import nn
from torch.nn import functional as F

from repghost.training.options import Loss
from repghost.training.recipe import Recipe
from repghost.training.recipe_parts import HARD, SOFT

Teacher = Callable[[torch.Tensor], torch.Tensor]


def recipe_loss(recipe: Recipe) -> Loss:
    """Return the recipe's cross-entropy; mixed targets carry the smoothing themselves."""
    mixes = recipe.augmentation is not None and recipe.augmentation.mixes
    criterion: nn.Module
    if recipe.optimization.bce_loss:
        smoothing = 0.0 if mixes else recipe.label_smoothing
        criterion = BinaryCrossEntropy(smoothing, recipe.optimization.bce_target_thresh)
    elif mixes:
        criterion = SoftTargetCrossEntropy()
    else:
        criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    return lambda inputs, logits, targets: criterion(logits, targets)


def as_teacher(module: nn.Module, device: torch.device) -> nn.Module:
    """Return a network as a teacher: in evaluation mode, without gradients, on a device, in channels-last memory.

    Args:
        module: changed in place.
        device: where the student learns.
    """
    return module.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def distilled(loss: Loss, teacher: Teacher | None, alpha: float, temperature: float, kind: str = SOFT) -> Loss:
    """Return a loss that also compares with a teacher on the same inputs.

    Args:
        loss: of the student with its labels.
        teacher: maps the student's inputs to logits [N, classes]; None leaves the loss as it is.
        alpha: share of the comparison, in [0, 1].
        temperature: T, by which both logits are divided ("soft").
        kind: "soft" or "hard".
    """
    if teacher is None or alpha == 0:
        return loss
    factor = alpha * temperature**2 if kind == SOFT else alpha

    def both(inputs: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = teacher(inputs)
        total = factor * distance(logits, wanted, temperature, kind)
        return total if alpha == 1 else total + (1.0 - alpha) * loss(inputs, logits, targets)

    return both


def distance(
    logits: torch.Tensor, wanted: torch.Tensor, temperature: float, kind: str = SOFT, each: bool = False
) -> torch.Tensor:
    """Return how far predictions are from a teacher's: KL(p_t || p) for "soft", cross-entropy for "hard".

    Args:
        logits: [N, classes], of the student.
        wanted: [N, classes], of the teacher.
        temperature: T, by which both are divided ("soft").
        kind: "soft" or "hard".
        each: of each image, [N]; otherwise their mean.
    """
    if kind == HARD:
        return F.cross_entropy(_full(logits), wanted.argmax(1), reduction="none" if each else "mean")
    given, aim = (F.log_softmax(_full(values) / temperature, 1) for values in (logits, wanted))
    if each:
        return F.kl_div(given, aim, reduction="none", log_target=True).sum(1)
    return F.kl_div(given, aim, reduction="batchmean", log_target=True)


def _full(logits: torch.Tensor) -> torch.Tensor:
    """Return what autocast left in half precision as float32."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
