"""`repghost quantize`: calibrate a checkpoint on pictures and write its int8 form as QDQ ONNX."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repghost.errors import UsageError

if TYPE_CHECKING:
    from calib.config import QuantConfig
    from repghost.data.base import PictureSet, Prepared
    from repghost.preprocess import Preprocess

DEFAULT_IMAGES = 512


@click.command("quantize", short_help="Calibrate a checkpoint and write int8 QDQ ONNX.")
@click.argument("checkpoint", metavar="CKPT")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="A set of pictures (see the README).")
@click.option("--split", default="train", show_default=True, help="Never the split that accuracy is measured on.")
@click.option("--images", type=click.IntRange(1), help=f"Calibration pictures.  [default: {DEFAULT_IMAGES} or all]")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Chooses the pictures.")
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
    images: int | None,
    seed: int,
    preprocess_path: Path | None,
    size: int | None,
    width: str | None,
    config_path: Path | None,
    policy: str | None,
    output: Path,
) -> None:
    """Quantize CKPT to int8 with scales calibrated on pictures, and write a QDQ ONNX file.

    CKPT is a weight file, or the word timm. A network that is not fused yet is fused first. The file holds its
    Preprocess, labels and settings.
    """
    config = read_config(config_path, policy)

    from calib.pipeline import Source, quantize_model
    from calib.qdq import serialize
    from repghost.checkpoint import build_model
    from repghost.data import open_dataset
    from repghost.files import write_bytes_atomically
    from repghost.preprocess import resolve_preprocess
    from repghost.spec import parse_width
    from repghost.timm_hub import open_checkpoint

    loaded = open_checkpoint(checkpoint, None if width is None else parse_width(width, custom=True))
    preprocess = resized(resolve_preprocess(loaded.preprocess, loaded.spec.num_classes, preprocess_path), size)
    dataset = open_dataset(data, split)
    prepared = _prepare(dataset, preprocess, images, seed)
    model = build_model(loaded)
    if loaded.spec.form != "fused":
        click.echo(f"{Path(checkpoint).name} is in {loaded.spec.form} form; it is fused before it is quantized")
    calibration = {"data": data.name, "split": split, "seed": seed, "broken": len(prepared.broken)}
    labels = loaded.labels or _labels(dataset, loaded.spec.num_classes)
    with _progress(len(prepared.pictures), "calibrate") as bar:
        result = quantize_model(
            model, prepared.pictures, preprocess, config, Source(labels, loaded.digest, calibration), bar.update
        )
    write_bytes_atomically(output, serialize(result.onnx))
    for note in result.spec.notes:
        click.echo(f"note: {note}")
    _summary(output, len(prepared.pictures), config, result.digest)
    click.echo("next:")
    files = {"--preprocess": preprocess_path, "--config": config_path}
    for line in _next_commands(checkpoint, data, output, files, config.policy):
        click.echo(f"  {line}")


def read_config(path: Path | None, policy: str | None) -> QuantConfig:
    """Return the quantization settings of a file, or the defaults; `policy` replaces the file's.

    Raises:
        UsageError: when the file cannot be read or its content is refused.
    """
    from calib.config import MAX_CONFIG_BYTES, QuantConfig, config_from_json

    config = QuantConfig()
    if path is not None:
        try:
            with path.open("rb") as file:
                data = file.read(4 * MAX_CONFIG_BYTES + 1)
            config = config_from_json(data.decode("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"quantization config {str(path)!r} cannot be read: {error}") from error
        except UsageError as error:
            raise UsageError(f"{str(path)!r}: {error}") from error
    return config if policy is None else replace(config, policy=policy)


def resized(preprocess: Preprocess, size: int | None) -> Preprocess:
    """Return the same preprocessing for another input size, its resize scaled alike."""
    if size is None or size == preprocess.size:
        return preprocess
    return replace(preprocess, size=size, resize=round(size * preprocess.resize / preprocess.size))


def _prepare(dataset: PictureSet, preprocess: Preprocess, images: int | None, seed: int) -> Prepared:
    """Return the calibration pictures: equally many of each class, chosen by the seed."""
    from repghost.data.base import prepare
    from repghost.data.subset import choose_balanced

    if len(dataset) == 0:
        raise UsageError(
            "the calibration set is empty; at least one picture is needed. Give --data a set with pictures."
        )
    chosen = choose_balanced(dataset.labels, images or min(DEFAULT_IMAGES, len(dataset)), seed)
    with _progress(len(chosen), "read pictures") as bar:

        def progress(indices: Any) -> Any:
            for index in indices:
                yield index
                bar.update(1)

        prepared = prepare(dataset, preprocess, chosen, progress)
    for message in prepared.broken:
        click.echo(f"broken picture, left out: {message}", err=True)
    return prepared


def _labels(dataset: PictureSet, classes: int) -> tuple[str, ...]:
    """Return the set's class names where they fit the network, otherwise numbers."""
    if len(dataset.classes) == classes:
        return dataset.classes
    return tuple(str(index) for index in range(classes))


def _progress(total: int, title: str) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=title, unit="picture", leave=False)


def _summary(output: Path, pictures: int, config: QuantConfig, digest: str) -> None:
    settings = config.defaults
    observer = settings.observer + (f" {settings.percentile:g}" if settings.observer == "percentile" else "")
    click.echo(f"written: {output} ({output.stat().st_size / 1e6:.2f} MB)")
    click.echo(f"policy {config.policy}, observer {observer}, {pictures} pictures; accuracy: not measured here")
    click.echo(f"program digest: {digest}")


def _next_commands(checkpoint: str, data: Path, output: Path, files: dict[str, Path | None], policy: str) -> list[str]:
    """Return what the user can run with the file, or on the way further; `files` are options to repeat."""
    if policy == "tensorrt":
        plan = output.with_suffix(".plan")
        return [
            shlex.join(["trtexec", f"--onnx={output}", "--stronglyTyped", f"--saveEngine={plan}"])
            + "  (on the Jetson; TensorRT 8: --int8 --fp16 instead of --stronglyTyped)"
        ]
    build = ["repghost", "compile", "--target", "arm64", "--weights", checkpoint, "--data", str(data)]
    for option, path in files.items():
        build += [] if path is None else [option, str(path)]
    return [shlex.join(["repghost", "explain", str(output)]), shlex.join(build)]
