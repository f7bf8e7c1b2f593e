from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calib.integer.qparams import dequantize, quantize
from calib.settings.policy import POLICIES, find_policy, qparams_of_range, quantized_tensors
from repghost.errors import UsageError
from repghost.graph.operators import Add, Convolution, Graph

finite = st.floats(-1e6, 1e6, width=32)


@given(finite, finite, st.booleans())
def test_a_range_is_covered_and_zero_is_exact(a: float, b: float, symmetric: bool) -> None:
    low, high = min(a, b), max(a, b)
    qparams = qparams_of_range(low, high, symmetric)
    if qparams is None:
        assert max(-low, high) < 1e-35
        return
    ends = np.asarray([min(low, 0.0), max(high, 0.0), 0.0], np.float32)
    back = dequantize(quantize(ends, qparams), qparams)
    assert back[2] == 0.0
    np.testing.assert_allclose(back[:2], ends[:2], atol=0.51 * qparams.scale * (1 + 1e-5))
    if symmetric:
        assert qparams.zero_point == 0


def test_behind_a_relu_every_step_is_used() -> None:
    qparams = qparams_of_range(0.0, 5.1, symmetric=False)
    assert qparams is not None and qparams.zero_point == -128
    assert qparams.scale == pytest.approx(5.1 / 255)


@pytest.mark.parametrize("high", [0.0, 1e-45, 1e-38, float("inf")])
def test_a_range_without_a_normal_scale_has_no_qparams(high: float) -> None:
    assert qparams_of_range(0.0, high, symmetric=False) is None


def test_all_tensors_but_logits_and_inside_an_add_are_quantized(graph: Graph) -> None:
    quantized = set(quantized_tensors(graph))
    adds = [op for op in graph.operators if isinstance(op, Add)]
    assert len(adds) == 16
    left = set(graph.names()) - quantized
    assert left == {"classifier", *(add.input for add in adds)}
    assert all(add.input.endswith("ghost2.cheap") for add in adds)


def test_what_another_operator_reads_too_is_quantized() -> None:
    ones = np.ones((1, 1, 1, 1), np.float32)
    conv = Convolution("conv", "input", ones, np.zeros(1, np.float32))
    once = Graph((conv, Add("add", "conv", "input")), 1)
    twice = Graph((*once.operators, Add("again", "conv", "add")), 1)
    assert once.fused_adds.keys() == {"conv"}
    assert not twice.fused_adds
    assert "conv" in quantized_tensors(twice) and "conv" not in quantized_tensors(once)


def test_the_policies_are_those_of_the_design() -> None:
    assert list(POLICIES) == ["cpu", "tensorrt"]
    assert not POLICIES["cpu"].symmetric and POLICIES["tensorrt"].symmetric
    with pytest.raises(UsageError, match="Did you mean 'cpu'"):
        find_policy("cpus")
