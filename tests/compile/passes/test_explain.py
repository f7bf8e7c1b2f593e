"""The rows of `repghost explain`, and the command itself."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner

from compile.frontend.qdq_file import read_qdq
from compile.passes import explain, lower
from compile.passes.layers import Layer, format_table, layers
from repghost.cli import cli
from repghost.errors import UsageError
from repghost.network.spec import network_shape
from tests.support.one_layer import one_layer, softmax
from tests.support.programs import random_program
from tests.support.qdq_models import Model, mini_net, preprocess, save


def rows(path: Path, kernels: tuple[str, ...] = ()) -> tuple[Layer, ...]:
    graph = read_qdq(path)
    return layers(graph, explain(graph), kernels)


def test_rows_of_the_mini_net(tmp_path: Path) -> None:
    table = rows(save(mini_net(), tmp_path))
    by_name = {row.name: row for row in table}
    assert len(table) == 16 and not any(row.reason for row in table)
    stem = by_name["stem.node"]
    assert (stem.operator, stem.input, stem.output) == ("Conv2d", (16, 16, 3), (8, 8, 8))
    assert stem.macs == 8 * 8 * 8 * 27 and stem.weight_bytes == 8 * 27 + 8 * 4
    assert by_name["cheap.node"].arithmetic == "int16 + residual"
    assert by_name["se.gate.node"].arithmetic == "table" and by_name["se.gate.node"].weight_bytes == 256
    assert by_name["input.q.node"].weight_bytes == 3 * 256
    assert by_name["logits.node"].arithmetic == "int32, float scores"


def test_kernels_are_shown_once_known(tmp_path: Path) -> None:
    path = save(mini_net(), tmp_path)
    names = tuple(f"kernel {index}" for index in range(16))
    assert [row.kernel for row in rows(path, names)] == list(names)
    with pytest.raises(ValueError, match="zip"):
        rows(path, names[:3])


# Multiply-adds at 224 px and 1000 classes: exactly the network's published count.
@pytest.mark.parametrize(("width", "expected"), [(0.5, 43_314_720), (1.0, 142_394_128)])
def test_macs_are_those_of_the_network(width: float, expected: int) -> None:
    program = random_program(width, 224, classes=1000)
    assert sum(operator.macs for operator in program.operators) == expected
    bytes_ = sum(array.nbytes for operator in program.operators for array in operator.weights)
    assert bytes_ > network_shape(width).tail_channels * 1280


def test_refused_layers_have_shape_and_reason(tmp_path: Path) -> None:
    path = save(one_layer(softmax).build("logits", 4), tmp_path)
    (refused,) = (row for row in rows(path) if row.reason)
    assert (refused.operator, refused.input, refused.output) == ("Softmax", (8, 8, 8), (8, 8, 8))
    assert refused.arithmetic == "float" and "no integer rule for Softmax" in refused.reason
    text = format_table(rows(path))
    assert "1 in float" in text and "    there is no integer rule for Softmax" in text


def test_zeros_between_groups_are_counted_and_said(tmp_path: Path) -> None:
    def grouped(m: Model, x: str) -> str:
        return m.quantize(m.conv("grouped", x, 8, 8, kernel=3, groups=2), 0.03, 0)

    table = rows(save(one_layer(grouped).build("logits", 4), tmp_path))
    (row,) = (row for row in table if row.note)
    assert row.name == "grouped.node" and row.macs == 8 * 8 * 9 * 64 and "2 times the multiply-adds" in row.note
    assert f"    {row.note}\n" in format_table(table)


def test_table_is_aligned(tmp_path: Path) -> None:
    lines = format_table(rows(save(mini_net(), tmp_path))).splitlines()
    assert len(lines) == 18
    column = lines[0].index("arithmetic")
    assert all(line[column - 1] == " " and line[column] != " " for line in lines)
    assert "all integer" in lines[-1]


@pytest.mark.parametrize("operator", ["Identity", "Relu"])
def test_a_node_between_q_and_dq_that_a_pass_drops_is_not_taken_for_the_network(operator: str, tmp_path: Path) -> None:
    def between(m: Model, x: str) -> str:
        source = next(node for node in m.nodes if node.output[0] == x)
        source.input[0] = m.node(operator, [source.input[0]], "between")
        m.nodes.append(m.nodes.pop(m.nodes.index(source)))
        return x

    with pytest.raises(UsageError, match=r"first\.q\.node .*a node between it and its DequantizeLinear"):
        lower(read_qdq(save(one_layer(between).build("logits", 4), tmp_path)))


def test_command(tmp_path: Path) -> None:
    path = save(mini_net(), tmp_path)
    result = CliRunner().invoke(cli, ["explain", str(path)])
    assert result.exit_code == 0, result.output
    assert "depthwise.node" in result.output and "Every layer is an integer operator" in result.output


def test_a_foreign_file_is_explained_with_the_preprocessing_that_is_given(tmp_path: Path) -> None:
    path, rule = save(mini_net(), tmp_path), tmp_path / "preprocess.json"
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    refused = CliRunner().invoke(cli, ["explain", str(path)])
    assert refused.exit_code == 2 and '--preprocess FILE with JSON like {"version": 1, "size": 16' in refused.output
    rule.write_text(refused.output[refused.output.index("{") : refused.output.rindex("}") + 1])
    result = CliRunner().invoke(cli, ["explain", str(path), "--preprocess", str(rule)])
    assert result.exit_code == 0, result.output
    assert f"--weights {path} --data DIR --preprocess {rule}" in result.output


def test_a_file_that_says_how_images_are_prepared_takes_no_other_way(tmp_path: Path) -> None:
    path, rule = save(mini_net(), tmp_path), tmp_path / "preprocess.json"
    rule.write_text(json.dumps(preprocess().to_dict()))
    assert CliRunner().invoke(cli, ["explain", str(path), "--preprocess", str(rule)]).exit_code == 0
    rule.write_text(json.dumps(replace(preprocess(), mean=(0.5, 0.5, 0.5)).to_dict()))
    result = CliRunner().invoke(cli, ["explain", str(path), "--preprocess", str(rule)])
    assert result.exit_code == 2 and "says otherwise" in result.output


def test_command_with_json(tmp_path: Path) -> None:
    path = save(one_layer(softmax).build("logits", 4), tmp_path)
    result = CliRunner().invoke(cli, ["explain", "--json", str(path)])
    document = json.loads(result.stdout)
    assert result.exit_code == 2 and "1 of 5 layers cannot be computed in integers" in result.stderr
    assert document["file"] == str(path) and len(document["program_digest"]) == 64
    assert [layer["operator"] for layer in document["layers"] if layer["reason"]] == ["Softmax"]


@pytest.mark.parametrize("layer", [softmax, None])
def test_explain_and_compile_agree(tmp_path: Path, layer: Callable[[Model, str], str] | None) -> None:
    path = save(one_layer(*([layer] if layer else [])).build("logits", 4), tmp_path)
    result = CliRunner().invoke(cli, ["explain", str(path)])
    try:
        lower(read_qdq(path))
    except UsageError as error:
        assert result.exit_code == error.exit_code and "no integer rule for Softmax" in result.stdout
    else:
        assert result.exit_code == 0 and layer is None


def test_command_names_a_missing_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["explain", str(tmp_path / "absent.onnx")])
    assert result.exit_code == 2 and "no such file" in result.output
