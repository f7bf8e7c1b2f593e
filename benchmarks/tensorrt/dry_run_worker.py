"""A dry run of torch-tensorrt's converters on a machine without a GPU: a harness, no deployment.

    python -m benchmarks.tensorrt.dry_run_worker SIZE

needs the extra [torch-tensorrt-rtx]. The package asks for a GPU when it is imported, so what torch.cuda says is
made up here (compute capability 8.6, 8 GB): nothing that is printed about the device is a fact. What is real: which
operators have converters, into how many engines the network falls, and that the builder takes what they make.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from calib.settings.config import LayerSettings, QuantConfig
from compile.tensorrt.network.placement import PlacementOptions, place
from compile.tensorrt.network.scales import half_spec
from compile.tensorrt.torch.converters import register_converters


class _BuiltError(Exception):
    """Ends the conversion after the engine was built: without a GPU it cannot be loaded."""


def pretend_a_gpu() -> None:
    """Answer what torch_tensorrt asks of torch.cuda while it is imported."""
    import torch

    properties = SimpleNamespace(
        name="none", major=8, minor=6, total_memory=8 << 30, multi_processor_count=16, uuid="none"
    )
    torch.cuda.get_device_capability = lambda *_: (8, 6)
    torch.cuda.current_device = lambda: 0
    torch.cuda.get_device_properties = lambda *_: properties  # type: ignore[assignment]
    torch.cuda.get_device_name = lambda *_: "none"
    torch.cuda.mem_get_info = lambda *_: (8 << 30, 8 << 30)
    torch.cuda.synchronize = lambda *_: None


def networks(size: int) -> dict[str, tuple[Any, int]]:
    """Return the deploy network as it is, and with its int8 placement: modules, and how many layers are promised."""
    from calib.ptq.apply import quantize_graph
    from compile.subject.from_random_weights import random_subject
    from compile.tensorrt.torch.network import TorchTensorRTNetwork
    from repghost.graph.trace import graph_of

    subject = random_subject("0.5", size, 0)
    network = subject.fused
    config = QuantConfig("tensorrt", LayerSettings(observer="min_max"), ranges_by_answers=False)
    images = subject.calibration.images[:4]
    graph, spec = quantize_graph(graph_of(network), images, subject.preprocess, config)
    placement = place(graph, PlacementOptions())
    int8 = TorchTensorRTNetwork(graph, half_spec(graph, spec), placement)
    return {"float": (network, 0), "int8": (int8, len(placement.layers))}


def try_network(module: Any, size: int) -> dict[str, Any]:
    """Return what converting and building one module gave."""
    import torch
    from torch_tensorrt import dynamo
    from torch_tensorrt.dynamo import _compiler
    from torch_tensorrt.dynamo.conversion._TRTInterpreter import TRTInterpreter

    found: dict[str, Any] = {}

    def note(tracker: Any, *_: Any) -> None:
        found.update(
            operators=tracker.total_ops_in_graph,
            supported=tracker.supported_ops_in_graph,
            engines=tracker.tensorrt_graph_count,
            in_torch=list(tracker.to_run_in_torch),
        )

    def build(interpreter: Any, *_: Any, **__: Any) -> None:
        interpreter._construct_trt_network_def()
        found.update(count_layers(interpreter.ctx.net))
        config = interpreter._populate_trt_builder_config()
        engine = interpreter.builder.build_serialized_network(interpreter.ctx.net, config)
        found["engine_bytes"] = 0 if engine is None else int(engine.nbytes)
        raise _BuiltError

    image = (torch.zeros(1, 3, size, size),)
    program = torch.export.export(module.eval(), image)
    _compiler.dryrun_stats_display = note
    dynamo.compile(program, arg_inputs=image, dryrun=True, min_block_size=1)
    TRTInterpreter.run = build
    try:
        dynamo.convert_exported_program_to_serialized_trt_engine(program, arg_inputs=image, min_block_size=1)
    except RuntimeError as error:  # torch-tensorrt wraps what ends a conversion
        if not isinstance(error.__cause__, _BuiltError):
            raise
    return found


def count_layers(network: Any) -> dict[str, int]:
    """Return how many convolutions a TensorRT network has, and how many of them read int8 on both sides."""
    import tensorrt as trt

    layers = [network.get_layer(index) for index in range(network.num_layers)]
    makers = {layer.get_output(index).name: layer.type for layer in layers for index in range(layer.num_outputs)}
    convolutions = [layer for layer in layers if layer.type == trt.LayerType.CONVOLUTION]
    int8 = [
        layer
        for layer in convolutions
        if layer.num_inputs > 1
        and all(makers.get(layer.get_input(side).name) == trt.LayerType.DEQUANTIZE for side in (0, 1))
    ]
    return {"convolutions": len(convolutions), "int8": len(int8)}


def main(arguments: list[str]) -> int:
    """Print one JSON object; see the top."""
    size = int(arguments[0])
    pretend_a_gpu()
    import torch_tensorrt

    register_converters()
    result = {
        name: {**try_network(module, size), "promised": promised} for name, (module, promised) in networks(size).items()
    }
    tensorrt = import_module("tensorrt")  # which torch_tensorrt has put there, under this name
    versions = {"version": torch_tensorrt.__version__, "tensorrt_version": tensorrt.__version__}
    print(json.dumps({**versions, "networks": result}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
