"""RepGhostNet and other classifiers on small devices: train, fuse, quantize, compile, verify, deploy.

Everything in `__all__` is public and documented in docs/api.md; everything else may change. The names are imported
when they are first used, so that `import repghost` alone needs neither numpy nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from repghost.version import __version__

if TYPE_CHECKING:
    from calib.settings.config import LayerSettings as LayerSettings
    from calib.settings.config import QuantConfig as QuantConfig
    from repghost.api.benchmarks import Benchmark as Benchmark
    from repghost.api.benchmarks import bench as bench
    from repghost.api.boards import deploy as deploy
    from repghost.api.boards import verify as verify
    from repghost.api.compiled import CompiledBundle as CompiledBundle
    from repghost.api.compiled import compile as compile
    from repghost.api.conversion import export as export
    from repghost.api.conversion import fuse as fuse
    from repghost.api.creation import create_model as create_model
    from repghost.api.creation import list_models as list_models
    from repghost.api.dataset import Dataset as Dataset
    from repghost.api.dataset import open_dataset as open_dataset
    from repghost.api.evaluation import compare as compare
    from repghost.api.evaluation import evaluate as evaluate
    from repghost.api.explanation import Explanation as Explanation
    from repghost.api.explanation import explain as explain
    from repghost.api.models import Model as Model
    from repghost.api.models import load as load
    from repghost.api.quantized import QuantizedNetwork as QuantizedNetwork
    from repghost.api.quantized import quantize as quantize
    from repghost.api.reports import Report as Report
    from repghost.api.reports import report as report
    from repghost.api.shown.results import Comparison as Comparison
    from repghost.api.shown.results import Evaluation as Evaluation
    from repghost.api.training.module import QatModule as QatModule
    from repghost.api.training.module import convert as convert
    from repghost.api.training.module import prepare_qat as prepare_qat
    from repghost.api.training.train import train_quantized as train_quantized
    from repghost.checkpoints.checkpoint import load_model as load_model
    from repghost.checkpoints.checkpoint import read_checkpoint as read_checkpoint
    from repghost.data.images.preprocess import Preprocess as Preprocess
    from repghost.network.model import RepGhostNet as RepGhostNet

# A row per public name: where it lives. Each is imported on first use.
_LAZY = {
    "Benchmark": "repghost.api.benchmarks",
    "Comparison": "repghost.api.shown.results",
    "CompiledBundle": "repghost.api.compiled",
    "Dataset": "repghost.api.dataset",
    "Evaluation": "repghost.api.shown.results",
    "Explanation": "repghost.api.explanation",
    "LayerSettings": "calib.settings.config",
    "Model": "repghost.api.models",
    "Preprocess": "repghost.data.images.preprocess",
    "QatModule": "repghost.api.training.module",
    "QuantConfig": "calib.settings.config",
    "QuantizedNetwork": "repghost.api.quantized",
    "RepGhostNet": "repghost.network.model",
    "Report": "repghost.api.reports",
    "bench": "repghost.api.benchmarks",
    "compare": "repghost.api.evaluation",
    "compile": "repghost.api.compiled",
    "convert": "repghost.api.training.module",
    "create_model": "repghost.api.creation",
    "deploy": "repghost.api.boards",
    "evaluate": "repghost.api.evaluation",
    "explain": "repghost.api.explanation",
    "export": "repghost.api.conversion",
    "fuse": "repghost.api.conversion",
    "list_models": "repghost.api.creation",
    "load": "repghost.api.models",
    "load_model": "repghost.checkpoints.checkpoint",
    "open_dataset": "repghost.api.dataset",
    "prepare_qat": "repghost.api.training.module",
    "quantize": "repghost.api.quantized",
    "read_checkpoint": "repghost.checkpoints.checkpoint",
    "report": "repghost.api.reports",
    "train_quantized": "repghost.api.training.train",
    "verify": "repghost.api.boards",
}

__all__ = [
    "Benchmark",
    "Comparison",
    "CompiledBundle",
    "Dataset",
    "Evaluation",
    "Explanation",
    "LayerSettings",
    "Model",
    "Preprocess",
    "QatModule",
    "QuantConfig",
    "QuantizedNetwork",
    "RepGhostNet",
    "Report",
    "__version__",
    "bench",
    "compare",
    "compile",
    "convert",
    "create_model",
    "deploy",
    "evaluate",
    "explain",
    "export",
    "fuse",
    "list_models",
    "load",
    "load_model",
    "open_dataset",
    "prepare_qat",
    "quantize",
    "read_checkpoint",
    "report",
    "train_quantized",
    "verify",
]


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
