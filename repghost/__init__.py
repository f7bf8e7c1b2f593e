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
    from compile.bundle.verification import Verification as Verification
    from compile.deploy.install import Deployment as Deployment
    from compile.deploy.inventory import Inventory as Inventory
    from compile.deploy.rollback import Rollback as Rollback
    from compile.oci.layout import PackedImage as PackedImage
    from repghost.api.benchmarks.arguments import Benchmark as Benchmark
    from repghost.api.benchmarks.bench import bench as bench
    from repghost.api.boards.advice import BoardAdvice as BoardAdvice
    from repghost.api.boards.advice import advise as advise
    from repghost.api.boards.deployment import deploy as deploy
    from repghost.api.boards.deployment import rollback as rollback
    from repghost.api.boards.deployment import sign as sign
    from repghost.api.boards.deployment import status as status
    from repghost.api.boards.deployment import verify as verify
    from repghost.api.boards.diagnosis import Diagnosis as Diagnosis
    from repghost.api.boards.diagnosis import doctor as doctor
    from repghost.api.boards.submission import Submitted as Submitted
    from repghost.api.boards.submission import submit as submit
    from repghost.api.compiled import CompiledBundle as CompiledBundle
    from repghost.api.compiled import compile as compile
    from repghost.api.dataset import Dataset as Dataset
    from repghost.api.dataset import open_dataset as open_dataset
    from repghost.api.demo import Demo as Demo
    from repghost.api.demo import demo as demo
    from repghost.api.evaluation import compare as compare
    from repghost.api.evaluation import evaluate as evaluate
    from repghost.api.evidence import AccuracyEvidence as AccuracyEvidence
    from repghost.api.evidence import accuracy as accuracy
    from repghost.api.explanation import Explanation as Explanation
    from repghost.api.explanation import explain as explain
    from repghost.api.linting import Lint as Lint
    from repghost.api.linting import lint as lint
    from repghost.api.models import Model as Model
    from repghost.api.models import load as load
    from repghost.api.networks.conversion import Exported as Exported
    from repghost.api.networks.conversion import export as export
    from repghost.api.networks.conversion import fuse as fuse
    from repghost.api.networks.counts import Counts as Counts
    from repghost.api.networks.counts import flops as flops
    from repghost.api.networks.creation import create_model as create_model
    from repghost.api.networks.creation import list_models as list_models
    from repghost.api.networks.creation import load_model as load_model
    from repghost.api.prediction import Predictions as Predictions
    from repghost.api.prediction import predict as predict
    from repghost.api.publishing.containers import pack as pack
    from repghost.api.publishing.pulling import Pulled as Pulled
    from repghost.api.publishing.pulling import pull as pull
    from repghost.api.publishing.pushing import Pushed as Pushed
    from repghost.api.publishing.pushing import push as push
    from repghost.api.quantization import quantize as quantize
    from repghost.api.quantized import QuantizedNetwork as QuantizedNetwork
    from repghost.api.reports import Report as Report
    from repghost.api.reports import report as report
    from repghost.api.sensitivity import LayerSensitivities as LayerSensitivities
    from repghost.api.shown.results import Comparison as Comparison
    from repghost.api.shown.results import Evaluation as Evaluation
    from repghost.api.shown.validated import Validated as Validated
    from repghost.api.shown.validated import ValidatedWidths as ValidatedWidths
    from repghost.api.training.detection import evaluate_detector as evaluate_detector
    from repghost.api.training.detection import export_detector as export_detector
    from repghost.api.training.detection import train_detector as train_detector
    from repghost.api.training.detectors import DetectorEvaluation as DetectorEvaluation
    from repghost.api.training.detectors import ExportedDetector as ExportedDetector
    from repghost.api.training.detectors import TrainedDetector as TrainedDetector
    from repghost.api.training.float_training import train as train
    from repghost.api.training.module import QatModule as QatModule
    from repghost.api.training.module import convert as convert
    from repghost.api.training.module import prepare_qat as prepare_qat
    from repghost.api.training.recipes import RecipeValues as RecipeValues
    from repghost.api.training.train import train_quantized as train_quantized
    from repghost.api.training.trained import Trained as Trained
    from repghost.api.validation import validate as validate
    from repghost.api.validation import validate_widths as validate_widths
    from repghost.checkpoints.checkpoint import read_checkpoint as read_checkpoint
    from repghost.data.images.preprocess import Preprocess as Preprocess
    from repghost.network.model import RepGhostNet as RepGhostNet

