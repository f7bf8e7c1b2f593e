"""The part of a state that every kind of training has, between two steps: taken from a run and put back into one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from repghost.checkpoints.state_file import load_optimizer, weights_in
from repghost.errors import UsageError
from repghost.training.core.progress import Progress, read_progress
from repghost.training.core.run import Run


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What a resumed run needs, beside what its kind of training notes."""

    progress: Progress
    model: Mapping[str, Tensor]
    average: Mapping[str, Tensor]  # empty without one
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    random: tuple[Tensor, ...]  # the generator of each process, empty between epochs

    def parts(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(Snapshot)}

    def values(self) -> dict[str, Any]:
        """Return the form on disk."""
        return {
            "progress": json.dumps(dataclasses.asdict(self.progress)),
            "model": dict(self.model),
            "average": dict(self.average),
            "optimizer": self.optimizer,
            "scaler": self.scaler,
            "random": list(self.random),
        }


def take_snapshot(run: Run[Any], progress: Progress) -> Snapshot:
    """Return the state of a run between two steps; every process takes part."""
    random = tuple(run.ranks.gather(torch.get_rng_state())) if progress.batches else ()
    return Snapshot(
        progress=progress,
        model=run.model.state_dict(),
        average={} if run.average is None else run.average.module.state_dict(),
        optimizer=run.optimizer.state_dict(),
        scaler=run.scaler.state_dict(),
        random=random,
    )


def parts_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the snapshot that `Snapshot.values` wrote, by name.

    Raises:
        Exception: of many kinds, when they are something else, see `repghost.checkpoints.state_file.read_values`.
    """
    return {
        "progress": read_progress(values["progress"]),
        "model": weights_in(values, "model"),
        "average": weights_in(values, "average") if "average" in values else {},
        "optimizer": values["optimizer"],
        "scaler": values["scaler"],
        "random": tuple(torch.Generator().set_state(state).get_state() for state in values.get("random", ())),
    }


def restore(run: Run[Any], snapshot: Snapshot) -> None:
    """Put a snapshot back into a freshly started run.

    Raises:
        UsageError: when the weights do not fit, or the number of processes changed within an epoch.
    """
    batches = snapshot.progress.batches
    if batches and snapshot.random and len(snapshot.random) != run.ranks.count:
        raise UsageError(
            f"the state was written within an epoch by {len(snapshot.random)} processes, now there are "
            f"{run.ranks.count}; start as many, or go on from the end of an epoch."
        )
    try:
        run.model.load_state_dict(snapshot.model)
        if run.average is not None:
            run.average.module.load_state_dict(snapshot.average)
        load_optimizer(run.optimizer, snapshot.optimizer)
        run.scaler.load_state_dict(snapshot.scaler)
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise UsageError(
            f"the state to resume from belongs to another network or set of pictures ({error})."
        ) from error
    if not 0 <= batches <= run.batches_per_epoch:
        raise UsageError(
            f"the state was written after {batches} batches of an epoch, which has {run.batches_per_epoch} here; give "
            "the set of pictures that the run began with."
        )
