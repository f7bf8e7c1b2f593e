"""Whether a run goes on from a state: it has to be one of the same recipe and the same classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from repghost.errors import UsageError, option
from repghost.training.core.epochs import check_resume
from repghost.training.core.run import Run
from repghost.training.recipe import Recipe
from repghost.training.state.state import AnyRecipe, E, Q, RunState, StateForm

CHOSEN_BY_IMAGES = ("batch", "epochs", "learning_rate")  # by `suit_images`


def starting_state(
    recipe: Q,
    classes: tuple[str, ...],
    path: Path,
    resume: str,
    form: StateForm[Q, E],
) -> RunState[Q, E] | None:
    """Return the state to go on from, or None for a fresh run.

    Args:
        recipe: of this run; the state's must be equal.
        classes: of this run; the state's must be equal.
        path: of the state.
        resume: "new", "continue" or "auto".
        form: of the state.

    Raises:
        UsageError: when there is a state and should be none, or none and should be one, or it is of another run.
    """
    check_resume(path, resume, f"another {option('output')} folder")
    if not path.exists():
        return None
    state = form.read(path)
    if state.recipe != recipe:
        raise _other_recipe(path, state.recipe, recipe)
    if state.classes != classes:
        raise UsageError(
            f"{path} belongs to another network or set of pictures: {len(state.classes)} classes, here {len(classes)}; "
            "names and order have to be the same."
        )
    return state


def check_weights(kept: Iterable[str], run: Run[Any]) -> None:
    """Refuse records of weights that a run does not have.

    Args:
        kept: "averaged" or "raw" of each record.
        run: as the recipe builds it.

    Raises:
        UsageError: naming the first ones.
    """
    for weights in kept:
        if weights not in run.networks:
            raise UsageError(
                f"the state to resume from belongs to another network or set of pictures ({weights!r} weights)."
            )


def _other_recipe(path: Path, theirs: AnyRecipe, mine: AnyRecipe) -> UsageError:
    """Return the refusal of a state of another recipe, with what a run changes by itself (`repghost.training.suit`)."""
    ours, others = mine.to_dict(), theirs.to_dict()
    changed = sorted(_changed(ours, others))
    lines = [
        f"{path} was written with other values of {', '.join(changed)}; resume with the same ones or choose another "
        f"{option('output')} folder."
    ]
    flags = [option(name, others[name]) for name in CHOSEN_BY_IMAGES if name in changed]
    if flags and isinstance(theirs, Recipe):
        lines.append(
            "Where training pictures are few, batch, epochs and rate follow from their number and that of the "
            f"processes; that run has {' '.join(flags)}."
        )
    if "amp" in changed:
        amp, here = (values.get("execution", values)["amp"] for values in (others, ours))
        way = "resume on a GPU" if amp == "float16" else f"give {option('amp_dtype', amp)}"
        lines.append(f"Mixed precision was {amp} and is {here} here: without a GPU, float16 is turned off; {way}.")
    return UsageError(*lines)


def _changed(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the values that differ, those of the parts of a recipe by their own names."""
    for name, value in mine.items():
        if isinstance(value, Mapping) and isinstance(theirs[name], Mapping):
            yield from _changed(value, theirs[name])
        elif value != theirs[name]:
            yield name
