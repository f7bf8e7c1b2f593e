"""torch-tensorrt: the module it is given, and what is said where it cannot go."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from benchmarks.tensorrt.dry_run import dry_run
from calib.ptq.apply import quantize_graph
from calib.settings.config import LayerSettings, QuantConfig
from compile.tensorrt.evaluate import TorchNetwork
from compile.tensorrt.network.placement import PlacementOptions, float_placement, place
from compile.tensorrt.network.scales import half_spec
from compile.tensorrt.network.writer import FileForm, write_onnx
from compile.tensorrt.torch.build import check_builder
from compile.tensorrt.torch.network import TorchTensorRTNetwork
from repghost.cli import cli
from repghost.data.images.preprocess import Preprocess
from repghost.errors import ToolMissingError, UsageError, install_command
from repghost.graph.trace import graph_of
from repghost.network.fuse import fused
from repghost.network.model import RepGhostNet

SIZE = 32


@pytest.mark.slow
def test_the_module_computes_what_the_file_says() -> None:
    torch.manual_seed(2)
    network = fused(RepGhostNet(0.5, num_classes=10).eval())
    preprocess = Preprocess(size=SIZE, resize=SIZE)
    images = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.uint8)
    config = QuantConfig("tensorrt", LayerSettings(observer="min_max"))
    graph, spec = quantize_graph(graph_of(network), images, preprocess, config)
    half, inputs = half_spec(graph, spec), preprocess.normalize(images)
    for placement in (float_placement(graph), place(graph, PlacementOptions())):
        file: onnx.ModelProto = write_onnx(graph, half, placement, SIZE, FileForm(17), {})
        module = TorchTensorRTNetwork(graph, half, placement).eval()
        with torch.no_grad():
            predictions = module(torch.from_numpy(inputs)).numpy()
        expected = TorchNetwork(file)(inputs)
        # Float sums in another order leave about sqrt(60 layers) * 2^-24 of the largest logit; in int8, such a
        # difference can put a value on the other side of a rounding step, which is 1 / 127 of the largest one.
        close = 1 / 127 if placement.layers else 1e-5
        assert np.abs(predictions - expected).max() <= close * np.abs(expected).max()
    program = torch.export.export(module, (torch.from_numpy(inputs[:1]),))
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert sum("repghost.int8_convolution" in target for target in targets) == len(placement.layers)


def test_without_a_gpu_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments = ["compile", "--target", "jetson", "--via", "torch-tensorrt", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 4
    assert "needs an NVIDIA GPU" in done.output and len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_ways_that_cannot_be_gone_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_builder("trtexec")
    with pytest.raises(UsageError, match="unknown way to an engine"):
        check_builder("tensorflow")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("compile.tensorrt.torch.build.find_spec", lambda name: None)
    with pytest.raises(ToolMissingError, match=re.escape(install_command("tensorrt"))):
        check_builder("torch-tensorrt")


@pytest.mark.slow
def test_converters_take_the_whole_network_as_one_engine() -> None:
    """A harness on made-up device properties, in the environment that `make test` makes beside this one."""
    python = Path(sys.prefix) / "torch-tensorrt/bin/python"
    if not python.exists():
        pytest.skip("no environment with torch-tensorrt-rtx; make test makes one")
    try:
        result = dry_run(python, SIZE)
    except ToolMissingError as error:
        pytest.skip(str(error))
    for network in result["networks"].values():
        assert network["supported"] == network["operators"] > 100 and network["in_torch"] == []
        assert network["engines"] == 1 and network["engine_bytes"] > 1 << 20
        assert network["int8"] == network["promised"]
    assert result["networks"]["int8"]["promised"] > 50 and result["networks"]["float"]["promised"] == 0


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (
            SimpleNamespace(returncode=1, stdout="", stderr="ModuleNotFoundError"),
            4,
            "lacks packages",
        ),
        (SimpleNamespace(returncode=1, stdout="", stderr="Boom"), 1, "ended with code 1: Boom"),
        (SimpleNamespace(returncode=0, stdout="nothing", stderr=""), 1, "ended with code 0"),
    ],
)
def test_a_dry_run_that_fails_says_why(
    monkeypatch: pytest.MonkeyPatch, answer: SimpleNamespace, error: int, words: str
) -> None:
    monkeypatch.setattr("benchmarks.tensorrt.dry_run.run_limited", lambda *_, **__: answer)
    from repghost.errors import RepGhostError

    with pytest.raises(RepGhostError, match=words) as caught:
        dry_run(Path("python"), 32)
    assert caught.value.exit_code == error
