"""Taking the state of a run, and continuing a run from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from repghost.checkpoints.state_file import load_optimizer
from repghost.errors import UsageError
from repghost.training.build import Run
from repghost.training.recipe import Recipe
from repghost.training.state.state import EpochRecord, Progress, RunState, read_state


def starting_state(recipe: Recipe, classes: tuple[str, ...], path: Path, resume: str) -> RunState | None:
    """Return the state to go on from, or None for a fresh run.

    Args:
        recipe: of this run; the state's must be equal.
        classes: of this run; the state's must be equal.
        path: of the state.
        resume: "new", "continue" or "auto".

    Raises:
        UsageError: when there is a state and should be none, or none and should be one, or it is of another run.
    """
    if resume == "new":
        if path.exists():
            raise UsageError(f"{path} exists; give --resume to go on with that run, or another --output folder.")
        return None
    if resume == "auto" and not path.exists():
        return None
    state = read_state(path)
    if state.recipe != recipe:
        mine, other = recipe.to_dict(), state.recipe.to_dict()
        changed = sorted(key for key, value in mine.items() if other[key] != value)
        raise UsageError(
            f"{path} was written with other values of {', '.join(changed)}; resume with the same ones or choose "
            "another --output folder."
        )
    if state.classes != classes:
        raise UsageError(
            f"{path} belongs to another network or set of pictures: {len(state.classes)} classes, here {len(classes)}; "
            "names and order have to be the same."
        )
    return state


def snapshot(
    run: Run,
    classes: tuple[str, ...],
    history: Sequence[EpochRecord],
    progress: Progress,
    random: tuple[torch.Tensor, ...],
) -> RunState:
    """Return everything a resumed run needs."""
    return RunState(
        recipe=run.recipe,
        classes=classes,
        history=tuple(history),
        progress=progress,
        model=run.model.state_dict(),
        average={} if run.average is None else run.average.module.state_dict(),
        optimizer=run.optimizer.state_dict(),
        scaler=run.scaler.state_dict(),
        random=random,
    )


def restore(run: Run, state: RunState) -> None:
    """Put a state back into a freshly started run.

    Raises:
        UsageError: when the weights do not fit, or the number of processes changed within an epoch.
    """
    if state.progress.batches and len(state.random) != run.ranks.count:
        raise UsageError(
            f"the state was written within an epoch by {len(state.random)} processes, now there are "
            f"{run.ranks.count}; start as many, or go on from the end of an epoch."
        )
    try:
        run.model.load_state_dict(state.model)
        if run.average is not None:
            run.average.module.load_state_dict(state.average)
        load_optimizer(run.optimizer, state.optimizer)
        run.scaler.load_state_dict(state.scaler)
        for record in state.history:
            run.networks[record.weights]
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise UsageError(
            f"the state to resume from belongs to another network or set of pictures ({error})."
        ) from error
