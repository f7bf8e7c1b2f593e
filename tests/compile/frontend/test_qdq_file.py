from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from calib.importer import onnx_file
from calib.integer.program import Program
from calib.qdq.digest import program_digest
from compile.frontend import qdq_file as frontend
from compile.frontend.qdq_file import read_qdq
from compile.ir.qdq_graph import DEQUANTIZE, QUANTIZE
from compile.passes import lower
from repghost.errors import IntegrityError, RepGhostError, UsageError
from tests.support.bad_files import BAD_FILES, Edit, external, initializer, metadata, node, opset, replaced
from tests.support.qdq_models import Model, mini_net, preprocess, save


@pytest.mark.parametrize(("edit", "words"), [row[1:] for row in BAD_FILES], ids=[row[0] for row in BAD_FILES])
def test_bad_file_is_named(tmp_path: Path, edit: Edit, words: str) -> None:
    model = mini_net()
    edit(model)
    with pytest.raises(UsageError, match=words) as caught:
        read_qdq(save(model, tmp_path))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello, this is text\n" * 9, b"\x08\x08", bytes(1000), b"\x1f\x8bzip"])
def test_foreign_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        read_qdq(path)


def test_random_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "net.onnx"
    for _ in range(50):
        path.write_bytes(rng.bytes(int(rng.integers(1, 4000))))
        with pytest.raises(UsageError):
            read_qdq(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file.*repghost quantize"):
        read_qdq(tmp_path / "absent.onnx")
    with pytest.raises(UsageError, match="regular file"):
        read_qdq(tmp_path)


def test_too_large_a_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_FILE_BYTES", 1000)
    with pytest.raises(UsageError, match="at most 1000 are allowed"):
        read_qdq(save(mini_net(), tmp_path))


def test_too_many_nodes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_NODES", 20)
    with pytest.raises(UsageError, match="nodes; up to 20 are allowed"):
        read_qdq(save(mini_net(), tmp_path))


def test_external_data_is_not_opened(tmp_path: Path) -> None:
    """Links out of the folder are as useless as plain paths: nothing beside the file is ever read."""
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(8 * 27))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "symbolic.bin").symlink_to(secret)
    (folder / "hard.bin").hardlink_to(secret)
    for location in ("symbolic.bin", "hard.bin", "../secret.bin", str(secret)):
        model = mini_net()
        external(location)(model)
        with pytest.raises(UsageError, match="never read"):
            read_qdq(save(model, folder))


def test_float_network_is_told_how_to_quantize(tmp_path: Path) -> None:
    m = Model()
    m.constant("weight", m.rng.normal(0, 1, (7, 3, 16, 16)))
    m.node("Conv", ["input", "weight"], "map")
    m.node("Flatten", ["map"], "logits")
    with pytest.raises(UsageError, match=r"not quantized.*repghost quantize"):
        read_qdq(save(m.build("logits", 7), tmp_path))


