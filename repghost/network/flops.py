"""Counting: multiply-adds and parameters of a network, by the definitions that its published figures use.

Two counts of operations are in use and differ by 0.01 % to 2 %: pure multiply-adds of convolutions and linear layers,
and upstream's counter, which adds one per output element where a convolution has a bias. Activations, batch norms,
pooling and element-wise operations count 0 in both.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from repghost.errors import UsageError
from repghost.network.fuse import empty_model
from repghost.network.spec import FORMS, Form, ModelSpec

DEFAULT_SIZE = 224


@dataclass(frozen=True)
class LayerCount:
    """One convolution or linear layer for one image.

    Attributes:
        name: of the module.
        output_shape: without the batch.
        macs: multiply-adds.
        bias_adds: output elements of a convolution with bias, which upstream's counter counts as well.
        params: weight and bias elements.
    """

    name: str
    output_shape: tuple[int, ...]
    macs: int
    bias_adds: int
    params: int


@dataclass(frozen=True)
class NetworkCount:
    """A whole network for one image.

    Attributes:
        layers: convolutions and linear layers in the order they run.
        params: every parameter, batch norms included (as upstream's published figures are).
    """

    layers: tuple[LayerCount, ...]
    params: int

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and linear layers; the same in every form."""
        return sum(layer.macs for layer in self.layers)

    @property
    def upstream_flops(self) -> int:
        """What upstream's counter gives; published in train form, where only few layers have a bias."""
        return self.macs + sum(layer.bias_adds for layer in self.layers)

    @property
    def layer_params(self) -> int:
        """Parameters of convolutions and linear layers alone."""
        return sum(layer.params for layer in self.layers)


def count(model: nn.Module, input_size: Sequence[int]) -> NetworkCount:
    """Return the counts of one image; nothing is computed, shapes alone run through a copy of the network.

    Args:
        model: any network of convolutions and linear layers.
        input_size: channels, height, width; a batch in front is read as 1.

    Raises:
        UsageError: when `input_size` is not three or four positive numbers, or does not fit the network.
    """
    sizes = [int(size) for size in input_size]
    if len(sizes) not in (3, 4) or min(sizes) < 1:
        raise UsageError(f"an input size is [batch,] channels, height, width, all above 0; not {tuple(input_size)}.")
    return _count(copy.deepcopy(model).to("meta").eval(), sizes[-3:])


def _count(shapes_only: nn.Module, sizes: Sequence[int]) -> NetworkCount:
    """Return the counts of a network without memory; it loses its batch norms."""
    params = sum(parameter.numel() for parameter in shapes_only.parameters())
    _drop_batch_norms(shapes_only)
    layers: list[LayerCount] = []
    handles = [_hook(name, module, layers) for name, module in shapes_only.named_modules() if _counts(module)]
    weight = next(shapes_only.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            shapes_only(torch.empty(1, *sizes, device="meta", dtype=weight.dtype))
    except RuntimeError as error:
        raise UsageError(f"a picture of {tuple(sizes)} does not fit this network: {error}.") from error
    finally:
        for handle in handles:
            handle.remove()
    return NetworkCount(tuple(layers), params)


def cal_flops_params(model: nn.Module, input_size: Sequence[int]) -> tuple[int, int]:
    """Return (flops, params) as upstream's function of this name counts them.

    Args:
        model: in train or deploy form.
        input_size: (3, 224, 224) or (1, 3, 224, 224).
    """
    result = count(model, input_size)
    return result.upstream_flops, result.params


def count_forms(spec: ModelSpec, size: int = DEFAULT_SIZE) -> dict[Form, NetworkCount]:
    """Return the counts of the train, deploy and fused form of one network at an image side in pixels."""
    values = spec.to_dict()
    return {
        form: _count(empty_model(ModelSpec.from_dict({**values, "form": form})), (spec.in_chans, size, size))
        for form in FORMS
    }


def _drop_batch_norms(model: nn.Module) -> None:
    """Replace the batch norms of a network, which keep shapes and take time."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())


def _counts(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.Linear)


def _hook(name: str, module: nn.Module, layers: list[LayerCount]) -> RemovableHandle:
    """Append the layer's counts to `layers` whenever it runs."""

    def record(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        elements = output[0].numel()
        per_element = layer.weight[0].numel()  # a convolution's input channels per group times its kernel
        bias_adds = elements if isinstance(layer, nn.Conv2d) and layer.bias is not None else 0
        params = sum(parameter.numel() for parameter in layer.parameters(recurse=False))
        layers.append(LayerCount(name, tuple(output.shape[1:]), elements * per_element, bias_adds, params))

    return module.register_forward_hook(record)
