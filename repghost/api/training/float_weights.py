"""The float weights of a network trained under quantization, in the names of the network that it came from."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from calib.importer.import_module import import_module
from calib.qat.branch_weights import BranchWeights, branches_of
from calib.qat.weights import Layer
from repghost.errors import UsageError
from repghost.graph.operators import Graph
from repghost.network.fuse import fused
from repghost.network.model import RepGhostNet
from repghost.sizes import Size, sides

CLOSE = 1e-5  # of a layer's largest weight: what a batch norm that passes its input on may round


def branch_state(source: BranchWeights) -> dict[str, Tensor]:
    """Return the state of a RepGhostNet whose branches were trained, which timm's and the authors' load too."""
    return {name: tensor.detach().cpu().clone() for name, tensor in source.model.state_dict().items()}


def fused_state(model: RepGhostNet, layers: Mapping[str, Layer]) -> dict[str, Tensor]:
    """Return the state of a fused RepGhostNet with trained weights.

    Args:
        model: in any form.
        layers: the trained ones by name.
    """
    net = copy.deepcopy(fused(model))
    for name, parts in branches_of(net).items():
        _write(parts.conv, layers[name])
    return dict(net.state_dict())


def module_state(net: nn.Module, layers: Mapping[str, Layer], size: Size, channels: int) -> dict[str, Tensor]:
    """Return the state of any module with trained weights: batch norms pass on what convolutions with them folded give.

    A batch norm gets weight 1, mean 0, a variance that makes its factor 1, and the layer's bias.

    Args:
        net: the network that was quantized; left as it is.
        layers: the trained ones by name.
        size: of its images.
        channels: of its images.

    Raises:
        UsageError: when a layer was put together of several modules, so that none of them has its weights.
    """
    net = copy.deepcopy(net).cpu().float().eval()
    norms = _norms_behind(net, torch.zeros(1, channels, *sides(size)))
    modules = dict(net.named_modules())
    for name, layer in layers.items():
        module = modules.get(name)
        if not isinstance(module, nn.Conv2d | nn.Linear) or module.weight.numel() != layer.weight.size:
            raise _not_of_one_module(name)
        norm = norms.get(name)
        if norm is None:
            _write(module, layer)
        else:
            _write_before(module, norm, layer)
    _compare(import_module(net, sides(size), channels).graph, layers)
    return dict(net.state_dict())


def _not_of_one_module(name: str) -> UsageError:
    return UsageError(
        f"layer {name!r} of the quantized network is no single convolution or linear layer of this module, so its "
        "trained weights have no place there; keep the state_dict() of the trained module, or the QDQ file."
    )


@torch.no_grad()
def _norms_behind(net: nn.Module, example: Tensor) -> dict[str, nn.Module]:
    """Return the batch norm that reads each convolution's output, by the convolution's name."""
    made: dict[int, tuple[str, Tensor]] = {}
    found: dict[str, nn.Module] = {}
    handles = []
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            note = lambda _, __, output, name=name: made.update({id(output): (name, output)})  # noqa: E731
            handles.append(module.register_forward_hook(note))
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            see = lambda norm, given: found.update({made[id(given[0])][0]: norm} if id(given[0]) in made else {})  # noqa: E731
            handles.append(module.register_forward_pre_hook(see))
    net(example)
    for handle in handles:
        handle.remove()
    return found


@torch.no_grad()
def _write(module: nn.Module, layer: Layer) -> None:
    """Copy a layer's weight and bias."""
    weight, bias = module.weight, module.bias
    if not isinstance(bias, Tensor):
        if layer.bias.any():
            raise _not_of_one_module(layer.name)
    else:
        bias.copy_(torch.from_numpy(layer.bias))
    assert isinstance(weight, Tensor)
    weight.copy_(torch.from_numpy(layer.weight).reshape(weight.shape))


@torch.no_grad()
def _write_before(module: nn.Module, norm: nn.Module, layer: Layer) -> None:
    """Copy a layer's weight, and its bias into the batch norm behind it."""
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    if norm.running_mean is None or norm.running_var is None or norm.bias is None:
        raise _not_of_one_module(layer.name)
    if isinstance(module.bias, Tensor):
        module.bias.zero_()
    assert isinstance(module.weight, Tensor)
    module.weight.copy_(torch.from_numpy(layer.weight).reshape(module.weight.shape))
    norm.weight.fill_(1.0)
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0 - norm.eps)
    norm.bias.copy_(torch.from_numpy(layer.bias))


def _compare(graph: Graph, layers: Mapping[str, Layer]) -> None:
    """Refuse a module that does not compute the trained layers, whatever its modules are called."""
    for op in graph.layers():
        wanted = layers.get(op.name)
        for kind in ("weight", "bias"):
            mine = getattr(op, kind)
            if wanted is None or not np.allclose(
                mine.reshape(-1), getattr(wanted, kind).reshape(-1), atol=CLOSE * float(np.abs(mine).max()) + 1e-12
            ):
                raise _not_of_one_module(op.name)
