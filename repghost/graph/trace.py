"""From the fused PyTorch network to its graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from repghost.errors import UsageError
from repghost.graph.formulas import HARD_SIGMOID
from repghost.graph.operators import (
    INPUT,
    RELU,
    UNBOUNDED,
    Add,
    Classifier,
    Convolution,
    Function,
    GlobalAveragePool,
    Graph,
    Layer,
    Multiply,
    Operator,
)
from repghost.network.blocks import RepGhostBottleneck, RepGhostModule, SqueezeExcite
from repghost.network.model import RepGhostNet


def graph_of(model: RepGhostNet) -> Graph:
    """Return the graph of a fully fused network.

    Raises:
        UsageError: when a batch norm is left, or a weight is NaN or infinite.
    """
    norms = sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    if norms:
        raise UsageError(
            f"the network still has {norms} batch norms; only a fully fused one can be quantized. "
            "Use repghost.network.fuse.fuse(model) first."
        )
    graph = Graph(tuple(_operators(model)), model.spec.in_chans)
    for layer in graph.layers():
        check_finite(layer)
    return graph


def check_finite(layer: Layer) -> None:
    """Refuse a layer whose weights or biases are not all finite.

    Raises:
        UsageError: saying how many are not.
    """
    for kind, values in (("weight", layer.weight), ("bias", layer.bias)):
        wrong = int(np.count_nonzero(~np.isfinite(values)))
        if wrong:
            raise UsageError(
                f"layer {layer.name!r}: {wrong} of {values.size} {kind} values are NaN or infinite; only finite "
                "weights can be quantized. The training diverged or the file is damaged; take an earlier checkpoint."
            )


def _operators(model: RepGhostNet) -> Iterator[Operator]:
    last = ""
    for operators in stages_of(model.conv_stem, model.blocks):
        yield from operators
        last = operators[-1].name
    yield GlobalAveragePool("global_pool", last)
    yield convolution("conv_head", "global_pool", model.conv_head, relu=True)
    weight, bias = model.classifier.weight, model.classifier.bias
    yield Classifier("classifier", "conv_head", _array(weight), _array(bias))


def stages_of(stem: nn.Module, blocks: Iterable[nn.Module]) -> Iterator[list[Operator]]:
    """Yield the operators of a fused stem, and of each stage behind it; the last one of each makes its map."""
    yield [convolution("conv_stem", INPUT, stem, relu=True)]
    last = "conv_stem"
    for s, stage in enumerate(blocks):
        assert isinstance(stage, nn.Sequential)
        operators: list[Operator] = []
        for b, block in enumerate(stage):
            name = f"blocks.{s}.{b}"
            if isinstance(block, RepGhostBottleneck):
                operators += _bottleneck(name, last, block)
            else:
                operators.append(convolution(name, last, block.conv, relu=True))  # type: ignore[arg-type]
            last = operators[-1].name
        yield operators


def _bottleneck(name: str, x: str, block: RepGhostBottleneck) -> Iterator[Operator]:
    """Yield a bottleneck's operators; the shortcut comes first, because the add behind ghost2 reads it."""
    residual: str | None = None if block.shortcut is None else x
    if isinstance(block.shortcut, nn.Sequential):
        depthwise, project = f"{name}.shortcut.depthwise", f"{name}.shortcut.project"
        yield convolution(depthwise, x, block.shortcut[0], relu=False)
        yield convolution(project, depthwise, block.shortcut[2], relu=False)
        residual = project
    yield from _module(f"{name}.ghost1", x, block.ghost1)
    y = f"{name}.ghost1.cheap"
    if block.conv_dw is not None:
        yield convolution(f"{name}.conv_dw", y, block.conv_dw, relu=False)
        y = f"{name}.conv_dw"
    if block.se is not None:
        yield from _squeeze_excite(f"{name}.se", y, block.se)
        y = f"{name}.se"
    yield from _module(f"{name}.ghost2", y, block.ghost2)
    if residual is not None:
        yield Add(f"{name}.add", f"{name}.ghost2.cheap", residual)


def _module(name: str, x: str, module: RepGhostModule) -> Iterator[Operator]:
    relu = isinstance(module.relu, nn.ReLU)
    yield convolution(f"{name}.primary", x, module.primary_conv[0], relu)
    yield convolution(f"{name}.cheap", f"{name}.primary", module.cheap_operation, relu)


def _squeeze_excite(name: str, x: str, module: SqueezeExcite) -> Iterator[Operator]:
    yield GlobalAveragePool(f"{name}.pool", x)
    yield convolution(f"{name}.reduce", f"{name}.pool", module.conv_reduce, relu=True)
    yield convolution(f"{name}.expand", f"{name}.reduce", module.conv_expand, relu=False)
    yield Function(f"{name}.gate", f"{name}.expand", HARD_SIGMOID)
    yield Multiply(name, x, f"{name}.gate")


def convolution(name: str, x: str, conv: nn.Module, relu: bool) -> Convolution:
    """Return a module's convolution, with a ReLU behind it or none."""
    assert isinstance(conv, nn.Conv2d)
    stride, padding = conv.stride[0], conv.padding[0]
    assert isinstance(padding, int)
    bias = np.zeros(conv.out_channels, np.float32) if conv.bias is None else _array(conv.bias)
    clamp = RELU if relu else UNBOUNDED
    return Convolution(
        name, x, _array(conv.weight), bias, (stride, stride), (padding,) * 4, groups=conv.groups, clamp=clamp
    )


def _array(parameter: torch.Tensor) -> NDArray[np.float32]:
    return parameter.detach().to("cpu", torch.float32).numpy().copy()
