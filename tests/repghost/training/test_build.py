from __future__ import annotations

import copy
import io

import pytest
import torch

from repghost.distributed.ranks import Ranks
from repghost.training.build import FUSED, Run, start
from tests.support.training_sets import tiny_recipe

INPUTS = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def step(run: Run, number: int) -> None:
    torch.manual_seed(number)
    loss = run.forward(INPUTS).square().sum()
    run.scaler.scale(loss).backward()
    run.set_rate(1, number)
    run.update(1, number)


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
    before = fused.model.conv_stem.weight.clone()
    for number in range(3):
        step(fused, number)
        step(expected, number)
    assert not torch.equal(before, fused.model.conv_stem.weight)
    for name, tensor in expected.model.state_dict().items():
        assert torch.allclose(tensor, fused.model.state_dict()[name], rtol=1e-3, atol=1e-4), name


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
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
