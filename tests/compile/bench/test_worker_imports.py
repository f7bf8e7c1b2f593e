"""Workers run in interpreters of other tools, which need not have what only the command line uses."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import ROOT

BLOCKED = "import sys; sys.modules.update(dict.fromkeys(('click', 'tqdm', 'msgspec', 'elftools'))); import {module}"


@pytest.mark.parametrize("module", ["compile.accuracy.worker", "compile.bench.peers.worker"])
def test_a_worker_needs_no_package_of_the_command_line(module: str) -> None:
    pytest.importorskip("onnxruntime")
    command = [sys.executable, "-c", BLOCKED.format(module=module)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
