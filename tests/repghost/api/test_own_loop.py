"""The script of docs/qat.md, as a stranger would run it: another network's own loop, then code for this machine."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import repghost
from calib.integer.reference import run
from compile.stages.quantize import read_program
from tests.support import ROOT
from tests.support.small_classifier import CLASSES, image, write_set

STEPS, SIZE = 20, 64
# What differs from the page: where the pictures are, and small sizes on this machine.
HERE = {
    "pretrained=True": "num_classes=3",
    "data.calibration)": f"data.calibration, size={SIZE})",
    '"cuda"': '"cpu"',
    "learning_rate=1e-3": "learning_rate=1e-2",
    'target="arm64"': 'target="host"',
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_script_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "pictures", each=8, side=SIZE)
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "qat.md").read_text(), re.DOTALL)[0]
    for theirs, mine in HERE.items():
        assert theirs in code
        code = code.replace(theirs, mine)
    images = np.stack([image(name, seed, SIZE) for seed in range(8) for name in CLASSES])
    x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255.0 - 0.5) / 0.25
    losses: list[float] = []

    class Recorded(torch.optim.Adam):
        def step(self, closure: object = None) -> None:
            losses.append(float(scope["loss"].detach()))
            super().step()

    monkeypatch.setattr(torch.optim, "Adam", Recorded)
    torch.manual_seed(0)
    scope = {"loader": [(x, torch.arange(3).repeat(8))] * STEPS}
    exec(compile(code, "docs/qat.md", "exec"), scope)
    assert len(losses) == STEPS and np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    q, bundle = scope["q"], scope["bundle"]
    assert isinstance(q, repghost.QuantizedNetwork) and q.trained and bundle.verify()
    np.testing.assert_array_equal(run(read_program(q.save(tmp_path / "q.onnx")), images), q.logits(images))
