from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch

from repghost.distributed.ranks import Ranks
from repghost.training.build import FUSED, ClassifierRun, start
from tests.support.tensors import differing
from tests.support.training_sets import tiny_recipe

INPUTS = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def step(run: ClassifierRun, number: int) -> None:
    torch.manual_seed(number)
    loss = run.forward(INPUTS).square().sum()
    run.scaler.scale(loss).backward()
    run.set_rate(1, number)
    run.update(1, number)


@pytest.mark.slow
@pytest.mark.parametrize("amp", ["off", "float16"])
@pytest.mark.parametrize("opt", FUSED)
def test_an_optimizer_in_one_kernel_takes_the_plain_optimizers_steps(
    opt: str, amp: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(opt=opt, ema=False, amp=amp, clip_grad=1.0)
    fused = start(recipe, 3, 4, Ranks())
    monkeypatch.setattr("repghost.training.build.FUSED", ())
    expected = start(recipe, 3, 4, Ranks())
    kinds = [{group["fused"] for group in run.optimizer.param_groups} for run in (fused, expected)]
    assert kinds == [{True}, {None}]
    assert not fused.model.conv_stem.weight.is_contiguous()  # a kernel that ignored layouts would differ here
    for number in range(3):
        before = copy.deepcopy(fused.model.state_dict())
        expected.model.load_state_dict(before)
        expected.optimizer.load_state_dict(without_kernel(fused.optimizer.state_dict()))
        step(fused, number)
        step(expected, number)
        assert not torch.equal(before["conv_stem.weight"], fused.model.conv_stem.weight)
        found = fused.model.state_dict()
        for name, tensor in expected.model.state_dict().items():
            # Equal weights and gradients: the two add and multiply the same numbers, rounded up to ten times each.
            rounding = 10 * 2.0**-24 * (before[name].abs() + (tensor - before[name]).abs())
            assert ((tensor - found[name]).abs() <= rounding + 1e-12).all(), name


def without_kernel(state: dict[str, Any]) -> dict[str, Any]:
    """The state of an optimizer for one that does not run as one kernel."""
    state = copy.deepcopy(state)
    for group in state["param_groups"]:
        group["fused"] = None
    return state


def test_a_saved_optimizer_goes_on_in_the_layout_of_its_weights() -> None:
    recipe = tiny_recipe(ema=False)
    whole, cut = start(recipe, 3, 4, Ranks()), start(recipe, 3, 4, Ranks())
    for number in range(2):
        step(whole, number)
        step(cut, number)
    buffer = io.BytesIO()
    torch.save({"model": cut.model.state_dict(), "optimizer": cut.optimizer.state_dict()}, buffer)
    saved = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    again = start(recipe, 3, 4, Ranks())
    again.model.load_state_dict(copy.deepcopy(saved["model"]))
    again.optimizer.load_state_dict(saved["optimizer"])
    step(whole, 2)
    step(again, 2)
    assert differing(whole.model.state_dict(), again.model.state_dict()) == []
