"""The QDQ ONNX writer: the float graph with a QuantizeLinear/DequantizeLinear pair on every int8 or int16 tensor.

Weights are int8 initializers with a scale per output channel behind a DequantizeLinear; biases stay float32. The file
alone defines the program: the integers follow from its scales by `calib.integer.qparams` and `calib.integer.lower`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from calib.integer.qparams import WIDEST, QParams, quantize_weights
from calib.qdq.digest import program_digest
from calib.settings.config import QuantConfig
from calib.settings.policy import moves
from calib.settings.quantspec import QuantSpec
from repghost.exporters.onnx_writer import LOGITS, RESULT, OnnxGraph
from repghost.graph.operators import INPUT, Classifier, Concat, Convolution, Graph, Operator
from repghost.graph.shapes import Shape, shapes_of
from repghost.sizes import Size

OPSET = 17
WIDE_OPSET = 21  # the first one that quantizes to int16

# Keys of the metadata; every value is a string, structured ones are JSON.
MODEL = "repghost.model"
PREPROCESS = "repghost.preprocess"
LABELS = "repghost.labels"
QUANTIZATION = "repghost.quantization"
DIGEST = "repghost.program_digest"
TOOLS = "repghost.tools"
CHECKPOINT = "repghost.checkpoint_sha256"
CALIBRATION = "repghost.calibration"
DETECTION = "repghost.detection"  # of a detector: `repghost.detection.boxes.BoxRule`


@dataclass(frozen=True)
class Description:
    """What is written beside the graph.

    Attributes:
        model: e.g. "repghostnet_0_5x".
        preprocess: `Preprocess.to_dict()`.
        labels: class names in the order of the logits.
        checkpoint_sha256: of the file the weights came from.
        calibration: which images were used: how many, from where, chosen how.
        tools: version by tool.
        detection: of a detector: `BoxRule.to_dict()`.
    """

    model: str
    preprocess: Mapping[str, Any]
    labels: tuple[str, ...]
    checkpoint_sha256: str
    calibration: Mapping[str, Any]
    tools: Mapping[str, str]
    detection: Mapping[str, Any] | None = None


class _Writer(OnnxGraph):
    """Tensors are integers as soon as a Q/DQ pair follows them.

    A Clip to both sides alike before a pair of int16 says how far it reaches, where that is less than 16 bits do. What
    only moves numbers has the limits of what it reads.
    """

    def __init__(self, spec: QuantSpec, shapes: Mapping[str, Shape]) -> None:
        super().__init__(shapes)
        self.spec = spec
        self.readable: dict[str, str] = {}  # tensor -> the ONNX tensor its readers take

    def publish(self, tensor: str, moved: bool = False) -> None:
        """Make a float tensor readable, through a Q/DQ pair if it is quantized; `moved` tells that it was before."""
        qparams = self.spec.activations.get(tensor)
        self.readable[tensor] = tensor if qparams is None else self._quantized(tensor, qparams, moved)

    def _quantized(self, tensor: str, qparams: QParams, moved: bool) -> str:
        scale = self.constant(f"{tensor}.scale", np.asarray(qparams.scale, np.float32))
        zero = self.constant(f"{tensor}.zero_point", np.asarray(qparams.zero_point, qparams.element))
        if qparams.is_wide and qparams.reach != WIDEST and not moved:
            limit = qparams.high * qparams.scale
            limits = (("lowest", -limit), ("highest", limit))
            ends = [self.constant(f"{tensor}.{end}", np.asarray(value, np.float32)) for end, value in limits]
            self.nodes[-1].output[0] = f"{tensor}.unlimited"
            self.node("Clip", f"{tensor}.limit", (f"{tensor}.unlimited", *ends), tensor)
        self.node("QuantizeLinear", f"{tensor}.quantize", (tensor, scale, zero), f"{tensor}.quantized")
        inputs = (f"{tensor}.quantized", scale, zero)
        return self.node("DequantizeLinear", f"{tensor}.dequantize", inputs, f"{tensor}.dequantized")

    def weight(self, layer: Convolution | Classifier) -> str:
        """Return the layer's dequantized weight, or its float one where it stays float."""
        name = f"{layer.name}.weight"
        if layer.name not in self.spec.weight_scales:
            return self.constant(name, layer.weight)
        scales = self.spec.weight_scales[layer.name]
        inputs = (
            self.constant(name, quantize_weights(layer.weight, scales)),
            self.constant(f"{name}.scale", np.asarray(scales, np.float32)),
            self.constant(f"{name}.zero_point", np.zeros(len(scales), np.int8)),
        )
        return self.node("DequantizeLinear", f"{name}.dequantize", inputs, f"{name}.dequantized", axis=0)

    def read_by(self, layer: Convolution | Classifier) -> str:
        """Return the tensor that a layer reads: a float one reads what is not quantized, both or none for TensorRT."""
        return self.readable[layer.input] if layer.name in self.spec.weight_scales else layer.input

    def operator(self, op: Operator) -> None:
        """Write one operator and what makes its output readable."""
        match op:
            case Convolution():
                weight = self.weight(op)
                bias = self.constant(f"{op.name}.bias", op.bias)
                self.convolution(op, self.read_by(op), weight, bias, f"{op.name}.convolution")
            case Classifier():
                weight = self.weight(op)
                bias = self.constant(f"{op.name}.bias", op.bias)
                flat = self.node("Flatten", f"{op.name}.flatten", (self.read_by(op),), f"{op.name}.flat", axis=1)
                self.node("Gemm", op.name, (flat, weight, bias), LOGITS, transB=1)
                return
            case _:
                self.weightless(op, [self.readable[name] for name in op.inputs])
        self.publish(op.name, moves(op) or isinstance(op, Concat))


