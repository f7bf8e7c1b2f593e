"""The part of `repghost.train` under quantization: its network by `repghost.quantize` and `train_quantized`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calib.qat.candidates import Candidate
from calib.qat.epochs import Execution, check_state
from calib.qat.loop import QatStep
from calib.qat.settings import EPOCH_IMAGES, EPOCHS, QatSettings
from repghost.api.bundles import Say
from repghost.api.dataset import Split
from repghost.api.quantization import quantize
from repghost.api.quantized import QuantizedNetwork
from repghost.api.shown.progress import Progress
from repghost.api.training.train import calibration_count, train_quantized
from repghost.api.training.trained import Trained
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError, option
from repghost.training.options import Resume

QDQ_FILE = "model.qdq.onnx"
STATE_SUFFIX = ".state.pt"  # of the file that is written: the state of a run that is not done


@dataclass(frozen=True)
class QatPart:
    """How the network is trained under quantization.

    Attributes:
        settings: of the training.
        output: the QDQ file.
        resume: "new" refuses a state that is there, "auto" goes on where there is one.
    """

    settings: QatSettings
    output: Path
    resume: Resume

    @property
    def state(self) -> Path:
        """The file of the state, which goes when the training is done."""
        return self.output.with_name(self.output.name + STATE_SUFFIX)


@dataclass(frozen=True)
class QatFollowed:
    """Who follows it, see `repghost.train_quantized`."""

    step: Callable[[QatStep], None] | None
    candidate: Callable[[Candidate], None] | None
    refused: Callable[[str, str], None] | None
    say: Say
    progress: Progress


def quantized_part(
    mode: str | None, epochs: int | None, images: int | None, seed: int, folder: Path, resume: Resume
) -> QatPart | None:
    """Return how a network is trained under quantization, None where it is not asked for.

    Args:
        mode: "fused" or "reparam".
        epochs: passes; None: as many as `repghost.train_quantized` makes.
        images: of an epoch; None: as many as it takes.
        seed: of the training, so that what it held out also chooses here.
        folder: of the run.
        resume: of the run; where it goes on, this part does too.

    Raises:
        UsageError: for an unknown mode, values without one, or a state that should not be there.
    """
    if mode is None:
        if epochs is not None or images is not None:
            raise UsageError(
                f"{option('qat_epochs')} and {option('qat_images')} have no effect without {option('qat')}; give "
                f"{option('qat', 'fused')}."
            )
        return None
    settings = QatSettings(mode=mode, epochs=epochs or EPOCHS, images=images or EPOCH_IMAGES, seed=seed)
    part = QatPart(settings, folder / QDQ_FILE, "new" if resume == "new" else "auto")
    check_state(Execution(state=part.state, resume=part.resume))  # before hours of training
    return part


def train_quantized_too(
    part: QatPart, found: Trained, split: Split, ranks: Ranks, followed: QatFollowed
) -> QuantizedNetwork:
    """Return the network of a finished run trained under quantization; the first process writes it.

    Args:
        part: how.
        found: the finished run; batches are no larger than its own.
        split: the images it was trained on.
        ranks: the processes of the run, which train this too.
        followed: who follows.
    """
    settings = part.settings
    few = calibration_count(split, settings.held_out, settings.seed)
    start = quantize(found.path, split, images=few, seed=settings.seed, progress=followed.progress)
    made = train_quantized(
        start, split, mode=settings.mode, epochs=settings.epochs, images=settings.images, seed=settings.seed,
        batch=min(settings.batch, found.recipe.batch),
        device=ranks.device.type, state=part.state, resume=part.resume, on_step=followed.step,
        on_candidate=followed.candidate, on_refused=followed.refused, say=followed.say, progress=followed.progress,
    )  # fmt: skip
    if ranks.first:
        made.save(part.output, settings=False)
        part.state.unlink(missing_ok=True)
    ranks.wait()  # for the file
    return made
