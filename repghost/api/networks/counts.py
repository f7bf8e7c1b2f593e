"""Multiply-adds and parameters: `repghost.flops`, of RepGhostNet in every form beside its published figures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from calib.importer.libraries.named import create_network
from calib.importer.names import is_named
from repghost.api.networks.opened import channels_of, name_of
from repghost.checkpoints.checkpoint import read_checkpoint
from repghost.errors import UsageError, option
from repghost.network.flops import DEFAULT_SIZE, NetworkCount, count, count_forms
from repghost.network.model import RepGhostNet
from repghost.network.spec import README, WIDTHS, Form, ModelSpec, find_width, parse_width
from repghost.terminal import Shown

CLASSES = 1000
# A width or a name of `create_model`, or a module of any kind.
CountedLike: TypeAlias = str | float | nn.Module
HEADER = (
    f"{'model':<18}{'MACs':>13}{'upstream FLOPs':>16}{'(converted)':>13}{'params':>11}{'converted':>11}{'fused':>11}"
    f"{'published':>14}"
)
NOTE = (
    "MACs: multiply-adds of convolutions and linear layers. upstream FLOPs: its counter, which adds one per output of\n"
    "a convolution with bias and so rises by conversion. params: batch norms included, as published.\n"
    "published: params / FLOPs in millions, upstream's readme, train form, 224 px, 1000 classes."
)


@dataclass(frozen=True, repr=False)
class Counts(Shown):
    """Multiply-adds and parameters of networks for one image.

    Attributes:
        rows: JSON values, one for each network: "macs", "params" by form ("given" of what is no RepGhostNet),
            "upstream_flops", the figures its authors published, and "layers" where they were asked for.
    """

    rows: tuple[Mapping[str, Any], ...]

    def __repr__(self) -> str:
        lines = [HEADER]
        for row in self.rows:
            lines.append(_line(row))
            for layer in row.get("layers", ()):
                shape = "x".join(str(side) for side in layer["output"])
                lines.append(f"  {layer['name']:<42}{shape:>14}{layer['macs']:>13}{layer['params']:>11}")
        return "\n".join([*lines, NOTE])

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"networks": [dict(row) for row in self.rows]}


def flops(
    networks: CountedLike | Sequence[CountedLike] = (),
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    size: int = DEFAULT_SIZE,
    classes: int = CLASSES,
    layers: bool = False,
) -> Counts:
    """Return multiply-adds and parameters of networks: of a RepGhostNet in train, converted and fused form.

    Args:
        networks: a width, e.g. "0.5", "timm:NAME", a torch module, or several; none: the eight published widths.
        checkpoint: a weight file of a RepGhostNet instead.
        size: side of the image, pixels.
        classes: of a width.
        layers: keep every layer, of a RepGhostNet those of the fused form.

    Raises:
        UsageError: for an unknown width, networks and a checkpoint at once, or images that do not fit a network.
    """
    given = [networks] if isinstance(networks, str | float | int | nn.Module) else list(networks)
    if checkpoint is not None:
        if given:
            raise UsageError(f"give widths or {option('checkpoint')}, not both.")
        return Counts((_counted(read_checkpoint(Path(checkpoint)).spec, size, layers),))
    found = given or [row.multiplier for row in WIDTHS]
    return Counts(tuple(_row(network, size, classes, layers) for network in found))


def _row(network: CountedLike, size: int, classes: int, layers: bool) -> dict[str, Any]:
    """Return the counts of one network."""
    if isinstance(network, RepGhostNet):
        return _counted(network.spec, size, layers)
    if isinstance(network, str) and is_named(network):
        network = create_network(network)
    if not isinstance(network, nn.Module):
        return _counted(ModelSpec(parse_width(network, custom=True), classes), size, layers)
    counted = count(network, (channels_of(network) or 3, size, size))
    row = {"model": name_of(network), "size": size, "macs": counted.macs, "params": {"given": counted.params}}
    return row | ({"layers": _layers(counted)} if layers else {})


def _counted(spec: ModelSpec, size: int, layers: bool) -> dict[str, Any]:
    """Return the counts of a RepGhostNet in its three forms."""
    forms: dict[Form, NetworkCount] = count_forms(spec, size)
    row: dict[str, Any] = {
        "model": spec.name,
        "width": spec.width,
        "size": size,
        "num_classes": spec.num_classes,
        "macs": forms["fused"].macs,
        "upstream_flops": {"train": forms["train"].upstream_flops, "deploy": forms["deploy"].upstream_flops},
        "params": {form: counted.params for form, counted in forms.items()},
        "params_without_batch_norm": forms["train"].layer_params,
    }
    published = find_width(spec.width)
    if published is not None:
        figures = {"params_millions": published.params_millions, "flops_millions": published.flops_millions}
        row["published"] = {**figures, "source": README, "size": 224, "num_classes": 1000}
    return row | ({"layers": _layers(forms["fused"])} if layers else {})


def _layers(counted: NetworkCount) -> list[dict[str, Any]]:
    return [
        {"name": layer.name, "output": list(layer.output_shape), "macs": layer.macs, "params": layer.params}
        for layer in counted.layers
    ]


def _line(row: Mapping[str, Any]) -> str:
    """Return the line of a network; what is no RepGhostNet has one form."""
    published, flops, params = row.get("published"), row.get("upstream_flops", {}), row["params"]
    figures = f"{published['params_millions']} / {published['flops_millions']}" if published else "-"
    first = params.get("train", params.get("given"))
    return (
        f"{row['model']:<18}{row['macs']:>13}{flops.get('train', '-'):>16}{flops.get('deploy', '-'):>13}{first:>11}"
        f"{params.get('deploy', '-'):>11}{params.get('fused', '-'):>11}{figures:>14}"
    )
