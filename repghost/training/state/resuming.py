"""Taking the state of a run, and continuing a run from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from repghost.checkpoints.state_file import load_optimizer
from repghost.errors import UsageError, option
from repghost.training.build import Run
from repghost.training.recipe import Recipe
from repghost.training.state.state import EpochRecord, Progress, RunState, read_state

CHOSEN_BY_IMAGES = ("batch", "epochs", "learning_rate")  # by `suit_images`


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
            raise UsageError(
                f"{path} exists; give {option('resume', 'continue')} to go on with that run, or another "
                f"{option('output')} folder."
            )
        return None
    if resume == "auto" and not path.exists():
        return None
    state = read_state(path)
    if state.recipe != recipe:
        raise _other_recipe(path, state.recipe, recipe)
    if state.classes != classes:
        raise UsageError(
            f"{path} belongs to another network or set of pictures: {len(state.classes)} classes, here {len(classes)}; "
            "names and order have to be the same."
        )
    return state


def _other_recipe(path: Path, theirs: Recipe, mine: Recipe) -> UsageError:
    """Return the refusal of a state of another recipe, with what a run changes by itself (`repghost.training.suit`)."""
    changed = sorted(_changed(mine.to_dict(), theirs.to_dict()))
    lines = [
        f"{path} was written with other values of {', '.join(changed)}; resume with the same ones or choose another "
        f"{option('output')} folder."
    ]
    flags = [option(name, getattr(theirs, name)) for name in CHOSEN_BY_IMAGES if name in changed]
    if flags:
        lines.append(
            "Where training pictures are few, batch, epochs and rate follow from their number and that of the "
            f"processes; that run has {' '.join(flags)}."
        )
    if "amp" in changed:
        amp = theirs.execution.amp
        way = "resume on a GPU" if amp == "float16" else f"give {option('amp_dtype', amp)}"
        lines.append(
            f"Mixed precision was {amp} and is {mine.execution.amp} here: without a GPU, float16 is turned off; {way}."
        )
    return UsageError(*lines)


def _changed(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the values that differ, those of the parts of a recipe by their own names."""
    for name, value in mine.items():
        if isinstance(value, Mapping) and isinstance(theirs[name], Mapping):
            yield from _changed(value, theirs[name])
        elif value != theirs[name]:
            yield name


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
