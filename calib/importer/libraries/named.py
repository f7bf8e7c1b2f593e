"""Networks of timm and torchvision by name, with weights of a file or the published ones.

A name is looked up in the library's own list, so nothing that it spells is loaded or run; weights are read by
`repghost.checkpoints`, wherever they are from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from calib.importer.libraries.library import Library, Recipe
from calib.importer.libraries.weights import classes_of, fitted
from repghost.checkpoints.weight_files import parse_weights, read_file_bytes
from repghost.checkpoints.weight_names import averaged_note
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError, option, unknown_value

TIMM, TORCHVISION = "timm", "torchvision"
PRETRAINED = "pretrained"  # the published weights, instead of a file


@dataclass(frozen=True, eq=False)
class Named:
    """A network of a library.

    Attributes:
        module: in evaluation mode, with its weights.
        preprocess: as the library prepares images for it.
        labels: names of the classes, None where nothing says what they are.
        source: where the weights are from: a file's name, a repository or an address.
        notes: what the user should know, one sentence each.
    """

    module: nn.Module
    preprocess: Preprocess
    labels: tuple[str, ...] | None
    source: str
    notes: tuple[str, ...] = ()


def load_named(name: str, weights: str | Path, num_classes: int | None = None) -> Named:
    """Return a network of a library with its weights.

    Args:
        name: "timm:NAME" or "torchvision:NAME".
        weights: a weight file (.safetensors, .pt, .pth), or "pretrained".
        num_classes: of the network; None takes what the weights have.

    Raises:
        UsageError: when there is no such network, the weights do not fit it, or cannot be fetched.
    """
    library, network = look_up(name)
    recipe = library.recipe(network)
    published = str(weights) == PRETRAINED
    path = _fetched(name, recipe) if published else Path(weights)
    content = parse_weights(read_file_bytes(path), path)
    note = averaged_note(content.notes)
    plain = create_network(name)
    try:
        classes = num_classes or classes_of(content.tensors, plain)
        module = plain if classes in (None, recipe.classes) else create_network(name, classes)
        _load(module, fitted(content.tensors, module, name))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    labels = imagenet_labels() if recipe.imagenet and classes in (None, recipe.classes) else None
    notes = (note,) if note else ()
    return Named(module, recipe.preprocess, labels, recipe.source if published else path.name, notes)


def create_network(name: str, classes: int | None = None) -> nn.Module:
    """Return a network in evaluation mode with random weights.

    Args:
        name: "timm:NAME" or "torchvision:NAME".
        classes: how many its last layer tells apart; None takes the library's number.

    Raises:
        UsageError: when there is no such network.
    """
    library, network = look_up(name)
    try:
        return library.create(network, classes).eval()
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        raise UsageError(f"{name} cannot be made: {error}. Export it to ONNX yourself and give the file.") from error


def look_up(name: str) -> tuple[Library, str]:
    """Return the library and its own name of a network.

    Raises:
        UsageError: when the library has no such network.
    """
    kind, _, network = name.partition(":")
    if kind == TIMM:
        from calib.importer.libraries.from_timm import LIBRARY
    elif kind == TORCHVISION:
        from calib.importer.libraries.from_torchvision import LIBRARY
    else:
        raise unknown_value("library", kind, (TIMM, TORCHVISION))
    known = LIBRARY.names()
    if network not in known:
        raise unknown_value(f"network of {kind}", network, known)
    return LIBRARY, network


def full_name(network: str) -> str | None:
    """Return "timm:NAME" or "torchvision:NAME" of a name that was given without its library; None of any other."""
    from calib.importer.libraries import from_timm, from_torchvision

    libraries = {TIMM: from_timm.LIBRARY, TORCHVISION: from_torchvision.LIBRARY}
    return next((f"{kind}:{network}" for kind, library in libraries.items() if network in library.names()), None)


def imagenet_labels() -> tuple[str, ...]:
    """Return what the folders of ImageNet-1k are called, in the order in which networks are trained on them."""
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo("imagenet-1k").label_names())


def _fetched(name: str, recipe: Recipe) -> Path:
    if not recipe.source:
        raise UsageError(f"there are no published weights of {name}; give a file: {option('weights', 'FILE')}.")
    try:
        return recipe.fetch()
    except Exception as error:  # the hub's client raises its own, its transport's and the system's errors
        reason = error.__cause__ or error  # without the advice that follows here, too
        line = (str(reason).strip().splitlines() or [type(reason).__name__])[0]
        raise UsageError(
            f"the weights of {name} could not be fetched from {recipe.source} ({line[:200]}). Check the network; or "
            f"fetch the file on another machine and give it: {option('weights', 'FILE')}."
        ) from error


def _load(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    module.load_state_dict(dict(tensors), strict=False)  # what may be absent was decided before
