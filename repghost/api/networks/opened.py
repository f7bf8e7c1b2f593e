"""Networks as people have them, and networks by name: modules, checkpoints, ONNX files, timm's and torchvision's."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn
from torch.optim.swa_utils import AveragedModel

from calib.importer.import_module import import_module
from calib.importer.libraries.named import imagenet_labels
from calib.importer.names import ONNX, is_named
from calib.importer.onnx_file import is_quantized
from calib.importer.open_network import FloatNetwork, NetworkSource, open_network
from calib.qat.network import QatNetwork
from repghost.api.shown.notes import warn_of
from repghost.data.images.chosen_preprocess import resized
from repghost.data.images.preprocess import IMAGENET, Preprocess, read_preprocess
from repghost.errors import UsageError, option
from repghost.evaluation.classes import numbered_labels, refuse_other_names
from repghost.graph.digest import graph_digest
from repghost.graph.trace import graph_of
from repghost.network.fuse import fused
from repghost.network.model import RepGhostNet
from repghost.sizes import Size, sides

NetworkLike: TypeAlias = nn.Module | FloatNetwork | str | os.PathLike[str]
# A Preprocess, its JSON file or dictionary, timm's pretrained_cfg, or a transform of torchvision.
PreprocessLike: TypeAlias = Any
IMAGENET_CLASSES = 1000
MOST_LETTERS = 64
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
TRAINING_NOTE = (
    "the network is in training mode, and was run as in evaluation mode; it stays as it is, net.eval() changes it"
)


def open_float(
    network: NetworkLike,
    preprocess: PreprocessLike = None,
    labels: Sequence[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    size: Size | None = None,
    width: str | None = None,
) -> FloatNetwork:
    """Return a float network with its graph and all that is known about it.

    Args:
        network: a module, a checkpoint or an ONNX file, "timm:NAME" or "torchvision:NAME".
        preprocess: how its images are prepared, where the network does not say or says it wrongly.
        labels: the names of its classes in the order of the logits, likewise.
        weights: of a name: a weight file, or "pretrained".
        size: pixels of its images, instead of the network's own.
        width: of a RepGhostNet in a file; another one is refused. Chooses the published weights of "timm".

    Raises:
        UsageError: when it cannot be read, or nothing says how its images are prepared.
    """
    given = None if preprocess is None else read_as_preprocess(preprocess)
    if isinstance(network, nn.Module):
        return _from_module(unwrapped(network), given, labels, size)
    elif isinstance(network, FloatNetwork):
        found = network if given is None else replace(network, preprocess=given)
    elif isinstance(network, str | os.PathLike):
        _refuse_quantized(str(network))
        said = None if weights is None else str(weights)
        found = open_network(NetworkSource(str(network), said, width, size, given))
    else:
        raise UsageError(
            "a network is a torch module, the path of a checkpoint or an ONNX file, or a name like "
            f"'timm:mobilenetv3_large_100', not {type(network).__name__}."
        )
    return found if labels is None else replace(found, labels=given_labels(labels, found.classes, found.labels))


def _refuse_quantized(network: str) -> None:
    """Refuse a file whose weights lie on their int8 steps already, and would be rounded a second time.

    Raises:
        UsageError: with what takes it.
    """
    if network.endswith(ONNX) and not is_named(network) and Path(network).is_file() and is_quantized(Path(network)):
        raise UsageError(
            f"{network} is quantized already: compile, evaluate, predict and explain take it. Give the float network "
            "that it was made of."
        )


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the network behind what computes the same: `torch.compile`, an average of weights, data parallelism."""
    while True:
        if isinstance(module, WRAPPERS):
            module = module.module
        elif isinstance(inner := module._modules.get("_orig_mod"), nn.Module):
            module = inner
        else:
            return module


def read_as_preprocess(given: PreprocessLike) -> Preprocess:
    """Return a Preprocess from what says how images are prepared.

    Args:
        given: the value itself, its JSON file or dictionary, timm's `pretrained_cfg`, or a transform of torchvision.

    Raises:
        UsageError: when it is none of these, or says what is not known here.
    """
    if isinstance(given, Preprocess):
        return given
    if isinstance(given, str | os.PathLike):
        return read_preprocess(Path(given))
    if isinstance(given, Mapping):
        return Preprocess.from_dict(given) if "version" in given else Preprocess.from_timm(given)
    if hasattr(given, "input_size") and hasattr(given, "crop_pct"):  # timm's dataclass
        return Preprocess.from_timm(given)
    return Preprocess.from_torchvision(given)


