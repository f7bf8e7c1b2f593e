"""What a user's own file sees under mypy --strict: types of everything public."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

SCRIPT = """
import repghost

data = repghost.open_dataset("pictures")
net = repghost.create_model("repghostnet_1_0x", pretrained=True)
judged = repghost.evaluate(net, data.test)
q = repghost.quantize(net, data.calibration, repghost.QuantConfig(equalize=True))
change = q.compare(net, data.test)
bundle = repghost.compile(q, target="arm64", data=data)
model = repghost.load("build/net")
reveal_type(data.train)
reveal_type(net)
reveal_type(judged.top1.top1)
reveal_type(judged.confusion)
reveal_type(q)
reveal_type(change.change.difference)
reveal_type(q.sensitivity().rows)
reveal_type(bundle.verify())
reveal_type(bundle.path)
reveal_type(model("cat.jpg"))
reveal_type(model([model.labels]))
reveal_type(repghost.fuse(net))
reveal_type(q.evaluate(data.test, images=3))
reveal_type(bundle.bench("pi@board", seconds=3))
reveal_type(bundle.deploy("pi@board").replaced)
reveal_type(bundle.sign(key="key.pem"))
reveal_type(repghost.status("pi@board").versions)
reveal_type(repghost.train("pictures", epochs=3, learning_rate=0.1).model)
reveal_type(repghost.validate(["a.safetensors"], "pictures").measured.networks)
bundle.verify(variant="neon")
q.evaluate(data.test, image=3)
repghost.train("pictures", epoch=3)
repghost.train("pictures", epochs="3")
wrong: int = judged.top1.top1
repghost.quantize(net, data.calibration, imagess=3)
"""
# This project's settings, so that what `make check` found out about its packages is used; strict for the user's file.
STRICT = """
[[tool.mypy.overrides]]
module = "mine"
disallow_untyped_calls = true
disallow_subclassing_any = true
"""
REVEALED = (
    "repghost.api.dataset.Split", "torch.nn.modules.module.Module", "float",
    "numpy.ndarray[tuple[Any, ...], numpy.dtype[numpy.signedinteger[numpy._typing._64Bit]]]",
    "repghost.api.quantized.QuantizedNetwork", "float", "tuple[calib.analysis.sensitivity_page.Row, ...]",
    "compile.bundle.verification.Verification", "pathlib.Path", "compile.bundle.host_model.Prediction",
    "list[compile.bundle.host_model.Prediction]", "torch.nn.modules.module.Module",
    "repghost.api.shown.results.Evaluation", "repghost.api.benchmarks.arguments.Benchmark", "str | None",
    "pathlib.Path",
    "tuple[compile.deploy.history.Version, ...]", "repghost.network.model.RepGhostNet",
    "tuple[repghost.validation.validate.Measured, ...]",
)  # fmt: skip


@pytest.mark.slow
def test_mypy_shows_a_user_the_types(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT)
    config = tmp_path / "pyproject.toml"
    config.write_text((ROOT / "pyproject.toml").read_text() + STRICT)
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900)
    lines = done.stdout.splitlines()
    revealed = [line.partition("Revealed type is ")[2].strip("\"'") for line in lines if "Revealed type" in line]
    shown = [text.replace("builtins.", "") for text in revealed]
    assert [text for text in shown if text == "Any"] == []
    for found, expected in zip(shown, REVEALED, strict=True):
        assert found == expected or (expected.startswith("numpy.ndarray") and found.startswith("numpy.ndarray")), found
    errors = [line for line in lines if ": error:" in line]
    wrong = ("variant", "image", "epoch", "epochs", "float", "imagess")
    assert len(errors) == len(wrong), done.stdout
    assert all(word in error for word, error in zip(wrong, errors, strict=True)), done.stdout
