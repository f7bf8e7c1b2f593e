from __future__ import annotations

import torch

from repghost.distributed.ranks import Ranks
from repghost.training.build import ClassifierRun, start
from tests.support.tensors import differing
from tests.support.training_sets import tiny_recipe

INPUTS = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def trained(**changes: object) -> ClassifierRun:
    """One step, with dropout, and the maps that it keeps for the backward pass."""
    run = start(tiny_recipe(**changes), 3, 4, Ranks())
    torch.manual_seed(0)
    run.forward(INPUTS).square().sum().backward()
    run.set_rate(1, 0)
    run.update(1, 0)
    return run


def test_gradient_checkpointing_changes_no_bit_and_keeps_less() -> None:
    kept = []

    def kept_by(**changes: object) -> ClassifierRun:
        kept.append(0)

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            kept[-1] += tensor.numel() if tensor.ndim == 4 and len(tensor) == len(INPUTS) else 0
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            return trained(**changes)

    plain, checkpointed = kept_by(), kept_by(grad_checkpointing=True)
    for name in ("raw", "averaged"):
        found, expected = (dict(run.networks)[name].state_dict() for run in (checkpointed, plain))
        assert list(found) == list(expected)
        assert not differing(found, expected)
    assert kept[1] < 0.4 * kept[0]