def build_qdq(graph: Graph, spec: QuantSpec, size: Size) -> onnx.ModelProto:
    """Return the QDQ graph without metadata, checked by onnx, with the shape of every tensor.

    Args:
        graph: the float network.
        spec: from `calib.ptq.calibrate.calibrate`.
        size: height and width of the input, in pixels.

    Raises:
        UsageError: when the network takes another size.
    """
    shapes = shapes_of(graph, size)
    writer = _Writer(spec, shapes)
    writer.publish(INPUT)
    for operator in graph.operators:
        writer.operator(operator)
    for name in graph.results:
        writer.node("Identity", f"{name}.identity", (writer.readable[name],), f"{name}{RESULT}")
    if not graph.results and not isinstance(graph.operators[-1], Classifier):
        writer.node("Flatten", f"{graph.output}.flatten", (writer.readable[graph.output],), LOGITS, axis=1)
    opset = WIDE_OPSET if any(q.is_wide for q in spec.activations.values()) else OPSET
    results = {f"{name}{RESULT}": shapes[name] for name in graph.results}
    return writer.model("network", (1, *shapes[INPUT]), results or shapes[graph.output][0], opset, {})


def describe(
    model: onnx.ModelProto,
    description: Description,
    config: QuantConfig,
    spec: QuantSpec,
    record: Mapping[str, Any] | None = None,
) -> str:
    """Write the name and the metadata into `model`, replacing what was there, and return its program digest.

    Args:
        model: from `build_qdq`.
        description: what is written beside the graph.
        config: the settings it was quantized with.
        spec: what calibration decided.
        record: what else is said of the quantization, by key: "search" (which settings were tried before these were
            chosen) or "training" (how training under quantization went).
    """
    model.graph.name = description.model
    digest = program_digest(model, description.preprocess)
    quantization = {
        "config": config.to_dict(),
        "accumulators": dict(spec.accumulators),
        "observers": dict(spec.observers),
        "notes": list(spec.notes),
        **(record or {}),
    }
    entries = {
        MODEL: description.model,
        PREPROCESS: _json(description.preprocess),
        LABELS: _json(list(description.labels)),
        QUANTIZATION: _json(quantization),
        DIGEST: digest,
        TOOLS: _json(dict(description.tools)),
        CHECKPOINT: description.checkpoint_sha256,
        CALIBRATION: _json(dict(description.calibration)),
    }
    if description.detection is not None:
        entries[DETECTION] = _json(dict(description.detection))
    helper.set_model_props(model, entries)
    return digest


def training_record(model: onnx.ModelProto) -> dict[str, Any]:
    """Return what a file of ours says of its training: settings, every candidate, the chosen one; empty without."""
    entries = {entry.key: entry.value for entry in model.metadata_props}
    found: dict[str, Any] = json.loads(entries[QUANTIZATION]).get("training", {})
    return found


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def serialize(model: onnx.ModelProto) -> bytes:
    """Return the file's bytes; equal models give equal bytes."""
    return model.SerializeToString(deterministic=True)
