"""`repghost qat`: train a checkpoint under quantization and write its int8 form as QDQ ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from repghost.commands.quantize import read_config, resized
from repghost.errors import UsageError

if TYPE_CHECKING:
    from calib.qat_settings import QatSettings
    from repghost.data.base import PictureSet


@click.command("qat", short_help="Train under quantization and write int8 QDQ ONNX.")
@click.argument("checkpoint", metavar="CKPT")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="A set of pictures (see the README).")
@click.option("--split", default="train", show_default=True, help="Never the split that accuracy is measured on.")
@click.option("--mode", default="fused", show_default=True, help="fused, or reparam: the branches stay and learn.")
@click.option("--epochs", default=1, show_default=True, type=click.IntRange(1), help="Passes over --images pictures.")
@click.option("--images", default=12_500, show_default=True, type=click.IntRange(1), help="Pictures of an epoch.")
@click.option("--batch", default=64, show_default=True, type=click.IntRange(2), help="Pictures per step.")
@click.option("--learning-rate", default=1e-3, show_default=True, type=float, help="Relative to each layer's weights.")
@click.option(
    "--distillation", default=1.0, show_default=True, type=float, help="Share of the float network's answers."
)
@click.option(
    "--crop-padding", default=0, show_default=True, type=click.IntRange(0), help="Of a random crop, in pixels."
)
@click.option("--flip", is_flag=True, help="Mirror half of the pictures.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Chooses pictures and their order.")
@click.option("--preprocess", "preprocess_path", type=click.Path(path_type=Path), help="JSON, where the file has none.")
@click.option("--size", type=click.IntRange(32), help="Pixels of the input, instead of the checkpoint's.")
@click.option("--width", help="Refuse a checkpoint of another width; chooses the file when CKPT is 'timm'.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Quantization settings as JSON.")
@click.option("--policy", help="cpu or tensorrt, instead of the config's.")
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The file to write.")
def command(
    checkpoint: str,
    data: Path,
    split: str,
    mode: str,
    epochs: int,
    images: int,
    batch: int,
    learning_rate: float,
    distillation: float,
    crop_padding: int,
    flip: bool,
    seed: int,
    preprocess_path: Path | None,
    size: int | None,
    width: str | None,
    config_path: Path | None,
    policy: str | None,
    output: Path,
) -> None:
    """Calibrate CKPT as `repghost quantize` does, train it under quantization, and write the better of the two.

    Held-out pictures of the same split choose, by the answers of the integer program. The file is written at the end,
    whole; a run that was interrupted is started again and gives the same bytes.
    """
    config = read_config(config_path, policy)

    from calib.pipeline import Source
    from calib.qat import Hooks, Pictures, train_aware
    from calib.qat_feed import TrainingFeed, split_pictures
    from calib.qat_settings import QatSettings
    from calib.qdq import serialize
    from repghost.checkpoint import build_model
    from repghost.data import open_dataset
    from repghost.data.base import prepare
    from repghost.files import write_bytes_atomically
    from repghost.preprocess import resolve_preprocess
    from repghost.spec import parse_width
    from repghost.timm_hub import open_checkpoint

    settings = QatSettings(
        mode=mode, epochs=epochs, images=images, batch=batch, learning_rate=learning_rate, distillation=distillation,
        crop_padding=crop_padding, flip=flip, seed=seed,
    )  # fmt: skip
    loaded = open_checkpoint(checkpoint, None if width is None else parse_width(width, custom=True))
    preprocess = resized(resolve_preprocess(loaded.preprocess, loaded.spec.num_classes, preprocess_path), size)
    dataset = open_dataset(data, split)
    labels = _checked_classes(dataset, loaded.spec.num_classes, loaded.labels)
    parts = split_pictures(dataset.labels, settings)
    calibration = prepare(dataset, preprocess, parts.calibration)
    pictures = Pictures(
        calibration.pictures,
        prepare(dataset, preprocess, parts.held_out),
        TrainingFeed(dataset, parts.training, preprocess, settings),
    )
    origin = {"data": data.name, "split": split, "seed": seed, "broken": len(calibration.broken)}
    hooks = Hooks(
        candidate=lambda one: click.echo(
            f"{one.name}: top-1 {one.score.top1:.2%}, loss {one.score.loss:.4f}, as float {one.score.agreement:.2%}"
        ),
        refused=lambda name, reason: click.echo(f"{name}: refused, {reason}", err=True),
    )
    source = Source(labels, loaded.digest, origin)
    result = train_aware(build_model(loaded), pictures, preprocess, config, settings, source, hooks)
    write_bytes_atomically(output, serialize(result.quantized.onnx))
    _report(output, len(pictures.held_out.labels), result.chosen.name, result.quantized.digest, settings)


def _checked_classes(dataset: PictureSet, classes: int, labels: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the class names, the same in the checkpoint and in the set.

    Raises:
        UsageError: when they differ.
    """
    if len(dataset.classes) != classes or (labels is not None and labels != dataset.classes):
        raise UsageError(
            f"the network has {classes} classes {list(labels or ())[:3]}, the pictures have {len(dataset.classes)} "
            f"{list(dataset.classes)[:3]}; both must be the same, in the same order. Give --data the set the "
            "network was trained on."
        )
    return dataset.classes


def _report(output: Path, held_out: int, chosen: str, digest: str, settings: QatSettings) -> None:
    click.echo(f"written: {output} ({output.stat().st_size / 1e6:.2f} MB), mode {settings.mode}")
    click.echo(f"chosen by {held_out} held-out pictures: {chosen}; accuracy on other pictures: not measured here")
    click.echo(f"program digest: {digest}")
