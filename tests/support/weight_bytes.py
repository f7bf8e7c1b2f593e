"""Weight files in memory, as different programs write them."""

from __future__ import annotations

import argparse
import functools
import io
from collections import OrderedDict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from repghost.data.images.preprocess import Preprocess
from repghost.network.model import RepGhostNet
from tests.support.networks import network

PREPROCESS = Preprocess(size=64, resize=64).to_dict()
LABELS = list("abcdefg")
State = dict[str, Any]


@functools.cache
def model() -> RepGhostNet:
    return network()


@functools.cache
def safetensors_bytes() -> bytes:
    return safetensors.torch.save(model().state_dict())


def state() -> State:
    return {name: tensor.clone() for name, tensor in model().state_dict().items()}


def torch_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def put(folder: Path, data: bytes, name: str = "weights.bin") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def training_file(**changes: object) -> dict[str, object]:
    """Return what timm 0.6.7's CheckpointSaver stores."""
    content: dict[str, object] = {
        "epoch": 3,
        "arch": "repghost.repghostnet_0_5x",
        "state_dict": OrderedDict(state()),
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "version": 2,
        "args": argparse.Namespace(model="repghostnet_0_5x", lr=0.6, betas=[0.9, None], nested=argparse.Namespace(x=1)),
        "amp_scaler": {"scale": 65536.0},
        "metric": 66.9,
    }
    return {**content, **changes}
