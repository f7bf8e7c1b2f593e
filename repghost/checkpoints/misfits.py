"""Why a state dict is no RepGhostNet that can be built here: another network, or ours with something done to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from repghost.errors import UsageError, option
from repghost.network.spec import HEAD_CHANNELS

SHOWN = 3  # names printed in a message
STEM, HEAD, BIAS = "conv_stem.weight", "classifier.weight", "classifier.bias"

# Part of a name that PyTorch's tools leave -> what puts the weight back, in the program that has `model`.
_REWRITTEN = {
    "weight_orig": "torch.nn.utils.prune left a mask beside each weight; put the two together before saving: "
    "[prune.remove(m, 'weight') for m in model.modules() if hasattr(m, 'weight_mask')]",
    ".parametrizations.": "parametrizations stand in place of weights; remove them before saving: [parametrize."
    "remove_parametrizations(m, 'weight') for m in model.modules() if parametrize.is_parametrized(m, 'weight')]",
    ".lora_A.": "adapters stand beside weights; merge them before saving: model = model.merge_and_unload()",
}


def no_network(tensors: Mapping[str, Tensor], name: str) -> UsageError:
    """Return the error about a state dict that lacks a tensor which every RepGhostNet has.

    Args:
        tensors: of the file, by name.
        name: of the tensor that is absent, or has another number of dimensions.
    """
    _refuse_rewritten(tensors)
    tensor = tensors.get(name)
    if tensor is not None and not tensor.numel():
        return UsageError(
            f"{name} is empty: DeepSpeed's ZeRO 3 or FSDP left the weights in parts elsewhere. Gather them, with the "
            "script that DeepSpeed writes beside its checkpoints: python zero_to_fp32.py CHECKPOINTS OUT."
        )
    given = "is absent" if tensor is None else f"has the shape {shape(tensor)}"
    if name == HEAD and STEM in tensors and any(key.startswith("blocks.9.") for key in tensors):
        return UsageError(f"this is a RepGhostNet with another head: {name} {given}. {_head_line(tensors)}")
    found = ", ".join(key[:80] for key in list(tensors)[:SHOWN]) or "nothing"
    return UsageError(
        f"this is not a RepGhostNet: {name} {given}; the file holds {len(tensors)} tensors, beginning with {found}."
    )


def refuse_misfit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Refuse a state dict whose names or shapes are not those of a network.

    Args:
        tensors: of the file, by name.
        expected: of the network.
        what: the network, in words.

    Raises:
        UsageError: saying whether it is ours with another head, pruned, rewritten by a tool, or another network.
    """
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    if missing:
        _refuse_rewritten(tensors)
        raise UsageError(f"it does not fit {what}: it lacks {_some(missing)}. {_missing_line(missing, expected)}")
    if extra:
        raise UsageError(f"it does not fit {what}: it has the extra {_some(extra)}. {_extra_line(extra, expected)}")
    other = {name: wanted for name, wanted in expected.items() if tensors[name].shape != wanted.shape}
    if other:
        shapes = [f"{name} is {shape(tensors[name])} and should be {shape(wanted)}" for name, wanted in other.items()]
        raise UsageError(
            f"it does not fit {what}: {len(other)} tensors have another shape: {'; '.join(shapes[:SHOWN])}. "
            f"{_shape_line(tensors, other)}"
        )


def _missing_line(missing: list[str], expected: Mapping[str, Tensor]) -> str:
    if missing == [BIAS]:
        return f"For a head without a bias, add zeros before saving: d[{BIAS!r}] = torch.zeros({len(expected[BIAS])})"
    return "Was it cut, or made for another network?"


def _extra_line(extra: list[str], expected: Mapping[str, Tensor]) -> str:
    parts = {name.partition(".")[0] for name in extra}
    if parts & {name.partition(".")[0] for name in expected}:
        return "Was it cut, or made for another network?"
    names = ", ".join(repr(part[:80]) for part in sorted(parts))
    return (
        "All of the network is there; what the rest does to its answers is not known here. Leave it out before saving: "
        f"d = {{n: t for n, t in d.items() if n.partition('.')[0] not in [{names}]}}"
    )


def _shape_line(tensors: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    if all(name.startswith("classifier.") for name in other):
        return f"It is this network with another head; allowed is one linear layer of {HEAD_CHANNELS} features."
    if len(other) > 1 and all(
        tensors[name].dim() == wanted.dim() and tensors[name].shape[2:] == wanted.shape[2:]
        for name, wanted in other.items()
    ):
        return (
            "Its layers are those of a RepGhostNet with other numbers of channels, as pruning leaves them; here the "
            "width decides these numbers. Give the network as it was before, or train a narrower one: repghost train "
            f"{option('width', 'W')}."
        )
    return "Was it made for another network?"


def _refuse_rewritten(tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights in place of which one of PyTorch's tools put something else."""
    for part, line in _REWRITTEN.items():
        for name in tensors:
            if part in name:
                raise UsageError(f"it holds {name[:80]!r}: {line}.")


def _head_line(tensors: Mapping[str, Tensor]) -> str:
    """Return what makes the head of a file the classifier, where one can be."""
    if HEAD in tensors and tensors[HEAD].shape[1:] == (HEAD_CHANNELS, 1, 1):
        return f"A 1x1 convolution is a linear layer: d[{HEAD!r}] = d[{HEAD!r}].flatten(1) before saving."
    heads = [
        name for name, tensor in tensors.items()
        if not name.startswith(("blocks.", "conv_head.")) and tensor.dim() == 2
    ]  # fmt: skip
    if len(heads) != 1 or tensors[heads[0]].shape[1] != HEAD_CHANNELS:
        return (
            f"Its head has to be one linear layer of {HEAD_CHANNELS} features, called 'classifier'. Put one on the "
            "network and save it again."
        )
    name = heads[0].removesuffix(".weight")
    rename = f"d[{HEAD!r}] = d.pop({heads[0]!r}); d[{BIAS!r}] = " + (
        f"d.pop({f'{name}.bias'!r})" if f"{name}.bias" in tensors else f"torch.zeros({len(tensors[heads[0]])})"
    )
    return (
        f"If {name[:80]!r} is one linear layer and nothing else changes the features, rename it before saving: {rename}"
    )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(name[:80] for name in listed[:SHOWN]) + more


def shape(tensor: Tensor) -> str:
    """Return the shape of a tensor in words, e.g. "8x3x3x3"."""
    return "x".join(str(size) for size in tensor.shape) or "a scalar"
