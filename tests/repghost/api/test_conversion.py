from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

import repghost
from repghost.api.networks.opened import preprocess_of
from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.errors import UsageError
from tests.support.networks import network
from tests.support.small_classifier import CLASSES, PREPROCESS, small_classifier


def inputs(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(3))


@pytest.mark.slow
@torch.no_grad()
def test_fuse_is_a_function_and_leaves_the_network() -> None:
    import repghost.commands.network.fuse  # a module of that name must not take its place

    net = network()
    fused, fully = repghost.fuse(net), repghost.fuse(net, full=True)
    assert torch.allclose(fused(inputs()), net(inputs()), atol=1e-3)
    norms = [sum(isinstance(part, torch.nn.BatchNorm2d) for part in it.modules()) for it in (net, fused, fully)]
    assert norms[0] > norms[1] == 48 > norms[2] == 0


@torch.no_grad()
def test_any_other_network_is_folded_too() -> None:
    net = small_classifier()
    fused = repghost.fuse(net)
    assert torch.allclose(fused(inputs()), net(inputs()), atol=1e-4)
    assert preprocess_of(fused) == PREPROCESS and fused.__dict__["labels"] == CLASSES


@pytest.mark.slow
def test_a_fused_checkpoint_is_written_with_what_belongs_to_it(tmp_path: Path) -> None:
    source, output = tmp_path / "net.safetensors", tmp_path / "fused.safetensors"
    write_checkpoint(source, network(), PREPROCESS.to_dict(), tuple("abcdefg"))
    model = repghost.fuse(source, output, full=True)
    read = repghost.read_checkpoint(output)
    assert read.labels == tuple("abcdefg") and read.spec.form == "fused" and preprocess_of(model) == PREPROCESS
    with pytest.raises(UsageError, match="is the checkpoint itself"):
        repghost.fuse(output, output, full=True)
    with pytest.raises(UsageError, match="fully fused already"):
        repghost.fuse(output)
    with pytest.raises(UsageError, match=r"must end in \.safetensors"):
        repghost.fuse(source, tmp_path / "net.onnx")
    with pytest.raises(UsageError, match=r"repghost\.export"):
        repghost.fuse(small_classifier(), output)


def test_export_writes_a_file_that_computes_the_same(tmp_path: Path) -> None:
    found = repghost.export(small_classifier(), tmp_path / "net.onnx", batch="n")
    assert found.shape == (3, 16, 16) and found.size_bytes == found.path.stat().st_size and found.difference < 1e-3
    file = onnx.load(found.path)
    assert file.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    assert repghost.quantize(found.path, [inputs(1).clamp(-1.9, 1.9)], preprocess=PREPROCESS).labels == CLASSES
    assert found.to_dict()["path"] == str(found.path)


@pytest.mark.parametrize(
    ("output", "options", "said"),
    [
        ("net.pb", {}, "has to end in .onnx or .mnn"),
        ("net.onnx", {"format": "mnn"}, "has to end in .mnn"),
        ("net.onnx", {"format": "pb"}, "unknown format"),
        ("net.onnx", {"batch": 0}, "takes a number from 1"),
        ("net.onnx", {"batch": "a b"}, "takes a number from 1"),
        ("net.mnn", {"batch": "n"}, "for batch 1"),
        ("net.onnx", {"width": "0.5"}, "belongs to RepGhostNet"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path: Path, output: str, options: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        repghost.export(small_classifier(), tmp_path / output, **options)
    assert list(tmp_path.iterdir()) == []
