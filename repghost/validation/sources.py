"""From what a user names to networks: a checkpoint, the state of a run, a QDQ file, a bundle, or timm's weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from repghost.checkpoints import weight_names
from repghost.checkpoints.checkpoint import Checkpoint, build_model, read_checkpoint
from repghost.checkpoints.identify import validated
from repghost.checkpoints.timm_hub import SOURCE, open_checkpoint
from repghost.data.images.chosen_preprocess import resolve_preprocess
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError, option
from repghost.evaluation.accuracy import BATCH, predict
from repghost.evaluation.predictor import Predictor
from repghost.hub.download import local_file
from repghost.network.fuse import fuse
from repghost.network.spec import ModelSpec
from repghost.training.state.state import read_state
from repghost.untrusted import file_digest

EMA, RAW = "EMA", "raw"
_KINDS = dict.fromkeys(weight_names.AVERAGED, EMA) | dict.fromkeys(weight_names.RAW, RAW)


def open_checkpoints(
    source: str | Path,
    preprocess_file: Path | None = None,
    device: torch.device | None = None,
    width: float | None = None,
    batch: int = BATCH,
) -> list[Predictor]:
    """Return the float networks of a weight file: as they are, raw and averaged where it has both, and fused.

    Args:
        source: a checkpoint of any kind, the state.pt of a run, or "timm".
        preprocess_file: JSON that takes precedence over the checkpoint's preprocessing.
        device: where PyTorch computes.
        width: needed for timm; for a file, another width is refused.
        batch: images per step.

    Raises:
        UsageError: when the file cannot be used, or nothing says how its images are prepared.
    """
    device = device or torch.device("cpu")
    state = _from_state(source) if str(source).endswith(".pt") else None
    checkpoints = state or _from_file(source, width)
    predictors = []
    for kind, checkpoint in checkpoints.items():
        preprocess = resolve_preprocess(checkpoint.preprocess, checkpoint.spec.num_classes, preprocess_file)
        _refuse_other_colours(source, checkpoint, preprocess)
        forms = {" ".join(filter(None, ("fp32", kind))): build_model(checkpoint)}
        if kind != RAW and checkpoint.spec.form != "fused":  # the raw weights of a run are not the ones deployed
            forms |= {f"{name} fused": fuse(model) for name, model in forms.items()}
        for name, model in forms.items():
            predictors.append(
                Predictor(
                    name=name,
                    source=str(source),
                    digest=checkpoint.digest,
                    by=f"PyTorch on {device.type}",
                    preprocess=preprocess,
                    classes=checkpoint.spec.num_classes,
                    labels=checkpoint.labels,
                    logits=partial(predict, model.to(device), preprocess=preprocess, batch=batch),
                )
            )
    return predictors


def _refuse_other_colours(source: str | Path, checkpoint: Checkpoint, preprocess: Preprocess) -> None:
    colours = checkpoint.spec.in_chans
    if colours != preprocess.channels:
        raise UsageError(
            f"{source} takes {colours} colours, the pictures have {preprocess.channels}; give "
            f"{option('preprocess', 'FILE')} whose mean and std have as many numbers: three for RGB pictures, one for "
            "grey ones, and one more where pictures have another band."
        )


def _from_file(source: str | Path, width: float | None) -> dict[str, Checkpoint]:
    """Return the weights in a file by their kind, "" where it has one kind only."""
    chosen = open_checkpoint(source, width)
    kind = _kind(chosen)
    if kind != EMA or str(source) == SOURCE:
        return {"": chosen}
    other = read_checkpoint(source, width=width, prefer_ema=False)
    both = _kind(other) == RAW
    return {RAW: other, EMA: chosen} if both else {EMA: chosen}


def _kind(checkpoint: Checkpoint) -> str:
    """Return whether the weights of a training file are averaged or raw, "" where it does not say."""
    return _KINDS.get(str(checkpoint.metadata.get("weights")).split(".")[0], "")


def _from_state(source: str | Path) -> dict[str, Checkpoint] | None:
    """Return the weights in the state of a run, None for another kind of file."""
    path = Path(source)
    try:
        state = read_state(path)
    except UsageError:
        return None
    spec = ModelSpec(state.recipe.width, len(state.classes), state.recipe.preprocess.channels, state.recipe.dropout)
    model, average = (validated(weights, spec) if weights else {} for weights in (state.model, state.average))
    raw = Checkpoint(model, spec, state.recipe.preprocess.to_dict(), state.classes, {}, file_digest(local_file(path)))
    return {RAW: raw, EMA: replace(raw, state_dict=average)} if average else {"": raw}
