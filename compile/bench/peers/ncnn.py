"""Tencent's ncnn in floating point; the network comes through pnnx, a program that its own package carries."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import ncnn
import numpy as np
from numpy.typing import NDArray

from compile.bench.peers.inputs import PeerInputs, together
from repghost.processes import run_limited

TIME_LIMIT = 300  # seconds of the conversion


class NcnnSession:
    """A net; the library wants a fresh extractor for every inference."""

    def __init__(self, path: Path, threads: int, half: bool) -> None:
        self._net = ncnn.Net()
        self._net.opt.num_threads = threads
        self._net.opt.use_vulkan_compute = False
        for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
            setattr(self._net.opt, name, half)  # what is called fp32 is fp32
        self._net.opt.use_bf16_storage = False
        if self._net.load_param(str(path)) or self._net.load_model(str(path.with_suffix(".bin"))):
            raise RuntimeError(f"ncnn cannot load {path}")
        self._input = self._net.input_names()[0]
        self._outputs = sorted(self._net.output_names(), key=lambda name: (len(name), name))  # out0, out1, as in ONNX

    def feed(self, image: NDArray[np.float32]) -> None:
        """Keep the image as ncnn's matrix."""
        self._image = ncnn.Mat(image[0]).clone()

    def run(self) -> None:
        """Run one inference."""
        extractor = self._net.create_extractor()
        extractor.input(self._input, self._image)
        self._results = [extractor.extract(name)[1] for name in self._outputs]

    def logits(self) -> NDArray[np.float32]:
        """Return the logits, or the numbers of several results."""
        results = [np.array(result) for result in self._results]
        return results[0] if len(results) == 1 else together([result[None] for result in results])


def prepare(inputs: PeerInputs, form: str) -> Path:
    """Return the converted network's .param file; the weights lie beside it."""
    folder = inputs.folder / "ncnn"
    path = folder / "model.ncnn.param"
    if path.exists():
        return path
    package = importlib.util.find_spec("pnnx")  # importing it would import torch
    if package is None or package.origin is None:
        raise ModuleNotFoundError("pnnx is not installed", name="pnnx")
    folder.mkdir(exist_ok=True)
    shutil.copyfile(inputs.source("onnx"), folder / "model.onnx")  # it writes beside its input
    command = [str(Path(package.origin).parent / "pnnx"), "model.onnx", "fp16=0"]
    done = run_limited(command, TIME_LIMIT, name="pnnx", advice="Compare without ncnn.", folder=folder)
    if not path.exists():
        raise RuntimeError(f"pnnx wrote nothing: {done.stderr.strip()[-300:]}")
    for made in folder.iterdir():
        if made.stem != path.stem:
            made.unlink()  # the network in four other forms
    return path


def open_session(path: Path, inputs: PeerInputs, form: str, threads: int) -> NcnnSession:
    """Load a file."""
    return NcnnSession(path, threads, form == "fp16")