def given_labels(labels: Sequence[str], classes: int, own: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the class names that a caller gives for a network that does not say them.

    Args:
        labels: given.
        classes: how many there are.
        own: what the network says.

    Raises:
        UsageError: when they are not one name for each class, or not those that the network says.
    """
    names = tuple(labels)
    if isinstance(labels, str) or not all(isinstance(name, str) for name in names) or len(names) != classes:
        raise UsageError(
            f"{option('labels')} is a list of {classes} names, one for each class of the network, not {len(names)}."
        )
    if own is not None and own != numbered_labels(classes):
        refuse_other_names("labels", names, own)
    return names


def with_facts(model: nn.Module, preprocess: Preprocess | None, labels: Sequence[str] | None) -> nn.Module:
    """Return a module that remembers how its images are prepared and what its classes are called."""
    model.__dict__["preprocess"] = preprocess
    model.__dict__["labels"] = None if labels is None else tuple(labels)
    return model


def preprocess_of(module: nn.Module, given: Preprocess | None = None) -> Preprocess:
    """Return how the images of a module are prepared: as given, as `create_model` left it, or as timm says.

    Raises:
        UsageError: when nothing says it, or it is for images of other channels.
    """
    found = given or module.__dict__.get("preprocess")
    if not isinstance(found, Preprocess):
        config = getattr(module, "pretrained_cfg", None)
        if config:
            found = Preprocess.from_timm(config)
        elif isinstance(module, RepGhostNet) and module.num_classes == IMAGENET_CLASSES:
            found = IMAGENET
        else:
            raise UsageError(
                f"nothing says how the pictures of this {type(module).__name__} are prepared. Give preprocess=, e.g. "
                "repghost.Preprocess(size=224, resize=256), or preprocess=weights.transforms() of torchvision."
            )
    channels = channels_of(module)
    if channels not in (None, found.channels):
        raise UsageError(
            f"the network takes {channels} colours, and its pictures are prepared with {found.channels}. Give "
            "preprocess= a repghost.Preprocess with as many numbers in mean and std."
        )
    return found


def known_labels(module: nn.Module, classes: int, given: Sequence[str] | None = None) -> tuple[str, ...] | None:
    """Return the names of a module's classes; None where nothing says them.

    Args:
        module: one of `with_facts` says them itself; timm's configuration only what they usually are.
        classes: how many there are.
        given: by the caller.

    Raises:
        UsageError: as `given_labels`.
    """
    names = module.__dict__.get("labels")
    if given is not None:
        return given_labels(given, classes, names)
    if names is None:
        config = getattr(module, "pretrained_cfg", None)
        said = config if isinstance(config, Mapping) else getattr(config, "__dict__", {})
        names = said.get("label_names")
        if names is None and said.get("num_classes") == IMAGENET_CLASSES == classes:
            names = imagenet_labels()
    return tuple(names) if names is not None and len(names) == classes else None


def name_of(module: nn.Module) -> str:
    """Return what a module is called: its architecture by timm, or its class; letters, digits, "_" and "-"."""
    if isinstance(module, RepGhostNet):
        return module.spec.name
    config = getattr(module, "pretrained_cfg", None)
    said = config if isinstance(config, Mapping) else getattr(config, "__dict__", {})
    name = str(said.get("architecture") or type(module).__name__)
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:MOST_LETTERS].strip("-") or "network"


def channels_of(module: nn.Module) -> int | None:
    """Return the channels of a module's images, by its first convolution; None where there is none."""
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    return None if first is None else first.in_channels


def refuse_without_values(module: nn.Module) -> None:
    """Refuse a module on the device 'meta'.

    Raises:
        UsageError: with the line that mends it.
    """
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise UsageError(
            "the network is on the device 'meta', so its weights have no values; load them first, e.g. "
            "net.to_empty(device='cpu') and net.load_state_dict(...)."
        )


def warn_of_training(module: nn.Module) -> None:
    """Warn of a module in training mode, whose batch norms and dropout are read as in evaluation mode."""
    warn_of([TRAINING_NOTE] if module.training else [])


def _from_module(
    module: nn.Module, given: Preprocess | None, labels: Sequence[str] | None, size: Size | None
) -> FloatNetwork:
    """Return the graph of a module, which stays as it is, on whatever device and in whatever mode."""
    refuse_without_values(module)
    if isinstance(module, QatNetwork):
        raise UsageError(
            "the module is under quantization already; repghost.convert(module) gives its int8 network, and "
            "module.float_state_dict() its float weights."
        )
    preprocess = resized(preprocess_of(module, given), size)
    warn_of_training(module)
    name, notes = name_of(module), tuple[str, ...]()
    if isinstance(module, RepGhostNet):
        model = copy.deepcopy(module).cpu().float().eval()
        graph, classes = graph_of(fused(model)), model.num_classes
    else:
        imported = import_module(module, sides(preprocess.size), preprocess.channels, name)
        model, graph, classes, notes = None, imported.graph, imported.classes, imported.notes
    digest = graph_digest(graph)
    return FloatNetwork(
        name=name,
        digest=digest,
        origin={"kind": "module", "source": type(module).__name__, "sha256": digest},
        graph=graph,
        classes=classes,
        labels=known_labels(module, classes, labels),
        preprocess=preprocess,
        notes=notes,
        model=model,
    )
