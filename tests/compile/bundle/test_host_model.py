"""`repghost.load(bundle)`: one model may be called from several threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from compile.bundle.host_model import load
from tests.support.fake_network import expected_logits, random_images


def test_each_thread_has_a_workspace_of_its_own(host_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, used, both = load(host_bundle), random_images(2), set(), Barrier(2, timeout=60)
    infer = model._library.rg_infer

    def infer_together(image: int, logits: int, workspace: int) -> int:
        both.wait()  # two inferences have begun
        used.add(workspace)
        return int(infer(image, logits, workspace))

    monkeypatch.setattr(model._library, "rg_infer", infer_together)
    with ThreadPoolExecutor(2) as pool:
        found = np.concatenate(list(pool.map(lambda image: model.logits(image[None]), images)))
    assert len(used) == 2
    np.testing.assert_array_equal(found, expected_logits(images))
