"""`repghost train --qat`: train the finished network on under quantization, and write its int8 form beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from repghost.commands.progress.qat import following
from repghost.commands.quantization.qat import write_result

if TYPE_CHECKING:
    from calib.qat.settings import QatSettings
    from repghost.data import ImageSet
    from repghost.training.recipe import Recipe

QDQ_FILE = "model.qdq.onnx"
TRAINED_FILE = "model.safetensors"


def qat_settings(mode: str | None, epochs: int | None, images: int | None, seed: int) -> QatSettings | None:
    """Return how the network is trained under quantization, None where it is not asked for.

    Args:
        mode: fused or reparam.
        epochs: passes; as many as `repghost qat` makes by default.
        images: images of an epoch; as many as `repghost qat` takes by default.
        seed: of the training, so that what it held out also chooses here.

    Raises:
        UsageError: for an unknown mode, or values without one.
    """
    from calib.qat.settings import EPOCH_IMAGES, EPOCHS, QatSettings
    from repghost.errors import UsageError

    if mode is None:
        if epochs is not None or images is not None:
            raise UsageError("--qat-epochs and --qat-images have no effect without --qat; give --qat fused.")
        return None
    return QatSettings(mode=mode, epochs=epochs or EPOCHS, images=images or EPOCH_IMAGES, seed=seed)


def continue_quantized(folder: Path, recipe: Recipe, dataset: ImageSet, data: Path, settings: QatSettings) -> None:
    """Train the finished run's network under quantization and write FOLDER/model.qdq.onnx.

    Args:
        folder: of the run.
        recipe: whose images are prepared alike.
        dataset: the training split.
        data: where it lies, for the file.
        settings: how.
    """
    from calib.qat.epochs import Hooks
    from calib.qat.train_aware import QatPlan
    from calib.qat.train_on_set import train_on_set
    from calib.quantize import Source
    from repghost.checkpoints.checkpoint import build_model, read_checkpoint
    from repghost.evaluation.classes import match_classes

    trained = read_checkpoint(folder / TRAINED_FILE, width=recipe.width)
    dataset = match_classes(dataset, trained.spec.num_classes, trained.labels)
    source = Source(dataset.classes, trained.digest, {"data": data.name, "split": "train", "seed": settings.seed})
    with following() as shown:
        hooks = Hooks(step=shown.step, candidate=shown.candidate, refused=shown.refused)
        plan = QatPlan(settings=settings)
        result = train_on_set(build_model(trained), dataset, recipe.preprocess, plan, source, hooks)
    write_result(folder / QDQ_FILE, result.quantized, settings.mode)
