"""The network as a file of Alibaba's MNN, made by MNN's own converter and checked by MNN's own interpreter.

Both run in a process of their own: the compiled converter ends its process on an error. It is called directly, not by
the script `mnnconvert`, which installs a logging client and reports to a remote service (seen in MNN 3.6).
"""

from __future__ import annotations

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import torch

from repghost.errors import IntegrityError, RepGhostError, ToolMissingError, install_command
from repghost.exporters.onnx import to_bytes
from repghost.processes import run_limited

SUFFIX = ".mnn"
TOLERANCE = 1e-3  # of the largest logit; MNN may use Winograd convolutions, which round differently
LIMIT = 300  # seconds for each of the two processes
CONVERT = """
import sys, _tools
done = _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", sys.argv[1], "--MNNModel", sys.argv[2],
                          "--bizCode", "repghost"])
sys.exit(0 if done else 1)
"""
RUN = """
import sys, MNN, numpy as np
net = MNN.Interpreter(sys.argv[1])
session = net.createSession({"numThread": 1, "backend": "CPU", "precision": "high"})
pictures = np.load(sys.argv[2], allow_pickle=False)
source, scores = net.getSessionInput(session), net.getSessionOutput(session)
source.copyFrom(MNN.Tensor(pictures.shape, MNN.Halide_Type_Float, pictures, MNN.Tensor_DimensionType_Caffe))
net.runSession(session)
shape = scores.getShape()
target = MNN.Tensor(shape, MNN.Halide_Type_Float, np.zeros(shape, np.float32), MNN.Tensor_DimensionType_Caffe)
scores.copyToHostTensor(target)
np.save(sys.argv[3], np.array(target.getData(), np.float32).reshape(shape), allow_pickle=False)
"""


def to_mnn(proto: onnx.ModelProto, model: torch.nn.Module) -> tuple[bytes, float]:
    """Return the bytes of the MNN file, and the largest difference of a logit from the network.

    Args:
        proto: from `repghost.exporters.onnx.to_onnx`, of batch 1.
        model: the same network, in evaluation mode.

    Raises:
        ToolMissingError: when MNN is not installed.
        RepGhostError: when the converter or the interpreter fails.
        IntegrityError: when the file does not compute what the network computes.
    """
    if find_spec("MNN") is None:
        raise ToolMissingError(f"the MNN format needs MNN's converter: {install_command('mnn')}")
    shape = [dimension.dim_value for dimension in proto.graph.input[0].type.tensor_type.shape.dim]
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory(prefix="repghost-mnn-") as name:
        folder = Path(name)
        source, result, given, answer = (folder / part for part in ("a.onnx", "a.mnn", "given.npy", "answer.npy"))
        source.write_bytes(to_bytes(proto))
        np.save(given, images.numpy(), allow_pickle=False)
        _run(CONVERT, "MNN's converter", source, result)
        if not result.is_file():
            raise RepGhostError("MNN's converter wrote no file, and did not say why. Export to .onnx instead.")
        _run(RUN, "MNN's interpreter", result, given, answer)
        actual, data = np.load(answer, allow_pickle=False), result.read_bytes()
    with torch.no_grad():
        expected = model(images).numpy()
    difference = float(np.abs(actual - expected).max())
    bound = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not difference <= bound:  # also catches NaN
        raise IntegrityError(
            f"the MNN file does not compute what the checkpoint computes: logits differ by up to {difference:.3g}, "
            f"allowed is {bound:.3g}. Nothing was written; export to .onnx instead."
        )
    return data, difference


def _run(code: str, who: str, *arguments: Path) -> None:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = run_limited(command, LIMIT, name=who, advice="Export to .onnx instead.")
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise RepGhostError(f"{who} failed with code {done.returncode}: {said[:300]}. Export to .onnx instead.")