# A row per public name: where it lives. Each is imported on first use.
_LAZY = {
    "AccuracyEvidence": "repghost.api.evidence",
    "Benchmark": "repghost.api.benchmarks.arguments",
    "BoardAdvice": "repghost.api.boards.advice",
    "Comparison": "repghost.api.shown.results",
    "CompiledBundle": "repghost.api.compiled",
    "Counts": "repghost.api.networks.counts",
    "Dataset": "repghost.api.dataset",
    "Demo": "repghost.api.demo",
    "Deployment": "compile.deploy.install",
    "DetectorEvaluation": "repghost.api.training.detectors",
    "Diagnosis": "repghost.api.boards.diagnosis",
    "Evaluation": "repghost.api.shown.results",
    "Explanation": "repghost.api.explanation",
    "Exported": "repghost.api.networks.conversion",
    "ExportedDetector": "repghost.api.training.detectors",
    "Inventory": "compile.deploy.inventory",
    "LayerSensitivities": "repghost.api.sensitivity",
    "LayerSettings": "calib.settings.config",
    "Lint": "repghost.api.linting",
    "Model": "repghost.api.models",
    "PackedImage": "compile.oci.layout",
    "Predictions": "repghost.api.prediction",
    "Preprocess": "repghost.data.images.preprocess",
    "Pulled": "repghost.api.publishing.pulling",
    "Pushed": "repghost.api.publishing.pushing",
    "QatModule": "repghost.api.training.module",
    "QuantConfig": "calib.settings.config",
    "QuantizedNetwork": "repghost.api.quantized",
    "RecipeValues": "repghost.api.training.recipes",
    "RepGhostNet": "repghost.network.model",
    "Report": "repghost.api.reports",
    "Rollback": "compile.deploy.rollback",
    "Submitted": "repghost.api.boards.submission",
    "Trained": "repghost.api.training.trained",
    "TrainedDetector": "repghost.api.training.detectors",
    "Validated": "repghost.api.shown.validated",
    "ValidatedWidths": "repghost.api.shown.validated",
    "Verification": "compile.bundle.verification",
    "accuracy": "repghost.api.evidence",
    "advise": "repghost.api.boards.advice",
    "bench": "repghost.api.benchmarks.bench",
    "compare": "repghost.api.evaluation",
    "compile": "repghost.api.compiled",
    "convert": "repghost.api.training.module",
    "create_model": "repghost.api.networks.creation",
    "demo": "repghost.api.demo",
    "deploy": "repghost.api.boards.deployment",
    "doctor": "repghost.api.boards.diagnosis",
    "evaluate": "repghost.api.evaluation",
    "evaluate_detector": "repghost.api.training.detection",
    "explain": "repghost.api.explanation",
    "export": "repghost.api.networks.conversion",
    "export_detector": "repghost.api.training.detection",
    "flops": "repghost.api.networks.counts",
    "fuse": "repghost.api.networks.conversion",
    "lint": "repghost.api.linting",
    "list_models": "repghost.api.networks.creation",
    "load": "repghost.api.models",
    "load_model": "repghost.api.networks.creation",
    "open_dataset": "repghost.api.dataset",
    "pack": "repghost.api.publishing.containers",
    "predict": "repghost.api.prediction",
    "prepare_qat": "repghost.api.training.module",
    "pull": "repghost.api.publishing.pulling",
    "push": "repghost.api.publishing.pushing",
    "quantize": "repghost.api.quantization",
    "read_checkpoint": "repghost.checkpoints.checkpoint",
    "report": "repghost.api.reports",
    "rollback": "repghost.api.boards.deployment",
    "sign": "repghost.api.boards.deployment",
    "status": "repghost.api.boards.deployment",
    "submit": "repghost.api.boards.submission",
    "train": "repghost.api.training.float_training",
    "train_detector": "repghost.api.training.detection",
    "train_quantized": "repghost.api.training.train",
    "validate": "repghost.api.validation",
    "validate_widths": "repghost.api.validation",
    "verify": "repghost.api.boards.deployment",
}

__all__ = [
    "AccuracyEvidence",
    "Benchmark",
    "BoardAdvice",
    "Comparison",
    "CompiledBundle",
    "Counts",
    "Dataset",
    "Demo",
    "Deployment",
    "DetectorEvaluation",
    "Diagnosis",
    "Evaluation",
    "Explanation",
    "Exported",
    "ExportedDetector",
    "Inventory",
    "LayerSensitivities",
    "LayerSettings",
    "Lint",
    "Model",
    "PackedImage",
    "Predictions",
    "Preprocess",
    "Pulled",
    "Pushed",
    "QatModule",
    "QuantConfig",
    "QuantizedNetwork",
    "RecipeValues",
    "RepGhostNet",
    "Report",
    "Rollback",
    "Submitted",
    "Trained",
    "TrainedDetector",
    "Validated",
    "ValidatedWidths",
    "Verification",
    "__version__",
    "accuracy",
    "advise",
    "bench",
    "compare",
    "compile",
    "convert",
    "create_model",
    "demo",
    "deploy",
    "doctor",
    "evaluate",
    "evaluate_detector",
    "explain",
    "export",
    "export_detector",
    "flops",
    "fuse",
    "lint",
    "list_models",
    "load",
    "load_model",
    "open_dataset",
    "pack",
    "predict",
    "prepare_qat",
    "pull",
    "push",
    "quantize",
    "read_checkpoint",
    "report",
    "rollback",
    "sign",
    "status",
    "submit",
    "train",
    "train_detector",
    "train_quantized",
    "validate",
    "validate_widths",
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