def test_truncated_anywhere(tmp_path: Path) -> None:
    whole = mini_net().SerializeToString()
    path = tmp_path / "net.qdq.onnx"
    for percent in range(100):
        path.write_bytes(whole[: len(whole) * percent // 100])
        with pytest.raises(UsageError):
            read_qdq(path)


def digested(model: onnx.ModelProto) -> onnx.ModelProto:
    metadata("repghost.program_digest", program_digest(model, preprocess().to_dict()))(model)
    return model


def test_changed_file_does_not_match_its_digest(tmp_path: Path) -> None:
    model = digested(mini_net())
    assert read_qdq(save(model, tmp_path)).digest == program_digest(model, preprocess().to_dict())
    tensor = initializer(model, "stem.weight")
    tensor.raw_data = bytes([tensor.raw_data[0] ^ 1]) + tensor.raw_data[1:]
    with pytest.raises(IntegrityError, match="changed after"):
        read_qdq(save(model, tmp_path))


def same(a: Program, b: Program) -> bool:
    """Return whether two programs compute the same; names may differ."""
    if len(a.operators) != len(b.operators) or a.digest != b.digest:
        return False
    return all(
        type(one) is type(two) and np.array_equal(getattr(one, "weight", 0), getattr(two, "weight", 0))
        for one, two in zip(a.operators, b.operators, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("has_digest", [True, False])
def test_flipped_bits_give_an_error_or_a_program(tmp_path: Path, has_digest: bool) -> None:
    """With a digest the program must be the same one; without, any program or a named error will do."""
    model = digested(mini_net()) if has_digest else mini_net()
    whole = model.SerializeToString()
    expected = lower(read_qdq(save(model, tmp_path)))
    path = tmp_path / "flipped.onnx"
    rng = np.random.default_rng(1)
    refused = 0
    for position in rng.integers(0, 8 * len(whole), 250):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << (position % 8)
        path.write_bytes(flipped)
        try:
            program = lower(read_qdq(path))
        except RepGhostError:
            refused += 1
        else:
            assert not has_digest or same(program, expected)
    assert refused > 25


def test_good_file(tmp_path: Path) -> None:
    graph = read_qdq(save(mini_net(), tmp_path))
    assert (graph.input, graph.output) == ("input", "logits")
    assert graph.shapes["stem.relu.q"] == (1, 8, 8, 8)
    assert graph.preprocess == preprocess()
    assert not graph.constants["stem.weight"].flags.writeable
    assert {QUANTIZE, DEQUANTIZE, "Conv", "Gemm", "HardSigmoid"} <= {node.operator for node in graph.nodes}


def test_preprocess_can_be_given(tmp_path: Path) -> None:
    model = mini_net()
    metadata("repghost.preprocess", None)(model)
    assert read_qdq(save(model, tmp_path), preprocess()).preprocess == preprocess()


def test_text_attributes_are_read(tmp_path: Path) -> None:
    model = mini_net()
    node(model, "pointwise.node").attribute.append(helper.make_attribute("auto_pad", "VALID"))
    del node(model, "pointwise.node").attribute[2]  # pads
    graph = read_qdq(save(model, tmp_path))
    assert graph.producers["pointwise"].attributes["auto_pad"] == "VALID"
    assert len(lower(graph).operators) == 16


def test_weights_may_be_quantized_in_the_graph(tmp_path: Path) -> None:
    """As TensorRT's tools write them: float32 weight, Q, DQ."""
    model = mini_net()
    expected = lower(read_qdq(save(model, tmp_path)))
    weight = numpy_helper.to_array(initializer(model, "stem.weight")).astype(np.float32)
    scale = numpy_helper.to_array(initializer(model, "stem.weight.scale"))
    replaced("stem.weight", weight * scale.reshape(-1, 1, 1, 1), np.float32)(model)
    parameters = ["stem.weight.scale", "stem.weight.zero_point"]
    quantize = helper.make_node("QuantizeLinear", ["stem.weight", *parameters], ["stem.int8"], name="w.q", axis=0)
    model.graph.node.insert(0, quantize)
    node(model, "stem.weight.dq.node").input[0] = "stem.int8"
    program = lower(read_qdq(save(model, tmp_path)))
    np.testing.assert_array_equal(program.operators[1].weight, expected.operators[1].weight)


def test_constant_nodes_count_as_constants(tmp_path: Path) -> None:
    model = mini_net()
    tensor = initializer(model, "stem.bias")
    model.graph.initializer.remove(tensor)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["stem.bias"], value=tensor))
    graph = read_qdq(save(model, tmp_path))
    assert graph.constants["stem.bias"].shape == (8,)
    assert all(node.operator != "Constant" for node in graph.nodes)


@pytest.mark.parametrize("version", range(onnx_file.MIN_OPSET, onnx_file.MAX_OPSET + 1))
def test_every_allowed_opset(tmp_path: Path, version: int) -> None:
    model = mini_net()
    opset(version)(model)
    model.ir_version = 10
    assert len(lower(read_qdq(save(model, tmp_path))).operators) == 16


def test_frontend_loads_neither_torch_nor_tvm() -> None:
    assert frontend.read_qdq is read_qdq  # the import below runs in a fresh interpreter
    import subprocess
    import sys

    modules = "compile.passes, compile.frontend.qdq_file, calib.integer.reference"
    code = f"import sys, {modules}; print({{'torch', 'tvm'}} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
