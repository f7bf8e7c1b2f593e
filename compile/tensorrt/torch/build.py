"""`--via torch-tensorrt`: an engine by torch-tensorrt, on a machine that has a GPU; int8 with the bundle's scales."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compile.tensorrt.network.networks import Networks
from compile.tensorrt.samples import Expected
from compile.tensorrt.torch.converters import register_converters
from repghost.errors import IntegrityError, ToolMissingError, UsageError, install_command, option, unknown_value

TRTEXEC, TORCH_TENSORRT = "trtexec", "torch-tensorrt"
BUILDERS = (TRTEXEC, TORCH_TENSORRT)
FILE = "jetson.torch-tensorrt.ep"  # beside the bundle; an engine of this machine's GPU


def check_builder(name: str) -> None:
    """Refuse a builder that does not exist, or that this machine does not have.

    Raises:
        UsageError: for an unknown builder.
        ToolMissingError: without a GPU, or without torch-tensorrt.
    """
    if name not in BUILDERS:
        raise unknown_value(f"way to an engine ({option('via')})", name, BUILDERS)
    if name != TORCH_TENSORRT:
        return
    import torch

    if not torch.cuda.is_available():
        raise ToolMissingError(
            f"{option('via', 'torch-tensorrt')} needs an NVIDIA GPU, and PyTorch finds none here; leave it out: the "
            "board builds the engine from the bundle."
        )
    if find_spec("torch_tensorrt") is None:
        raise ToolMissingError(f"torch-tensorrt is not installed: {install_command('tensorrt')}")


def build_via_torch(networks: Networks, inputs: NDArray[np.float32], expected: Expected, path: Path) -> float:
    """Compile the int8 network for this machine's GPU, compare its logits, and write the program.

    Args:
        networks: with the placement and scales.
        inputs: float32 [N, channels, height, width], the samples.
        expected: what they have to give.
        path: the file to write.

    Returns:
        The largest difference of a logit.

    Raises:
        IntegrityError: when a logit differs by more than the tolerance; nothing is written then.
        UsageError: when torch-tensorrt does not take the whole network.
    """
    import torch
    import torch_tensorrt

    from compile.tensorrt.torch.network import TorchTensorRTNetwork

    register_converters()
    module = TorchTensorRTNetwork(networks.graph, networks.spec, networks.placement).eval().cuda()
    images = torch.from_numpy(inputs).cuda()
    try:
        program = torch.export.export(module, (images[:1],))
        compiled = torch_tensorrt.dynamo.compile(
            program, arg_inputs=(images[:1],), min_block_size=1, require_full_compilation=True
        )
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"torch-tensorrt does not compile the network: {str(error)[:500]}") from error
    with torch.no_grad():
        logits = np.concatenate([compiled(image[None]).cpu().numpy() for image in images])
    largest = float(np.abs(logits - expected.logits).max())
    if not largest <= expected.tolerance:
        raise IntegrityError(
            f"the engine of torch-tensorrt gives logits that differ by {largest:.3g}; at most "
            f"{expected.tolerance:.3g} is allowed."
        )
    torch_tensorrt.save(compiled, str(path), arg_inputs=(images[:1],))
    return largest
