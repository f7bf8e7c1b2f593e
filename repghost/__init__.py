"""RepGhostNet on small devices: train, fuse, quantize, compile, verify, deploy.

The names below are imported when they are first used, so that `import repghost` alone needs neither torch nor TVM.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from repghost.version import __version__

if TYPE_CHECKING:
    from compile.bundle.host_model import load as load
    from repghost.checkpoints.checkpoint import load_model as load_model
    from repghost.checkpoints.checkpoint import read_checkpoint as read_checkpoint
    from repghost.data.images.preprocess import Preprocess as Preprocess
    from repghost.network.model import RepGhostNet as RepGhostNet
    from repghost.network.model import create_model as create_model


_LAZY = {
    "Preprocess": "repghost.data.images.preprocess",
    "RepGhostNet": "repghost.network.model",
    "create_model": "repghost.network.model",
    "load": "compile.bundle.host_model",
    "load_model": "repghost.checkpoints.checkpoint",
    "read_checkpoint": "repghost.checkpoints.checkpoint",
}

__all__ = ["Preprocess", "RepGhostNet", "__version__", "create_model", "load", "load_model", "read_checkpoint"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'repghost' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, also those not imported yet."""
    return sorted(__all__)
