"""Networks of timm and torchvision, from their names to verified bundles: docs/networks.json and docs/networks.md.

Each has random weights and batch norms that are no identities. It is imported and compared with PyTorch; then, unless
--import-only is given, calibrated on noise, compiled in int8 for arm64 and this machine, and each instruction set is
held against the numpy reference. What is refused is written with its sentence.

    {"format": "repghost-networks", "version": 1, "date": "2026-11-29", "size": 224, "networks": [{
        "name": "timm:mobilenetv2_100",
        "operators": {"Convolution": 52, "Add": 10, ...},   of the graph
        "functions": {"HardSwish": 19, ...},                formulas by name
        "difference": 1.1e-05,                              of the scores from PyTorch's, relative to the largest one
        "error": null,                                      or the sentence that refuses it
        "builds": [{"target": "arm64", "verified": true}, ...]    [] where nothing was compiled
    }]}
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

from benchmarks.pages.networks import render_networks
from benchmarks.shared.bundles import fresh_bundles, random_folder
from benchmarks.shared.command import docs_option, output_option, run_command
from benchmarks.shared.documents import write_json
from calib.importer.import_module import import_module
from calib.importer.libraries.named import create_network
from compile.report.run_report import read_report
from compile.storage import formats
from compile.storage.measurements import Measurements
from compile.subject.request import Request
from compile.subject.subject import RANDOM
from compile.targets.precisions import INT8
from compile.targets.table import ARM64
from repghost.errors import RepGhostError
from repghost.files import write_bytes_atomically
from repghost.graph.formulas import name_of
from repghost.graph.operators import Function
from repghost.graph.run import run_float

FORMAT, VERSION = formats.NETWORKS
FILE, PAGE = "networks.json", "networks.md"
SIZE = 128  # pixels: the operators are those of 224, and most of the time goes into emulation
TIMM = (
    "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100", "mobilenetv4_conv_small",
    "efficientnet_lite0", "efficientnet_b0", "tinynet_e", "mnasnet_100", "fbnetc_100", "semnasnet_100",
    "hardcorenas_a", "lcnet_050", "ghostnet_050", "ghostnet_100", "ghostnetv2_100", "repvgg_a0", "mobileone_s0",
    "resnet18", "resnet50", "resnet10t", "regnetx_002", "regnety_002", "densenet121", "hgnetv2_b0", "starnet_s1",
    "rexnet_100", "mixnet_s", "ese_vovnet19b_dw", "repvit_m0_9", "repghostnet_050",
)  # fmt: skip
TORCHVISION = ("mobilenet_v2", "shufflenet_v2_x1_0", "squeezenet1_1", "googlenet")
REFUSED = ("convnext_atto", "mobilevit_xxs", "skresnet18")  # shown with the sentence that refuses them
NETWORKS = (*(f"timm:{name}" for name in (*TIMM, *REFUSED)), *(f"torchvision:{name}" for name in TORCHVISION))
Say = Callable[[str], None]


def run_networks(output: Path, docs: Path, names: Sequence[str], size: int, import_only: bool, say: Say) -> None:
    """Write docs/networks.json and docs/networks.md, after each network."""
    rows = []
    for name in names:
        row = imported_row(name, size)
        say(f"{name}: {row['error'] or 'difference {:.1e}'.format(row['difference'])}")
        if row["error"] is None and not import_only:
            row |= built_row(name, size, output, say)
        rows.append(row)
        date = time.strftime("%Y-%m-%d", time.gmtime())
        value = {"format": FORMAT, "version": VERSION, "date": date, "size": size, "networks": rows}
        write_json(docs / FILE, value)
        write_bytes_atomically(docs / PAGE, render_networks(value).encode())


def imported_row(name: str, size: int) -> dict[str, Any]:
    """Return what a network's graph has, and how far its scores are from PyTorch's.

    Args:
        name: of a library's network.
        size: pixels of the image.
    """
    row: dict[str, Any] = {"name": name, "operators": {}, "functions": {}, "difference": None, "error": None}
    row["builds"] = []
    torch.manual_seed(0)
    try:
        model = randomized(create_network(name))
        graph = import_module(model, (size, size), name=name).graph
    except RepGhostError as error:
        return row | {"error": str(error)}
    image = torch.randn(1, graph.channels, size, size)
    with torch.no_grad():
        expected, scores = model(image), run_float(graph, image).flatten(1)
    functions = (name_of(op.steps) for op in graph.operators if isinstance(op, Function))
    return row | {
        "operators": dict(Counter(type(op).__name__ for op in graph.operators)),
        "functions": dict(Counter(functions)),
        "difference": float((scores - expected).abs().max() / expected.abs().max()),
    }


def randomized(model: nn.Module) -> nn.Module:
    """Return a network whose batch norms are no identities, so that folding them is seen in the scores."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            if module.weight is not None:
                nn.init.uniform_(module.weight, 0.5, 1.5, generator)
                nn.init.normal_(module.bias, 0, 0.2, generator)
    return model.eval()


def built_row(name: str, size: int, output: Path, say: Say) -> dict[str, Any]:
    """Return "builds", or "error" where calibration or the compiler refuses the network."""
    folder = random_folder(name.partition(":")[2], size)
    request = Request(
        target=ARM64.name, precisions=(INT8,), weights=RANDOM, model=name, size=size, output=output, fetch=False
    )
    try:
        fresh_bundles(request, folder, Measurements(output / "networks"), say)
    except RepGhostError as error:
        return {"error": str(error)}
    builds = read_report(output / folder)["builds"]
    return {
        "builds": [{"target": build["target"], "verified": bool(build["verification"]["verified"])} for build in builds]
    }


@click.command("networks")
@output_option
@docs_option
@click.option("--networks", default=",".join(NETWORKS), help="Names as timm:NAME or torchvision:NAME, by commas.")
@click.option("--size", default=SIZE, show_default=True, help="Pixels of the image.")
@click.option("--import-only", is_flag=True, help="Only import and compare with PyTorch; compile nothing.")
def command(output: Path, docs: Path, networks: str, size: int, import_only: bool) -> None:
    """Import, calibrate, compile and verify networks of timm and torchvision, into docs/networks.json and .md."""
    run_networks(output, docs, networks.split(","), size, import_only, click.echo)


if __name__ == "__main__":
    run_command(command)
