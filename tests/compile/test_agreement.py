"""The integer program against ONNX's own reference evaluation and ONNX Runtime's."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from calib.reference import run
from compile.frontend import read_qdq
from compile.passes import lower
from tests.compile.agreement import Evaluate, check_steps, onnx_reference, onnx_runtime
from tests.compile.qdq_models import SIZE, mini_net, preprocess, save
from tests.programs import random_pictures


@pytest.mark.parametrize("evaluator", [onnx_runtime, onnx_reference])
@pytest.mark.parametrize("int16", [True, False])
def test_each_layer_within_one_step(
    tmp_path: Path, int16: bool, evaluator: Callable[[onnx.ModelProto], Evaluate]
) -> None:
    model = mini_net(int16=int16)
    program = lower(read_qdq(save(model, tmp_path)))
    pictures = random_pictures(6, SIZE, SIZE, seed=2)
    # Only int16 rounding and the shorter fraction of the residual differ, near ties.
    assert check_steps(model, program, pictures, preprocess(), evaluator) <= 0.005


def test_onnx_runtime_agrees_on_the_answer(tmp_path: Path) -> None:
    model = mini_net()
    evaluate = onnx_runtime(model)
    pictures = random_pictures(32, SIZE, SIZE, seed=3)
    scores = run(lower(read_qdq(save(model, tmp_path))), pictures)
    x = preprocess().normalize(pictures)
    expected = np.concatenate([evaluate({"input": x[i : i + 1]}) for i in range(len(x))])
    assert (scores.argmax(1) == expected.argmax(1)).mean() > 0.9
    assert np.abs(scores - expected).max() < 0.05 * np.abs(expected).max()
