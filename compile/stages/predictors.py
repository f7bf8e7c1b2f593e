"""Predictors of integer networks: a QDQ file by the numpy reference and compiled for this machine, and a bundle."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from calib.integer.reference import run
from compile.bundle.host_model import ABI, LoadedModel, load
from compile.link.toolchain import link_model
from compile.machine.facts import cpu_flags
from compile.passes import lower
from compile.stages.compile_networks import Compilation, compile_all
from compile.storage.stage_cache import StageCache
from compile.targets.precisions import INT8
from compile.targets.table import host_target
from repghost.data import ImageSet
from repghost.distributed.ranks import Ranks
from repghost.errors import ToolMissingError, UsageError
from repghost.evaluation.accuracy import predict
from repghost.evaluation.classes import match_classes
from repghost.evaluation.predictor import HOST_BUILD, REFERENCE, Predictor
from repghost.graph.module import GraphModule
from repghost.hub.download import local_file
from repghost.untrusted import file_digest

if TYPE_CHECKING:
    from calib.integer.program import Program
    from repghost.data.images.preprocess import Preprocess


def open_qdq(
    path: Path,
    preprocess_file: Path | None,
    ranks: Ranks,
    cache: Path | None = None,
    images: ImageSet | None = None,
    class_order: str | None = None,
) -> list[Predictor]:
    """Return the integer program of a QDQ file, by the numpy reference and compiled where asked for.

    Args:
        path: the ONNX file.
        preprocess_file: JSON, for a file that does not say how images are prepared.
        ranks: this process among the others; the first one compiles.
        cache: where compiled objects are kept; None: nothing is compiled.
        images: to evaluate on; other classes are refused before minutes go into compiling.
        class_order: for a file that does not name its classes, see `match_classes`.

    Raises:
        UsageError: when the file cannot be read, has other classes, or a layer that cannot be computed in integers.
        ToolMissingError: when there is no target for this machine.
    """
    reference, program = _reference(path, preprocess_file)
    if images is not None:
        match_classes(images, reference.classes, reference.labels, class_order)
    if cache is None:
        return [reference]
    return [reference, _compiled(reference, program, ranks, cache)]


def reference_of(path: Path, preprocess: Path | Preprocess | None = None) -> Predictor:
    """Return the integer program of a QDQ file, by the numpy reference; errors as `open_qdq`."""
    return _reference(path, preprocess)[0]


def _reference(path: Path, preprocess: Path | Preprocess | None) -> tuple[Predictor, Program]:
    from compile.frontend.qdq_file import read_qdq_as_given
    from compile.subject.from_qdq_file import labels_of

    graph = read_qdq_as_given(path, preprocess)
    program = lower(graph)
    if program.outputs:
        raise UsageError(
            f"{path} gives several results and no scores of classes; 'repghost detect-validate' measures detectors."
        )
    predictor = Predictor(
        name="int8 reference",
        source=str(path),
        digest=file_digest(local_file(path)),
        by=REFERENCE,
        preprocess=graph.preprocess,
        classes=program.classes,
        labels=labels_of(graph, program.classes),
        logits=partial(run, program),
        program=program.digest,
    )
    return predictor, program


def open_float(network: str, weights: str | None, preprocess_file: Path | None, ranks: Ranks) -> list[Predictor]:
    """Return a float network that is no RepGhostNet, computed by PyTorch with its batch norms folded.

    Args:
        network: a float ONNX file, or "timm:NAME" or "torchvision:NAME".
        weights: of a name, a weight file or "pretrained".
        preprocess_file: JSON that takes precedence over the network's own.
        ranks: this process among the others.

    Raises:
        UsageError: when it cannot be read, or holds what a graph does not have.
    """
    from calib.importer.open_network import NetworkSource, open_network

    opened = open_network(NetworkSource(network, weights, preprocess=preprocess_file))
    module = GraphModule(opened.graph).eval().to(ranks.device)
    return [
        Predictor(
            name="fp32",
            source=network,
            digest=opened.digest,
            by=f"PyTorch on {ranks.device.type}",
            preprocess=opened.preprocess,
            classes=opened.classes,
            labels=opened.labels,
            logits=partial(predict, module, preprocess=opened.preprocess),
        )
    ]


def _compiled(reference: Predictor, program: Program, ranks: Ranks, cache: Path) -> Predictor:
    """Return the program built for this machine; the first process compiles and gives the library to the others."""
    library = ranks.gather(_library(program, cache) if ranks.first else None)[0]
    model = LoadedModel(library, reference.preprocess.shape, program.classes)
    by = f"{HOST_BUILD}, {model.variant}"
    return replace(reference, name="int8 compiled", by=by, logits=model.logits)


def _library(program: Program, cache: Path) -> bytes:
    """Return model.so of a program for this machine."""
    target = host_target()
    if target is None:
        raise ToolMissingError("there is no target for this machine, so nothing can be compiled for it.")
    networks, _ = compile_all([Compilation(program, target, INT8, cpu_flags())], StageCache(cache), 1)
    info = {"abi": ABI, "target": target.name, "precision": INT8.name, "program_digest": program.digest}
    return link_model(networks[0], target, info)


def open_bundle(path: Path) -> list[Predictor]:
    """Return the network of a bundle for this kind of machine; its digests are checked first.

    Raises:
        UsageError: when the folder is no bundle, or for another kind of machine.
        IntegrityError: when a file was changed.
    """
    return [load(path).as_predictor()]
