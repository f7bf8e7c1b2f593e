"""A network with channel shuffles, as exporters write them."""

from pathlib import Path

import numpy as np
import pytest

from calib.integer import program as ir
from calib.integer.reference import run
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from tests.support.agreement import check_steps
from tests.support.programs import random_images
from tests.support.qdq_models import Model, preprocess, save


@pytest.mark.parametrize("groups", [2, 3])
def test_a_shuffled_network_agrees_with_onnx_runtime(tmp_path: Path, groups: int) -> None:
    m = Model()
    x = m.quantize("input", 4.8 / 255, -15)
    x = m.quantize(m.conv("stem", x, 3, 12, kernel=3, stride=2), 8 / 255, 4)
    parts = m.constant("parts", [1, groups, 12 // groups, 8, 8], np.int64)
    x = m.quantize(m.node("Reshape", [x, parts], "apart"), 8 / 255, 4)
    x = m.quantize(m.node("Transpose", [x], "turned", perm=[0, 2, 1, 3, 4]), 8 / 255, 4)
    x = m.node("Reshape", [x, m.constant("whole", [1, 12, 8, 8], np.int64)], "shuffled")
    x = m.quantize(x, 8 / 255, 4)
    x = m.quantize(m.node("Relu", [m.conv("depthwise", x, 12, 12, kernel=3, groups=12)], "relu"), 9 / 255, -128)
    x = m.quantize(m.node("GlobalAveragePool", [x], "pool"), 4 / 255, -128)
    model = m.build(m.linear("logits", m.node("Flatten", [x], "flat"), 12, 7), 7)
    program, images = lower(read_qdq(save(model, tmp_path))), random_images(3, 16, 16, seed=1)
    assert [type(operator) for operator in program.operators][:4] == [
        ir.InputTable, ir.Conv2d, ir.ShuffleChannels, ir.DepthwiseConv2d,
    ]  # fmt: skip
    check_steps(model, program, images, preprocess(16))
    assert np.ptp(run(program, images), axis=0).max() > 0.01
