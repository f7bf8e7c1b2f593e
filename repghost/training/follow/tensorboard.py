"""Events for TensorBoard: the figures of each epoch, where the package is installed."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from repghost.errors import ToolMissingError, install_command, option
from repghost.training.follow.hooks import Hooks
from repghost.training.state.state import EpochRecord

BOARD_FOLDER = "tensorboard"


@contextmanager
def board(folder: Path, wanted: bool | None) -> Iterator[Hooks]:
    """Give hooks that write events for TensorBoard into a folder of the run.

    Args:
        folder: of the run.
        wanted: None writes them where TensorBoard is installed.

    Raises:
        ToolMissingError: when it is wanted and not installed.
    """
    installed = importlib.util.find_spec("tensorboard") is not None
    if wanted and not installed:
        raise ToolMissingError(f"{option('tensorboard')} needs TensorBoard: {install_command('tensorboard')}")
    if not installed or wanted is False:
        yield Hooks()
        return
    with warnings.catch_warnings():  # of its imports
        warnings.simplefilter("ignore")
        from torch.utils.tensorboard import SummaryWriter

    writer = None

    def epoch(record: EpochRecord) -> None:
        nonlocal writer
        if writer is None:  # not before there is something: a refused run leaves no folder
            writer = SummaryWriter(str(folder / BOARD_FOLDER))
        for name, value in scalars(record).items():
            writer.add_scalar(name, value, record.epoch)
        writer.flush()

    try:
        yield Hooks(epoch=epoch)
    finally:
        if writer is not None:
            writer.close()


def scalars(record: EpochRecord) -> dict[str, float]:
    """Return the values of an epoch by the names TensorBoard shows them under."""
    values = {
        "loss/training": record.loss,
        "loss/evaluated": record.held_out_loss,
        "top1/training": record.train_top1,
        "top1/evaluated": record.held_out_top1,
        "top5/evaluated": record.held_out_top5,
        "learning rate": record.learning_rate,
        "pictures per second": record.pictures_per_second,
        "broken pictures": float(record.broken_pictures),
    }
    kinds = {"not averaged": record.raw_top1, "averaged": record.averaged_top1}
    return values | {f"top1/evaluated, {kind}": top1 for kind, top1 in kinds.items() if top1 is not None}
