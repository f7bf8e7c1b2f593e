"""The same program from the same inputs, whatever instruction sets and threads the libraries use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from repghost import bundled
from repghost.checkpoints.checkpoint import read_checkpoint
from repghost.data.images.preprocess import Preprocess
from repghost.data.open_by_format import open_dataset
from tests.support import ROOT
from tests.support.ways_to_quantize import EVERYTHING

ASSETS, CHECKPOINT = bundled.DATA, bundled.WEIGHTS
SETTINGS = {
    "as the machine can, one thread": {"OMP_NUM_THREADS": "1"},
    "AVX2, two threads": {
        "OMP_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "passive",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    },
    "SSE4.1, numpy without dispatch": {
        "OMP_NUM_THREADS": "1",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "NPY_DISABLE_CPU_FEATURES": " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])),
    },
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of the carried calibration images, prepared."""
    stored = read_checkpoint(CHECKPOINT).preprocess
    assert stored is not None
    dataset, preprocess = open_dataset(ASSETS, "calibration"), Preprocess.from_dict(stored)
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, np.stack([preprocess.apply(dataset[index][0]) for index in range(2)]))
    return path


@pytest.mark.slow
def test_every_cpu_quantizes_the_bundled_network_to_the_same_program(images: Path) -> None:
    """All ways are run by `python -m tests.support.ways_to_quantize`; these two touch every step of calibration."""
    command = [sys.executable, "-m", "tests.support.ways_to_quantize", str(CHECKPOINT), str(images), "cpu", EVERYTHING]
    found = {}
    for name, setting in SETTINGS.items():
        environment = {**os.environ, **setting}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr
        found[name] = json.loads(done.stdout)
    machines = [entry.pop("machine") for entry in found.values()]
    assert len({tuple(machine) for machine in machines}) > 1  # the settings do something
    assert machines[-1] == ["DEFAULT", 1] and machines[1][1] == 2, machines
    first, *others = found.values()
    assert set(first) == {"fused", "cpu", EVERYTHING}
    assert all(other == first for other in others), found
