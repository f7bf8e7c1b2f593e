"""Training from the first epoch to the last: every epoch is evaluated, and training can continue from every state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from repghost.distributed.ranks import Ranks
from repghost.errors import RepGhostError, UsageError, option, unknown_value
from repghost.locks import locked
from repghost.training.core.hooks import StepHooks
from repghost.training.core.loop import Intervals, Loop
from repghost.training.core.progress import Progress
from repghost.training.core.snapshot import restore, take_snapshot
from repghost.training.core.task import B, R, Task

RESUMES = ("new", "continue", "auto")


def run_epochs(task: Task[B, R], hooks: StepHooks, intervals: Intervals) -> None:
    """Train in place, from the task's state or from the beginning.

    Args:
        task: freshly built; what came out is in its run and its records.
        hooks: follow and stop.
        intervals: of states and of looks at the loss.

    Raises:
        UsageError: for a state of another run.
        TrainingStoppedError: when a hook said so; the state is written.
        RepGhostError: when loss or weights are no longer finite.
    """
    run, progress, random = task.run, Progress(), tuple[torch.Tensor, ...]()
    found = task.resumed()
    if found is not None:
        restore(run, found)
        progress, random = found.progress, found.random if found.progress.batches else ()
    task.begin(progress)
    loop = Loop(task, hooks, intervals, partial(_write, task))
    for epoch in range(task.done, run.epochs):
        task.begin_epoch(epoch)
        if random and task.draws:
            torch.set_rng_state(random[run.ranks.rank % len(random)])
        whole, rate = loop.train(epoch, progress)
        record = task.evaluate(epoch, whole, rate)
        _refuse_broken_weights(task, epoch)
        task.keep(record)
        progress, random = Progress(), ()
        _write(task, progress)
        task.tell(record)
        run.ranks.wait()


def _write(task: Task[Any, Any], progress: Progress) -> None:
    """Write the state between two steps; every process takes part."""
    if progress.batches:
        _refuse_broken_weights(task, task.done)
    snapshot = take_snapshot(task.run, progress)
    if task.run.ranks.first:
        task.write(snapshot)


def _refuse_broken_weights(task: Task[Any, Any], epoch: int) -> None:
    """Raise before a state is overwritten by weights that are no numbers; every process has the same ones."""
    norms = torch._foreach_norm([weights.detach() for weights in task.run.model.parameters()], torch.inf)
    if not torch.isfinite(torch.stack(norms)).all():
        raise RepGhostError(
            f"the weights are no longer numbers in epoch {epoch + 1}; the last state is kept as it was. Lower "
            f"{option('learning_rate')}, or set {option('clip_grad', 1.0)}, in a run of its own{task.advice()}."
        )


def check_resume(path: Path, resume: str, anew: str) -> None:
    """Refuse a state that is missing, or should not be there.

    Args:
        path: of the state.
        resume: "new" refuses a state that is there, "continue" needs one, "auto" goes on if there is one.
        anew: how to begin a run where there is one.

    Raises:
        UsageError: saying which, and what to give.
    """
    if resume not in RESUMES:
        raise unknown_value("way to resume", resume, RESUMES)
    if resume == "new" and path.exists():
        raise UsageError(f"{path} exists; give {option('resume', 'continue')} to go on with that run, or {anew}.")
    if resume == "continue" and not path.is_file():
        raise UsageError(f"{path}: no training state to resume from; leave {option('resume')} out to start a run.")


@contextmanager
def alone_in(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Keep other runs out of a folder, after waiting for one that is in it."""
    with locked(folder) if ranks.first else nullcontext():
        ranks.wait()
        yield
