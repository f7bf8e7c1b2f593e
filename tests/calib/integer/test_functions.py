"""Tables of functions of int8 tensors."""

from __future__ import annotations

import numpy as np
import pytest

from calib.integer.functions import FUNCTIONS, table_of
from calib.integer.qparams import QParams
from repghost.errors import UsageError
from repghost.graph.formulas import FORMULAS, HARD_SIGMOID
from repghost.graph.functions import STEPS
from repghost.graph.operators import Step


def test_hard_sigmoid_table_is_monotonic_and_saturates() -> None:
    x, y = QParams(6.0 / 255, 0), QParams(1 / 255, -128)
    table = table_of(HARD_SIGMOID, x, y)
    assert table.dtype == np.int8 and table.shape == (256,)
    assert np.all(np.diff(table.astype(int)) >= 0)
    assert table[128] in (-1, 0)  # 127.5 of 255 steps
    wide = table_of(HARD_SIGMOID, QParams(0.1, 0), y)
    assert wide[0] == -128 and wide[-1] == 127


def test_both_tables_of_functions_have_every_operator_of_a_formula() -> None:
    assert STEPS.keys() <= FUNCTIONS.keys()


@pytest.mark.parametrize("name", FORMULAS)
def test_a_table_is_within_a_step_of_the_function_on_whole_tensors(name: str) -> None:
    import torch

    from repghost.graph.functions import evaluate

    x, y = QParams(16 / 255, 10), QParams(9 / 255, -120)
    real = (np.arange(-128, 128) - x.zero_point) * np.float32(x.scale)
    exact = evaluate(FORMULAS[name], torch.from_numpy(real.astype(np.float32))).numpy()
    expected = np.clip(np.rint(exact / y.scale) + y.zero_point, -128, 127)
    assert np.abs(table_of(FORMULAS[name], x, y) - expected).max() <= 1  # ties that float32 rounds either way


def test_a_function_without_a_value_is_refused_with_where() -> None:
    with pytest.raises(UsageError, match=r"Log.*-"):
        table_of((Step("Log", (0,)),), QParams(0.1, 0), QParams(0.1, 0))
