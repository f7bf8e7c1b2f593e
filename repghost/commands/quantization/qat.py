"""`repghost qat`: train a checkpoint under quantization and write its int8 form as QDQ ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calib.qat.settings import EPOCH_IMAGES, EPOCHS
from repghost.commands.options.calibration import open_float_network, with_classes_of
from repghost.commands.options.quant_options import NetworkRequest, network_options, output_option
from repghost.commands.progress.notes import say_notes
from repghost.commands.progress.qat import following
from repghost.terminal import say

if TYPE_CHECKING:
    from calib.qat.settings import QatSettings
    from calib.qat.train_aware import QatResult

CONVERTED = (
    "the checkpoint is converted: the branches of its depthwise layers are added up already, so these layers train "
    "fused, as with --mode fused, and only batch norms are left to --mode reparam. For the branches, give the "
    "checkpoint that the training wrote."
)


@click.command("qat", short_help="Train under quantization and write int8 QDQ ONNX.")
@click.option("--mode", default="fused", show_default=True, help="fused, or reparam: the branches stay and learn.")
@click.option("--epochs", default=EPOCHS, show_default=True, type=click.IntRange(1),
              help="Passes over --images pictures.")  # fmt: skip
@click.option("--images", default=EPOCH_IMAGES, show_default=True, type=click.IntRange(1), help="Pictures of an epoch.")
@click.option("--batch", default=64, show_default=True, type=click.IntRange(2), help="Pictures per step.")
@click.option("--learning-rate", default=1e-3, show_default=True, type=float, help="Relative to each layer's weights.")
@click.option("--distillation", default=0.5, show_default=True, type=float,
              help="Share of the loss that compares with the float network, not with the labels.")  # fmt: skip
@click.option(
    "--crop-padding", default=0, show_default=True, type=click.IntRange(0), help="Of a random crop, in pixels."
)
@click.option("--held-out", default=2000, show_default=True, type=click.IntRange(1),
              help="Pictures that choose between the start and what training made of it.")  # fmt: skip
@click.option("--flip", is_flag=True, help="Mirror half of the pictures.")
@network_options
@output_option
def command(request: NetworkRequest, output: Path, **training: Any) -> None:
    """Calibrate NETWORK as `repghost quantize` does, train it under quantization, and write the better of the two.

    Held-out pictures of the same split choose, by the answers of the integer program. The file is written at the end,
    whole; a run that was interrupted is started again and gives the same bytes.
    """
    config = request.settings()

    from calib.qat.settings import QatSettings
    from calib.qat.train_aware import QatPlan
    from calib.qat.train_on_set import train_on_set
    from calib.quantize import Source
    from repghost.data import open_dataset

    settings = QatSettings(seed=request.seed, **training)
    network = open_float_network(request)
    split = str(request.split)
    dataset = with_classes_of(network, open_dataset(request.data, split, request.class_map), request)
    if settings.mode == "reparam" and network.checkpoint is not None and network.checkpoint.spec.form == "deploy":
        say_notes([CONVERTED])
    source = Source(dataset.classes, network.digest, {"data": request.data.name, "split": split, "seed": request.seed})
    with following() as hooks:
        result = train_on_set(
            network.model or network.graph, dataset, network.preprocess, QatPlan(config, settings), source, hooks,
            name=network.name,
        )  # fmt: skip
    write_result(output, result, settings)


def write_result(output: Path, result: QatResult, settings: QatSettings) -> None:
    """Write the quantized file, whole, and say what was chosen."""
    from calib.qdq.writer import serialize
    from repghost.files import write_bytes_atomically

    write_bytes_atomically(output, serialize(result.quantized.onnx))
    say(f"written: {output} ({output.stat().st_size / 1e6:.2f} MB), mode {settings.mode}")
    say(
        f"chosen by {result.held_out_images} held-out pictures: {result.chosen.name}; accuracy on other pictures: "
        "not measured here"
    )
    say(f"program digest: {result.quantized.digest}")
