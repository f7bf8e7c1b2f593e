"""From a torch module to a graph, by way of an ONNX file in memory whose weights keep their modules' names."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from calib.importer.import_onnx import import_onnx
from calib.importer.imported import Imported
from repghost.errors import RepGhostError, UsageError, is_out_of_memory
from repghost.graph.operators import Pair

OPSET = 17
# Methods by which networks put their branches together for inference, as timm and the authors' code call them.
FUSING = ("fuse", "reparameterize", "switch_to_deploy")


def import_module(model: nn.Module, size: Pair, channels: int = 3, name: str = "the module") -> Imported:
    """Return the graph of a torch module in evaluation mode; the module itself is not changed.

    Args:
        model: takes float32 [N, channels, *size] and gives scores [N, classes].
        size: height and width of the images.
        channels: of the images.
        name: what messages call it.

    Raises:
        UsageError: when it cannot be traced, or holds what a graph does not have.
    """
    content = io.BytesIO()
    try:
        fused = fused_copy(model)
        with warnings.catch_warnings(), torch.no_grad(), _silent():
            warnings.simplefilter("ignore")  # about the exporter, and about sizes that are traced as constants
            example = torch.zeros(1, channels, *size)
            torch.onnx.export(
                fused,
                (example,),
                content,  # type: ignore[arg-type]  # the tracing exporter takes it
                dynamo=False,
                opset_version=OPSET,
                do_constant_folding=False,  # names of weights stay those of their modules
                training=torch.onnx.TrainingMode.PRESERVE,  # batch norms are folded here, in float64
                input_names=["input"],
                output_names=["scores"],
            )
    except Exception as error:  # whatever the module raises, and the exporter's own
        if is_out_of_memory(error) or isinstance(error, RepGhostError):
            raise
        line = (str(error).strip().splitlines() or [""])[0]
        raise UsageError(
            f"{name} could not be exported for images of {channels} channels and {size[0]} x {size[1]} pixels "
            f"({type(error).__name__}: {line[:300]}). Export it to ONNX yourself and give the file."
        ) from error
    try:
        return import_onnx(content.getvalue())
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the exporter from printing the whole network when it cannot export it: its switch for that has no effect."""
    log = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *_: None
    try:
        yield
    finally:
        torch._C._jit_onnx_log = log


def fused_copy(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode whose branches are put together, where its modules know how."""
    return _fused(copy.deepcopy(model).cpu().float().eval()).eval()


def _fused(module: nn.Module) -> nn.Module:
    """Return what a module puts together of itself, and of its parts."""
    fuse = next((call for call in (getattr(module, method, None) for method in FUSING) if callable(call)), None)
    result = fuse() if fuse is not None else None
    module = result if isinstance(result, nn.Module) else module
    for name, part in list(module.named_children()):
        setattr(module, name, _fused(part))
    return module
