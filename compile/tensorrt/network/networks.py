"""The two files of a bundle: int8 with Q/DQ, and the float network beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from calib.settings.quantspec import QuantSpec
from compile.tensorrt.jetpack import JetPack
from compile.tensorrt.lint.check import lint_graph
from compile.tensorrt.lint.graph import index_graph
from compile.tensorrt.network.calibrated import Calibrated
from compile.tensorrt.network.placement import PlacementOptions, QdqPlacement, float_placement, place
from compile.tensorrt.network.scales import half_spec
from compile.tensorrt.network.writer import FileForm, write_onnx
from repghost.errors import IntegrityError
from repghost.graph.operators import Graph
from repghost.graph.shapes import Shape, shapes_of
from repghost.sizes import Size

HALF_OPSET = 19  # the first with float16 scales


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of one JetPack, and the files they are written to.

    Attributes:
        graph: as it is quantized.
        plain: as it is in float: biases uncorrected, channels as they were.
        spec: scales that float16 holds.
        placement: what is int8.
        jetpack: whose TensorRT reads the files.
        size: height and width of the input, in pixels.
        name: of the network, for the files.
        results: what several results are called; () for logits.
    """

    graph: Graph
    plain: Graph
    spec: QuantSpec
    placement: QdqPlacement
    jetpack: JetPack
    size: Size
    name: str = FileForm.name
    results: tuple[str, ...] = ()

    def int8(self, metadata: dict[str, str] | None = None) -> onnx.ModelProto:
        """Return the Q/DQ file."""
        return self._write(self.graph, self.placement, self.jetpack.half_file, metadata or {})

    def fp16(self, metadata: dict[str, str] | None = None) -> onnx.ModelProto:
        """Return the float file; its tensors are float16 where the JetPack's TensorRT is strongly typed."""
        return self._write(self.plain, float_placement(self.plain), self.jetpack.half_file, metadata or {})

    def int8_half(self) -> onnx.ModelProto:
        """Return the Q/DQ file with float16 around the int8 layers, to evaluate it."""
        return self._write(self.graph, self.placement, True, {})

    def fp16_half(self) -> onnx.ModelProto:
        """Return the float file in float16, to evaluate it."""
        return self._write(self.plain, float_placement(self.plain), True, {})

    def result_shapes(self) -> list[Shape]:
        """Return channels, rows and columns of each tensor that is given to the caller."""
        shapes = shapes_of(self.graph, self.size)
        return [shapes[tensor] for tensor in self.graph.outputs]

    def outputs(self) -> list[dict[str, Any]]:
        """Return name, height, width and channels of each of several results, as manifests list them; [] of logits."""
        sizes = self.result_shapes() if self.results else []
        return [
            {"name": name, "height": rows, "width": columns, "channels": channels}
            for name, (channels, rows, columns) in zip(self.results, sizes, strict=True)
        ]

    def _write(self, graph: Graph, placement: QdqPlacement, half: bool, metadata: dict[str, str]) -> onnx.ModelProto:
        opset, dtype = (HALF_OPSET, "float16") if half else (self.jetpack.opset, "float32")
        form = FileForm(opset, dtype, self.name, self.results)
        return write_onnx(graph, self.spec, placement, self.size, form, metadata)


def make_networks(
    plain: Graph,
    calibrated: Calibrated,
    jetpack: JetPack,
    options: PlacementOptions,
    size: Size,
    name: str = FileForm.name,
    results: tuple[str, ...] = (),
) -> Networks:
    """Return the networks for a JetPack.

    Args:
        plain: the network in float.
        calibrated: the same with its scales.
        jetpack: whose TensorRT reads the files.
        options: which layers the user left in float.
        size: height and width of the input, in pixels.
        name: of the network, for the files.
        results: what several results are called; () for logits.

    Raises:
        UsageError: when a scale does not fit float16.
    """
    graph = calibrated.graph
    placement = place(graph, options, calibrated.spec)
    return Networks(graph, plain, half_spec(graph, calibrated.spec), placement, jetpack, size, name, results)


def check_networks(int8: onnx.ModelProto, fp16: onnx.ModelProto, placement: QdqPlacement, jetpack: JetPack) -> None:
    """Lint both files and compare the int8 layers with the placement.

    Raises:
        IntegrityError: naming each breach; the writer is wrong then.
    """
    result = lint_graph(index_graph(int8), jetpack)
    breaches = [str(breach) for breach in result.breaches]
    breaches += [str(breach) for breach in lint_graph(index_graph(fp16), jetpack, int8=False).breaches]
    if breaches:
        raise IntegrityError(
            f"the written files break rules of TensorRT: {' '.join(breaches)[:2000]} Please report it."
        )
    if set(result.int8_layers) != placement.layers:
        wrong = sorted(set(result.int8_layers) ^ placement.layers)
        raise IntegrityError(f"the int8 layers of the file are not the promised ones: {wrong}.")
