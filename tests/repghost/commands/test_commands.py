from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from repghost import cli
from repghost.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from repghost.data.images.preprocess import Preprocess
from tests.support.networks import network


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model with spaces é.safetensors"
    write_checkpoint(path, network(), Preprocess(size=64, resize=64).to_dict(), list("abcdefg"), {"epoch": 3})
    return path


# fuse.


CONVERSIONS = [("fuse", [], "deploy", 384), ("convert", [], "deploy", 384), ("fuse", ["--full"], "fused", 192)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "form", "tensors"), CONVERSIONS)
def test_fuse(name: str, options: list[str], form: str, tensors: int, weights: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.safetensors"
    result = run(name, weights, output, *options)
    assert result.exit_code == 0, result.stderr
    assert f"({tensors} tensors, {form} form" in result.output
    assert "4 of 4 random pictures" in result.output
    original, converted = read_checkpoint(weights), read_checkpoint(output)
    assert converted.spec.form == form and len(converted.state_dict) == tensors
    assert (converted.preprocess, converted.labels) == (original.preprocess, original.labels)
    assert converted.metadata == {"epoch": 3, "converted_from": original.digest}
    assert run("fuse", "--check", weights, output).exit_code == 0


@pytest.mark.parametrize("options", [[], ["--full"]])
@torch.no_grad()
def test_a_tampered_conversion_is_found(
    options: list[str], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from repghost.api.networks import conversion

    def tampered(original):
        converted = convert(original)
        converted.conv_head.bias[0] += 1.0
        return converted

    name = "fuse_fully" if options else "repghost_model_convert"
    convert = getattr(conversion, name)
    monkeypatch.setattr(conversion, name, tampered)
    result = run("fuse", weights, tmp_path / "out.safetensors", *options)
    assert result.exit_code == 6
    assert "does not compute the same" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@torch.no_grad()
def test_a_tampered_file_is_found(weights: Path, tmp_path: Path) -> None:
    from repghost.checkpoints.checkpoint import load_model

    output = tmp_path / "out.safetensors"
    run("fuse", weights, output)
    changed = load_model(output)
    changed.blocks[4][0].ghost1.cheap_operation.weight[0, 0, 1, 1] += 0.5
    write_checkpoint(output, changed)
    result = run("fuse", "--check", weights, output)
    assert result.exit_code == 6
    other = tmp_path / "other.safetensors"
    write_checkpoint(other, network(num_classes=8))
    result = run("fuse", "--check", weights, other)
    assert result.exit_code == 2 and "other channels or classes" in result.stderr


def test_fuse_never_invents_weights(tmp_path: Path) -> None:
    result = run("fuse", tmp_path / "absent.pth", tmp_path / "out.safetensors")
    assert result.exit_code == 2
    assert "there is no checkpoint" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("out.pth", [], ".safetensors, not '.pth'"),
        ("out.safetensors", ["--width", "1.0"], "width 0.5, not 1"),
        ("out.safetensors", ["--width", "resnet"], "unknown width 'resnet'"),
        ("out.safetensors", ["--branches", "bm"], "Did you mean 'bn'?"),
    ],
)
def test_fuse_refuses(output: str, options: list[str], message: str, weights: Path, tmp_path: Path) -> None:
    result = run("fuse", weights, tmp_path / output, *options)
    assert result.exit_code == 2 and message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_fuse_keeps_the_original(weights: Path, tmp_path: Path) -> None:
    link = tmp_path / "same.safetensors"
    link.symlink_to(weights)
    before = weights.read_bytes()
    result = run("fuse", weights, link)
    assert result.exit_code == 2 and "is the checkpoint itself" in result.stderr
    assert weights.read_bytes() == before


def test_fused_does_not_become_deploy(weights: Path, tmp_path: Path) -> None:
    fused = tmp_path / "fused.safetensors"
    assert run("fuse", weights, fused, "--full").exit_code == 0
    result = run("fuse", fused, tmp_path / "again.safetensors")
    assert result.exit_code == 2 and "Use --full" in result.stderr


# flops.


@pytest.mark.slow
def test_flops_prints_all_widths() -> None:
    result = run("flops")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[1].split()[:7] == [
        "repghostnet_0_5x",
        "43314720",
        "43317244",
        "44165532",
        "2313968",
        "2306528",
        "2302956",
    ]
    assert len([line for line in lines if line.startswith("repghostnet_")]) == 8


@pytest.mark.slow
def test_flops_counts_networks_of_libraries() -> None:
    lines = run("flops", "0.5", "timm:mobilenetv3_small_050", "--size", "64").output.splitlines()
    assert lines[1].startswith("repghostnet_0_5x") and lines[2].startswith("mobilenetv3_small_050")


def test_flops_as_json(weights: Path) -> None:
    (row,) = json.loads(run("flops", "--json", "--layers", "--size", "64", "--checkpoint", weights).output)
    assert (row["width"], row["num_classes"], row["size"]) == (0.5, 7, 64)
    assert sum(layer["macs"] for layer in row["layers"]) == row["macs"]
    (custom,) = json.loads(run("flops", "--json", "0.75").output)
    assert custom["model"] == "repghostnet_0_75x" and "published" not in custom


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["0.5", "--checkpoint", "x"], "not both"), (["resnet"], "unknown width"), (["--size", "0"], "not in the range")],
)
def test_flops_refuses(arguments: list[str], message: str) -> None:
    result = run("flops", *arguments)
    assert result.exit_code == 2 and message in result.stderr


# export.


@pytest.mark.parametrize(("options", "size"), [([], 64), (["--size", "96", "--batch", "batch"], 96)])
def test_export(options: list[str], size: int, weights: Path, tmp_path: Path) -> None:
    import onnx

    output = tmp_path / "net.onnx"
    result = run("export", weights, output, *options)
    assert result.exit_code == 0, result.stderr
    assert f"input 3 x {size} x {size}" in result.output
    proto = onnx.load(output)
    texts = {entry.key: entry.value for entry in proto.metadata_props}
    assert texts["repghost.checkpoint"] == read_checkpoint(weights).digest
    assert proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value == size


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("net.pb", [], ".onnx or .mnn, not '.pb'"),
        ("net.onnx", ["--format", "mnn"], ".mnn, not '.onnx'"),
        ("net.mnn", ["--batch", "2"], "batch 1, not 2"),
        ("net.onnx", ["--batch", "-1"], "65536 or a name, not '-1'"),
        ("net.onnx", ["--batch", "0"], "65536 or a name, not '0'"),
        ("net.onnx", ["--size", "99999"], "from 1 to 4096"),
    ],
)
def test_export_refuses(output: str, options: list[str], message: str, weights: Path, tmp_path: Path) -> None:
    result = run("export", weights, tmp_path / output, *options)
    assert result.exit_code == 2 and message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("export", weights, tmp_path / "file" / "net.onnx")
    assert result.exit_code == 1 and "error: " in result.stderr and "file" in result.stderr
