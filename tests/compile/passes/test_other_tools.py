"""Files as other tools wrote them; they lie beside the repository, and the tests are skipped without."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from calib.importer.qoperator import to_qdq
from calib.integer.reference import run
from compile.frontend.qdq_file import read_qdq_as_given
from compile.passes import lower
from repghost.cli import cli
from tests.support import SHARED
from tests.support.agreement import check_steps, onnx_runtime
from tests.support.programs import random_images

FILES = SHARED / "faults/onnx"
PREPROCESS = {32: FILES / "preprocess-32.json", 64: FILES / "preprocess-64.json"}  # by the size of the input
COMPILED = [
    "mul_scalar.qdq", "mul_channels.qdq", "add_channels.qdq", "add_scalar.qdq", "matmul_add_symmetric",
    "crash_scalar_mul", "m_scalar_mul2", "dedicated_pairs", "r_dedicated_qdq", "dynamic_batch",
    "dynamic_batch_after_advice", "dead_channel", "m_silu", "m_hswish_pre", "m_asym_pad", "m_chunk",
    "m_pad_before_pool", "r_pt2e_xnnpack", "m_hswish_gap_dyn", "m_norm_inside", "r_nncf_perf", "m_avgpool2",
    "m_sub_relu", "m_bn_first", "m_grouped", "m_dilated",
    "m_prelu_c", "m_upsample_nearest", "r_qoperator", "plain.qdq",
]  # fmt: skip
REFUSED = {
    "add_map.qdq": "the constant 'k' of shape [1, 8, 16, 16]",
}
pytestmark = pytest.mark.skipif(not FILES.is_dir(), reason=f"{FILES} is not there")


def preprocess_of(path: Path) -> Path:
    return PREPROCESS[onnx.load(path).graph.input[0].type.tensor_type.shape.dim[3].dim_value]


@pytest.mark.parametrize("name", COMPILED)
def test_file_compiles_and_agrees_with_onnx_runtime(name: str) -> None:
    path = FILES / f"{name}.onnx"
    graph = read_qdq_as_given(path, preprocess_of(path))
    program, model = lower(graph), onnx.load(path)
    images = random_images(4, program.height, program.width, seed=1)
    check_steps(to_qdq(model), program, images, graph.preprocess)
    x, evaluate = graph.preprocess.normalize(images), onnx_runtime(model)
    expected = [int(evaluate({graph.input: x[index : index + 1]})[0].argmax()) for index in range(len(x))]
    np.testing.assert_array_equal(run(program, images).argmax(1), expected)


@pytest.mark.parametrize("name", REFUSED)
def test_file_is_refused_by_name(name: str) -> None:
    path = FILES / f"{name}.onnx"
    result = CliRunner().invoke(cli, ["explain", str(path), "--preprocess", str(preprocess_of(path))])
    assert result.exit_code == 2 and REFUSED[name] in result.output
