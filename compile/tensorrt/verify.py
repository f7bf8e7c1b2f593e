"""Verifying a bundle for Jetson on this machine: digests, TensorRT's rules, layer types, and the samples once more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from compile.bundle.manifest import Bundle
from compile.bundle.verification import Replay, Verification
from compile.storage.strict_json import canonical_json
from compile.tensorrt.bundle_files import RESULTS_FILE
from compile.tensorrt.jetpack import JETPACKS
from compile.tensorrt.lint.check import lint_graph
from compile.tensorrt.lint.graph import index_graph
from compile.tensorrt.network.placement import INT8
from compile.tensorrt.samples import KINDS, read_samples
from repghost.errors import IntegrityError, UsageError, command, unknown_value

FILES = {"int8": "int8.onnx", "fp16": "fp16.onnx"}


def verify_engine_bundle(
    bundle: Bundle, kinds: tuple[str, ...] = (), say: Callable[[str], None] = lambda line: None
) -> Verification:
    """Replay the samples of a bundle through its ONNX files.

    What was expected was written by PyTorch; here ONNX Runtime computes the Q/DQ nodes as they stand, or onnx's
    reference evaluator where that is not installed. No engine is built: that is what build.sh and check.sh do.

    Args:
        bundle: from `check_bundle`.
        kinds: "int8", "fp16", or both by default.
        say: called with a line for each result.

    Raises:
        UsageError: for an unknown kind.
        IntegrityError: when a file breaks a rule, a layer is not what was promised, or a logit differs.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown_value(f"variant of {bundle.path}", kind, KINDS)
    absent = sorted({*FILES.values(), "promise.txt", *(f"expected-{kind}.txt" for kind in KINDS)} - _names(bundle))
    if absent:
        build = command("compile", target="jetson")
        raise IntegrityError(f"{bundle.path} lacks {', '.join(absent)}; build it again: {build}.")
    _check_layer_types(bundle)
    _check_results(bundle)
    replays = []
    for kind in kinds or KINDS:
        replays.append(_replay(bundle, kind))
        say(_line(replays[-1]))
    return Verification(bundle, tuple(replays), ())


def _names(bundle: Bundle) -> set[str]:
    return set(bundle.manifest["files"])


def _check_layer_types(bundle: Bundle) -> None:
    """Lint the int8 file, and compare its int8 layers with promise.txt and the manifest."""
    jetpack = JETPACKS.get(str(bundle.manifest["target"].get("jetpack")))
    if jetpack is None:
        raise IntegrityError(f"{bundle.path} is for an unknown JetPack; this program knows {', '.join(JETPACKS)}.")
    try:
        result = lint_graph(index_graph(_model(bundle, "int8")), jetpack)
    except UsageError as error:
        raise IntegrityError(f"{bundle.path}: int8.onnx: {error}") from error
    if result.breaches:
        raise IntegrityError(f"{bundle.path}: int8.onnx breaks a rule of TensorRT: {result.breaches[0]}")
    lines = [line.split() for line in bundle.read("promise.txt").decode("utf-8", "replace").splitlines()]
    promised = sorted(words[0] for words in lines if words[1:] == [INT8])
    listed = sorted(str(layer["name"]) for layer in bundle.manifest["layers"] if layer.get("arithmetic") == INT8)
    if not promised == listed == sorted(result.int8_layers):
        raise IntegrityError(f"{bundle.path}: promise.txt, the manifest and int8.onnx name different int8 layers.")


def _check_results(bundle: Bundle) -> None:
    """Compare several results and a detector's rule with what the board's scripts read of them."""
    outputs = bundle.manifest.get("outputs")
    if outputs is None:
        return
    counts = [(it["name"], it["height"] * it["width"] * it["channels"]) for it in outputs]
    detector = "detection" in bundle.manifest
    wanted = {RESULTS_FILE: "".join(f"{name} {count}\n" for name, count in counts).encode()}
    wanted |= {"detection.json": canonical_json(bundle.manifest["detection"])} if detector else {}
    for name, content in wanted.items():
        if name not in _names(bundle) or bundle.read(name) != content:
            raise IntegrityError(f"{bundle.path}: {name} is missing or says something else than the manifest.")
    for kind in KINDS:
        found = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in _model(bundle, kind).graph.output
        }
        if found != {it["name"]: [1, it["height"], it["width"], it["channels"]] for it in outputs}:
            raise IntegrityError(f"{bundle.path}: {FILES[kind]} has other results than the manifest.")


def _model(bundle: Bundle, kind: str) -> onnx.ModelProto:
    try:
        model = onnx.ModelProto.FromString(bundle.read(FILES[kind]))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and onnx raise classes of their own
        raise IntegrityError(f"{bundle.path}: {FILES[kind]} is no valid ONNX: {str(error)[:200]}") from error
    return model


def _replay(bundle: Bundle, kind: str) -> Replay:
    from compile.tensorrt.evaluate import second_evaluator

    inputs, expected = read_samples(bundle, kind)
    _model(bundle, kind)
    tolerance = bundle.manifest["input"].get("tolerance", {}).get(kind)
    if not isinstance(tolerance, float) or not 0 < tolerance < np.inf:
        raise IntegrityError(f"{bundle.path}: the tolerance of {kind} is {tolerance!r}; it has to be above 0.")
    machine, evaluate = second_evaluator(bundle.read(FILES[kind]))
    difference = np.abs(evaluate(inputs) - expected)
    largest = float(difference.max())
    if not largest <= tolerance:  # NaN too
        raise IntegrityError(
            f"{bundle.path}: {FILES[kind]} gives logits that differ by {largest:.3g} from the expected ones, at most "
            f"{tolerance:.3g} is allowed ({machine}, sample {int(difference.max(1).argmax())})."
        )
    return Replay(kind, machine, False, len(inputs), tolerance, largest)


def _line(replay: Replay) -> str:
    return (
        f"{replay.variant}: {replay.pictures} samples equal within {replay.tolerance:.2g} (largest difference "
        f"{replay.largest_difference:.2g}), by {replay.machine}"
    )
