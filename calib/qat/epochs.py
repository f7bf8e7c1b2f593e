"""The epochs of training under quantization: the shared loop, a candidate after each, the state between two steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from calib.qat.candidates import Candidate, Candidates
from calib.qat.convertible import check_accumulators
from calib.qat.data import TrainingFeed
from calib.qat.loop import QatRun, QatStep
from calib.qat.settings import FREEZE_STATISTICS
from calib.qat.state import RunKey, read_state, restore, take_state, write_state
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError, option, unknown_value
from repghost.training.follow import hooks as training
from repghost.training.loop import Loop
from repghost.training.options import Options, Resume
from repghost.training.state.state import Progress

RESUMES = ("new", "continue", "auto")


@dataclass(frozen=True)
class Hooks:
    """How the caller follows a run; the defaults do nothing.

    Attributes:
        calibrated: called with the number of images of each calibration batch.
        begin: called with the number of training steps, and of those that are done already.
        step: called after each training step.
        candidate: called with each candidate once it is evaluated.
        refused: called with the name of a network that cannot be a candidate, and the reason.
        should_stop: is asked before each step; true ends the run with a state to go on from.
    """

    calibrated: Callable[[int], None] = lambda images: None
    begin: Callable[[int, int], None] = lambda steps, done: None
    step: Callable[[QatStep], None] = lambda step: None
    candidate: Callable[[Candidate], None] = lambda candidate: None
    refused: Callable[[str, str], None] = lambda name, reason: None
    should_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True, eq=False)
class Execution:
    """What decides how a run is carried out, but not its result; and another teacher than the float network.

    Attributes:
        ranks: this process among those of torchrun, and its device.
        state: the file of the state, None where the run cannot be resumed.
        resume: "new" refuses a state that is there, "continue" needs one, "auto" goes on if there is one.
        state_interval: steps between two states within an epoch; 0: after each epoch only.
        log_interval: steps between two looks at the loss on a GPU, each of which waits for it.
        teacher: in place of the float network; takes the same images.
    """

    ranks: Ranks = Ranks()  # noqa: RUF009 - immutable
    state: Path | None = None
    resume: Resume = "new"
    state_interval: int = 0
    log_interval: int = 50
    teacher: nn.Module | None = None


def train_epochs(
    run: QatRun, feed: TrainingFeed, candidates: Candidates, hooks: Hooks, execution: Execution, key: RunKey
) -> None:
    """Train in place from the beginning or from a state, and add a candidate after each epoch.

    Args:
        run: freshly built.
        feed: the training images.
        candidates: with the calibrated start.
        hooks: follow and stop.
        execution: where the state is, and how often it is written.
        key: what a state has to agree with.

    Raises:
        UsageError: for a state that is missing, should not be there, or belongs to another run.
        TrainingStoppedError: when a hook said so; the state is written.
        RepGhostError: when the loss is no longer finite.
    """
    done, progress, ranks = 0, Progress(), execution.ranks
    if execution.state is not None and execution.state.exists():
        state = read_state(execution.state, key)
        restore(state, run, candidates)
        done, progress = state.epochs, state.progress
        for candidate in candidates.found[1:]:
            hooks.candidate(candidate)

    def write(progress: Progress) -> None:
        if execution.state is not None and ranks.first:
            write_state(execution.state, take_state(key, done, progress, run, candidates))

    hooks.begin(run.steps, done * run.steps_per_epoch + progress.batches)
    options = Options(state_interval=execution.state_interval, log_interval=execution.log_interval)
    loop = Loop(run, feed, _followed(run, hooks, done, progress), options, write)
    while done < run.settings.epochs:
        loop.train(done, progress)
        if done == run.settings.epochs - 1:  # also where rounding put a phase behind the last step
            run.enter(FREEZE_STATISTICS)
        _add_epoch(done, run, candidates, hooks)
        done, progress = done + 1, Progress()
        write(progress)
        ranks.wait()


def check_state(execution: Execution) -> None:
    """Refuse a state that is missing, or should not be there.

    Raises:
        UsageError: saying which, and what to give.
    """
    path, resume = execution.state, execution.resume
    if resume not in RESUMES:
        raise unknown_value("way to resume", resume, RESUMES)
    if path is None:
        if resume != "new":
            raise UsageError("nothing says where the state of the run is; give state=, the file it is written to.")
    elif resume == "new" and path.exists():
        raise UsageError(
            f"{path} exists; give {option('resume', 'continue')} to go on with that run, or remove the file to start "
            "anew."
        )
    elif resume == "continue" and not path.is_file():
        raise UsageError(f"{path}: no training state to resume from; leave {option('resume')} out to start a run.")


def _followed(run: QatRun, hooks: Hooks, epochs: int, progress: Progress) -> training.Hooks:
    """Return the hooks of the loop, which number the steps of the whole run."""
    number = epochs * run.steps_per_epoch + progress.batches

    def step(record: training.StepRecord) -> None:
        nonlocal number
        hooks.step(QatStep(number, run.steps, record.epoch, record.images, run.phase, record.loss))
        number += 1

    return training.Hooks(step=step, should_stop=hooks.should_stop)


def _add_epoch(epoch: int, run: QatRun, candidates: Candidates, hooks: Hooks) -> None:
    """Evaluate the network after an epoch; where it does not fit the planned integers it is no candidate."""
    name = f"epoch {epoch + 1}"
    run.ranks.share(run.network)  # the first process's statistics
    try:
        converted = run.network.convert()
        check_accumulators(*converted)
        candidate = candidates.add(name, *converted)
    except UsageError as error:
        hooks.refused(name, str(error))
    else:
        hooks.candidate(candidate)
