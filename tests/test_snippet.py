"""The library's whole way in one script: its lines as they stand, at small sizes; paths alone are others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compile.bundle.manifest import check_bundle
from tests.support.fake_board import MEASURED, VERIFIED, FakeBoard, in_place_of_ssh
from tests.support.small_classifier import small_classifier, write_set

SNIPPET = """
import repghost, timm
data = repghost.open_dataset("pictures")                       # splits as attributes: data.train, data.calibration, data.test
net = timm.create_model("mobilenetv3_large_100", pretrained=True)      # or repghost.create_model("repghostnet_1_0x", pretrained=True), or "net.onnx"
repghost.evaluate(net, data.test)                              # top-1, top-5, interval, per class, confusion, mistakes
q = repghost.quantize(net, data.calibration)                   # QuantConfig optional; also any iterable of images or a DataLoader
q.compare(net, data.test)                                      # paired change with interval
q.sensitivity(data.calibration); q.save("net.qdq.onnx")
p = repghost.prepare_qat(q); my_training_loop(p); q = repghost.convert(p)   # an nn.Module on any device, under autocast and DDP
q = repghost.train_quantized(q, data.train, epochs=4)          # or let it train
bundle = repghost.compile(q, target="arm64"); bundle.verify(); bundle.bench(on="pi@board")
model = repghost.load("build/Sequential-16px"); model("pictures/test/red/0.png"); model(numpy_or_torch_batch)     # picks this machine's bundle
"""  # noqa: E501


def my_training_loop(module: nn.Module) -> None:
    optimizer = torch.optim.AdamW(module.parameters(), 1e-4)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        loss = nn.functional.cross_entropy(module(torch.rand(6, 3, 16, 16, generator=generator)), torch.arange(6) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.fixture
def timm_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a small network, trained here, where timm would fetch a large one; without a network nothing is fetched."""
    import timm

    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: small_classifier())


class Board(FakeBoard):
    """A board that proves and measures the bundle of the snippet."""

    def _runner(self, words: str, **_: Any) -> bytes:
        answer = VERIFIED | {"pictures": 36} if "--verify" in words else MEASURED
        return json.dumps({**answer, "variant": "neon"}).encode()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:[0-9]+ steps in all")
def test_the_snippet_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timm_without_network: None, host_bundle: Path
) -> None:
    write_set(tmp_path / "pictures", each=12)
    monkeypatch.chdir(tmp_path)
    board = Board("aarch64", [check_bundle(host_bundle)])
    batch = np.zeros((2, 16, 16, 3), np.uint8)
    names: dict[str, Any] = {"my_training_loop": my_training_loop, "numpy_or_torch_batch": batch}
    with in_place_of_ssh(board):
        exec(compile(SNIPPET, "snippet", "exec"), names)
    assert names["model"](tmp_path / "pictures/test/red/0.png").label == "red"
    assert [found.label for found in names["model"](batch)] == ["dark", "dark"]
    report = json.loads((tmp_path / "build/Sequential-16px/report.json").read_text())
    assert [found["board"] for found in report["builds"][0]["boards"]] == ["pi@board:repghost"]
    assert (tmp_path / "net.qdq.onnx").is_file() and names["q"].trained
