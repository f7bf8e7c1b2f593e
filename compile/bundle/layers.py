"""The layers that a manifest lists, as typed rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compile.passes.layers import UNKNOWN_KERNEL, Layer
from repghost.errors import IntegrityError

if TYPE_CHECKING:
    from compile.bundle.manifest import Bundle


def bundle_layers(bundle: Bundle, variant: str) -> tuple[Layer, ...]:
    """Return the layers of a bundle in execution order, with the kernels of one instruction set.

    Args:
        bundle: from `compile.bundle.manifest.check_bundle`.
        variant: one of its instruction sets.

    Raises:
        IntegrityError: when the manifest holds something else.
    """
    try:
        return tuple(_read_layer(dict(entry), variant) for entry in bundle.manifest["layers"])
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{bundle.path}: the manifest's layers are not as they were written ({error}).") from error


def _read_layer(entry: dict[str, Any], variant: str) -> Layer:
    height, width, channels = (int(side) for side in entry["input"])
    rows, columns, depth = (int(side) for side in entry["output"])
    return Layer(
        name=str(entry["name"]),
        operator=str(entry["operator"]),
        input=(height, width, channels),
        output=(rows, columns, depth),
        macs=int(entry["macs"]),
        weight_bytes=int(entry["weight_bytes"]),
        arithmetic=str(entry["arithmetic"]),
        kernel=str(entry["kernels"].get(variant, UNKNOWN_KERNEL)),
    )
