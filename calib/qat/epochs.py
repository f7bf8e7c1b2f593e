"""Training under quantization as a task of `repghost.training.core`: a candidate after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from calib.qat.candidates import Candidate, Candidates
from calib.qat.convertible import check_accumulators
from calib.qat.loop import QatRun, QatStep
from calib.qat.settings import FREEZE_STATISTICS
from calib.qat.state import QatState, RunKey, read_state, restore_candidates, take_state, write_state
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError
from repghost.training.core.epochs import check_resume, run_epochs
from repghost.training.core.hooks import StepHooks, StepRecord
from repghost.training.core.loop import Intervals
from repghost.training.core.progress import Progress
from repghost.training.core.snapshot import Snapshot
from repghost.training.core.task import BatchLoss, Objective
from repghost.training.options import Resume


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


@dataclass(eq=False)
class QatTask:
    """Training under quantization as a `Task`: a candidate after each epoch.

    Attributes:
        objective: the network, its batches and its loss.
        candidates: with the calibrated start.
        hooks: follow and stop.
        execution: where the state is.
        key: what a state has to agree with.
        done: epochs.
    """

    objective: Objective[Any]
    candidates: Candidates
    hooks: Hooks
    execution: Execution
    key: RunKey
    done: int = 0
    draws = False

    @property
    def run(self) -> QatRun:
        """What learns."""
        run = self.objective.run
        assert isinstance(run, QatRun)
        return run

    def batches(self, epoch: int, done: int) -> Iterator[Any]:
        """Yield the batches of an epoch."""
        return self.objective.batches(epoch, done)

    def loss(self, batch: Any, epoch: int, number: int) -> BatchLoss:
        """Return the loss of a batch."""
        return self.objective.loss(batch, epoch, number)

    def resumed(self) -> QatState | None:
        """Return the state of an earlier run, with its candidates in place."""
        path = self.execution.state
        if path is None or not path.exists():
            return None
        state = read_state(path, self.key)
        restore_candidates(state, self.candidates)
        self.done = state.epochs
        for candidate in self.candidates.found[1:]:
            self.hooks.candidate(candidate)
        return state

    def begin(self, progress: Progress) -> None:
        """Say how many steps there are."""
        self.hooks.begin(self.run.steps, self.done * self.run.steps_per_epoch + progress.batches)

    def begin_epoch(self, epoch: int) -> None:
        """Do nothing: the network is in training mode."""

    def evaluate(self, epoch: int, progress: Progress, rate: float) -> Candidate | None:
        """Evaluate the network after an epoch; where it does not fit the planned integers it is no candidate."""
        run, name = self.run, f"epoch {epoch + 1}"
        if epoch == run.epochs - 1:  # also where rounding put a phase behind the last step
            run.enter(FREEZE_STATISTICS)
        run.ranks.share(run.model)  # the first process's statistics
        try:
            converted = run.model.convert()
            check_accumulators(*converted)
            return self.candidates.add(name, *converted)
        except UsageError as error:
            self.hooks.refused(name, str(error))
            return None

    def keep(self, record: Candidate | None) -> None:
        """Count the epoch; its candidate is in place."""
        self.done += 1

    def write(self, snapshot: Snapshot) -> None:
        """Write the state, where there is a place for it."""
        if self.execution.state is not None:
            write_state(self.execution.state, take_state(self.key, self.done, snapshot, self.candidates))

    def tell(self, record: Candidate | None) -> None:
        """Tell of a candidate."""
        if record is not None:
            self.hooks.candidate(record)

    def advice(self) -> str:
        """Return nothing."""
        return ""


def train_epochs(task: QatTask) -> None:
    """Train in place from the beginning or from a state, and add a candidate after each epoch.

    Raises:
        UsageError: for a state that is missing, should not be there, or belongs to another run.
        TrainingStoppedError: when a hook said so; the state is written.
        RepGhostError: when the loss is no longer finite.
    """
    execution = task.execution

    def step(record: StepRecord) -> None:
        run = task.run
        number = record.epoch * run.steps_per_epoch + record.batch
        task.hooks.step(QatStep(number, run.steps, record.epoch, record.images, run.phase, record.loss))

    hooks = StepHooks(step, task.hooks.should_stop)
    run_epochs(task, hooks, Intervals(execution.state_interval, execution.log_interval))


def check_state(execution: Execution) -> None:
    """Refuse a state that is missing, or should not be there.

    Raises:
        UsageError: saying which, and what to give.
    """
    path, resume = execution.state, execution.resume
    if path is not None:
        check_resume(path, resume, "remove the file to start anew")
    elif resume != "new":
        raise UsageError("nothing says where the state of the run is; give state=, the file it is written to.")
