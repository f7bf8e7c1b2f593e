"""The hub's own client against a mirror on this machine: every width is asked for by its name and arrives whole."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repghost.network.spec import WIDTHS
from tests.support.hub_server import FakeHub

FETCH = """
import json
from repghost.checkpoints import timm_hub
from repghost.network.spec import WIDTHS
found = {}
for row in WIDTHS:
    checkpoint = timm_hub.open_checkpoint("timm", row.multiplier)
    found[row.name] = [checkpoint.spec.width, checkpoint.digest, checkpoint.metadata["source"]]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_all_widths_come_from_a_mirror(mirror: FakeHub, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": mirror.address, "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run([sys.executable, "-c", FETCH], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert {path.partition("/resolve/")[0].lstrip("/") for path in mirror.asked} >= set(mirror.repositories)
    for row in WIDTHS:
        repository = f"timm/{row.timm_name}.in1k"
        digest = hashlib.sha256(mirror.repositories[repository]["model.safetensors"]).hexdigest()
        assert found[row.name] == [row.multiplier, digest, repository]
