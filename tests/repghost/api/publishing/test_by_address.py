"""A network on the hub in place of a file, in the functions that take one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import repghost
from repghost.cli import cli
from repghost.errors import UsageError
from tests.support.hub_server import FakeHub
from tests.support.qdq_models import mini_net, save

ADDRESS = "hf://me/birds/model.qdq.onnx"


@pytest.fixture
def birds(hub: FakeHub, tmp_path: Path) -> FakeHub:
    hub.repositories["me/birds"] = {"model.qdq.onnx": save(mini_net(), tmp_path).read_bytes()}
    return hub


def test_a_quantized_network_is_explained_and_predicts_as_its_file_does(birds: FakeHub, tmp_path: Path) -> None:
    file = tmp_path / "net.qdq.onnx"
    assert repghost.explain(ADDRESS).digest == repghost.explain(file).digest
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    found, same = (repghost.evaluate(name, (pixels, [0, 1])) for name in (ADDRESS, file))
    assert np.array_equal(found.predictions, same.predictions) and found.loss == same.loss


def test_the_commands_take_an_address(birds: FakeHub, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "red").save(tmp_path / "red.png")
    for arguments in (["explain", ADDRESS], ["predict", ADDRESS, str(tmp_path / "red.png")]):
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, (arguments, result.output)


def test_a_bundle_is_fetched_first(birds: FakeHub) -> None:
    with pytest.raises(UsageError, match=r"^hf://me/birds/arm64/int8 is on the hub; fetch it with 'repghost pull'"):
        repghost.verify("hf://me/birds/arm64/int8")
