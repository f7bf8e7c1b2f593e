"""Networks by name, and of a weight file: `repghost.create_model`, `list_models` and `load_model`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import nn

from calib.importer.libraries.named import create_network, full_name, imagenet_labels, load_named, look_up
from calib.importer.names import PRETRAINED, TIMM, TORCHVISION, is_named
from repghost.api.networks.opened import with_facts
from repghost.checkpoints.checkpoint import build_model, read_checkpoint
from repghost.checkpoints.timm_hub import fetch
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.hub.address import is_address
from repghost.network.features import FeatureMaps
from repghost.network.model import RepGhostNet
from repghost.network.spec import WIDTHS, Branches, Form, parse_width


def create_model(
    name: str | float,
    pretrained: bool = False,
    features_only: bool = False,
    *,
    out_indices: Sequence[int] | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    dropout: float | None = None,
    shortcut: bool | None = None,
    enable_se: bool | None = None,
    deploy: bool | None = None,
    branches: Branches | None = None,
) -> nn.Module:
    """Return a network by name, in evaluation mode, with its preprocessing where that is known.

    Args:
        name: repghostnet_0_5x, repghostnet_050, 0.5 or any other width of RepGhostNet; "timm:NAME" or
            "torchvision:NAME" (`list_models` lists them); "hf://USER/NAME", a RepGhostNet on the Hugging Face hub.
        pretrained: with the weights that timm or torchvision publish, or those at hf://; False: random ones.
        features_only: feature maps instead of logits, for detectors and the like: of a RepGhostNet by stride,
            {"4": [N, C, H / 4, W / 4], ...}, of timm's a list.
        out_indices: with features_only: a list of the maps at these places among the strides 2, 4, 8, 16 and 32, and
            what timm's networks have, `feature_info`.
        num_classes: of the classifier, which then begins at random; None: the network's own.
        in_chans: channels of the images of a RepGhostNet; it and what follows as in `repghost.RepGhostNet`.
        dropout: probability before its classifier.
        shortcut: its identity shortcuts.
        enable_se: its squeeze-excite blocks.
        deploy: build the converted form.
        branches: beside each of its depthwise convolutions: "bn", "identity", "both" or "none".

    Returns:
        a module that takes float32 [N, C, H, W], normalized, and gives logits [N, num_classes].

    Raises:
        UsageError: for an unknown name or option, or weights that nobody publishes.
        RepGhostError: when the weights cannot be fetched.
    """
    options: dict[str, Any] = {
        "num_classes": num_classes, "in_chans": in_chans, "dropout": dropout, "shortcut": shortcut,
        "enable_se": enable_se, "deploy": deploy, "branches": branches,
    }  # fmt: skip
    options = {key: value for key, value in options.items() if value is not None}
    if out_indices is not None and not features_only:
        raise UsageError("out_indices= belongs to features_only=True, which is not given.")
    if isinstance(name, str) and is_named(name):
        if out_indices is not None:
            raise UsageError("out_indices= is for RepGhostNet; give timm's networks to timm.create_model.")
        return _of_library(name, pretrained, features_only, options)
    found = read_checkpoint(Path(str(name))) if is_address(name) else None
    width = _width_of(name) if found is None else found.spec.width
    if found is not None:
        options.setdefault("num_classes", found.spec.num_classes)
    if features_only:
        from repghost.detection.pyramid import RepGhostFeatures

        model = create_model(name, pretrained, **options)
        assert isinstance(model, RepGhostNet)
        maps = RepGhostFeatures(model) if out_indices is None else FeatureMaps(model, out_indices)
        return with_facts(maps.eval(), model.__dict__.get("preprocess"), None)
    if not pretrained:
        return RepGhostNet(width=width, **options).eval()
    checkpoint = found or fetch(width)
    classes = options.pop("num_classes", checkpoint.spec.num_classes)
    if options:
        raise UsageError(f"published weights fix {', '.join(map(repr, options))}; leave it out, or pretrained=True.")
    model = build_model(checkpoint).eval()
    preprocess = Preprocess.from_dict(checkpoint.preprocess) if checkpoint.preprocess else None
    if classes != checkpoint.spec.num_classes:
        model.reset_classifier(classes)
        return with_facts(model, preprocess, None)
    return with_facts(model, preprocess, checkpoint.labels or (None if found else imagenet_labels()))


def list_models(pattern: str = "*") -> list[str]:
    """Return the names that `create_model` takes: the published widths of RepGhostNet, then timm's, then torchvision's.

    Args:
        pattern: which of them, with or without the library, e.g. "timm:mobilenetv3*" or "mobilenetv3*"; * stands for
            anything.
    """
    from calib.importer.libraries import from_timm, from_torchvision

    names = [row.name for row in WIDTHS]
    names += [f"{TIMM}:{name}" for name in from_timm.names()]
    names += [f"{TORCHVISION}:{name}" for name in from_torchvision.names()]
    return [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name.partition(":")[2], pattern)]


def _width_of(name: str | float) -> float:
    """Return the width of a RepGhostNet that is given by its name.

    Raises:
        UsageError: for any other name, with the library that has it.
    """
    try:
        return parse_width(name, custom=True)
    except UsageError:
        text = str(name)
        if not text[:1].isalpha() or text.lower().startswith("repghostnet"):
            raise
        known = full_name(text)
    if known is not None:
        raise UsageError(f"unknown network {text!r}. Did you mean {known!r}?")
    raise UsageError(
        f"unknown network {text!r}: allowed are RepGhostNets by width, as repghostnet_0_5x or 0.5, and timm:NAME, "
        f"torchvision:NAME and hf://USER/NAME. repghost.list_models('*{text}*') lists names with a word."
    )


def _of_library(name: str, pretrained: bool, features_only: bool, options: dict[str, Any]) -> nn.Module:
    """Return a network of timm or torchvision."""
    classes = options.pop("num_classes", None)
    if options:
        raise UsageError(
            f"{', '.join(map(repr, options))} cannot be chosen here; call {name.partition(':')[0]}'s own function, and "
            "give what it returns to any function of repghost."
        )
    if features_only:
        return _feature_maps(name, pretrained)
    if pretrained:
        named = load_named(name, PRETRAINED)
        model, labels = named.module, named.labels
        if classes is not None and classes != getattr(model, "num_classes", None):
            reset = getattr(model, "reset_classifier", None)
            if not callable(reset):
                raise UsageError(f"{name} has no method that changes its classes; leave num_classes out.")
            reset(classes)
            labels = None
        return with_facts(model.eval(), named.preprocess, labels)
    library, network = look_up(name)
    return with_facts(create_network(name, classes), library.recipe(network).preprocess, None)


def _feature_maps(name: str, pretrained: bool) -> nn.Module:
    """Return a network of timm that gives its feature maps.

    Raises:
        UsageError: for one of torchvision, or one whose maps timm names otherwise than its weights.
    """
    library, network = look_up(name)
    if not name.startswith(f"{TIMM}:"):
        raise UsageError(
            f"{name} has no feature maps here; torchvision.models.feature_extraction.create_feature_extractor takes "
            "what repghost.create_model returns."
        )
    import timm

    maps: nn.Module = timm.create_model(network, pretrained=False, features_only=True)
    if pretrained:
        weights = load_named(name, PRETRAINED).module.state_dict()
        missing = maps.load_state_dict(weights, strict=False).missing_keys
        if missing:
            raise UsageError(f"timm calls the feature maps of {name} otherwise; use timm.create_model for them.")
    return with_facts(maps.eval(), library.recipe(network).preprocess, None)


def load_model(
    path: str | os.PathLike[str],
    *,
    width: float | None = None,
    form: Form | None = None,
    branches: Branches | None = None,
    prefer_ema: bool = True,
) -> RepGhostNet:
    """Return the network of a weight file in evaluation mode, with its preprocessing and labels where they are known.

    Args:
        path: the file; it and what follows as in `repghost.read_checkpoint`.
        width: refuse another width.
        form: refuse another form.
        branches: of a train form that does not tell.
        prefer_ema: take the averaged weights where there are both kinds.

    Raises:
        UsageError: as `repghost.read_checkpoint` does.
    """
    found = read_checkpoint(Path(path), width=width, form=form, branches=branches, prefer_ema=prefer_ema)
    model = build_model(found)
    with_facts(model, Preprocess.from_dict(found.preprocess) if found.preprocess else None, found.labels)
    return model
