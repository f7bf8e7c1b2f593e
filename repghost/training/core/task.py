"""What the training core needs to know of a kind of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from torch import Tensor

from repghost.training.core.progress import Progress
from repghost.training.core.run import Run
from repghost.training.core.snapshot import Snapshot

B = TypeVar("B")  # a batch
R = TypeVar("R")  # the record of an epoch


@dataclass(frozen=True, eq=False)
class BatchLoss:
    """What came out of one batch.

    Attributes:
        loss: scalar, with gradients.
        images: of the batch.
        counted: scalars without gradients that are added up over the epoch, by name.
    """

    loss: Tensor
    images: int
    counted: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(Protocol[B]):
    """What is learned in one epoch: the part of a `Task` that the loop needs."""

    @property
    def run(self) -> Run[Any]:
        """Network, optimizer and schedule, in this process."""
        ...

    def batches(self, epoch: int, done: int) -> Iterator[B]:
        """Yield the batches of an epoch from number `done` on, the same ones whatever ran before."""
        ...

    def loss(self, batch: B, epoch: int, number: int) -> BatchLoss:
        """Run the network forward on a batch (from 0 in its epoch), under autocast where there is one."""
        ...


class Task(Objective[B], Protocol[B, R]):
    """A kind of training, from its state to its state."""

    @property
    def draws(self) -> bool:
        """Whether anything depends on PyTorch's global generator, e.g. dropout."""
        ...

    @property
    def done(self) -> int:
        """Epochs that are behind the run."""
        ...

    def resumed(self) -> Snapshot | None:
        """Return the state to go on from, with the epochs before it noted; None: from the beginning."""
        ...

    def begin(self, progress: Progress) -> None:
        """Tell the caller how long the run is, and how much of it is done."""
        ...

    def begin_epoch(self, epoch: int) -> None:
        """Put the network into training mode, and seed what `draws`."""
        ...

    def evaluate(self, epoch: int, progress: Progress, rate: float) -> R:
        """Return the record of an epoch; every process takes part."""
        ...

    def keep(self, record: R) -> None:
        """Note a record, and write what has to be on disk before the state that says that the epoch is done."""
        ...

    def write(self, snapshot: Snapshot) -> None:
        """Write the state, whole or not at all; the first process alone is asked."""
        ...

    def tell(self, record: R) -> None:
        """Tell the caller of an epoch whose state is written."""
        ...

    def advice(self) -> str:
        """Return what to do with what is kept once weights are no numbers any more, "" where nothing."""
        ...
