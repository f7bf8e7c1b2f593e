"""The processes of one run, as torchrun starts them: this one's rank, sums over all of them, and the loss of one."""

from __future__ import annotations

import contextlib
import datetime
import inspect
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from repghost.distributed.rendezvous import agree_on_name
from repghost.errors import RepGhostError, UsageError, option

TIMEOUT = 600.0  # seconds that a process waits for the others


class PeerLostError(RepGhostError):
    """Another process of the run ended, or did not answer in time."""


@dataclass(frozen=True)
class Ranks:
    """This process among `count`; alone, every method is the identity."""

    rank: int = 0
    local_rank: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def sums(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all processes, added in float64."""
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor]

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true in any process, so that all take the same branch."""
        return flag if self.count == 1 else self.sums([float(flag)])[0] > 0

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def share(self, module: torch.nn.Module) -> None:
        """Give every process the first one's parameters and buffers."""
        if self.count > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)

    def distributed(self, module: torch.nn.Module, own_buffers: bool = True) -> DistributedDataParallel:
        """Return a module whose gradients are averaged over all processes.

        Args:
            module: on this process's device.
            own_buffers: each process keeps its own running statistics, as upstream's; the first one's are evaluated
                and kept. Otherwise every forward pass begins with the first one's buffers.
        """
        devices = [self.device.index] if self.device.type == "cuda" else None
        # PyTorch 2.14 gave the switch another name.
        known = "forward_sync_buffers" in inspect.signature(DistributedDataParallel.__init__).parameters
        switch: dict[str, Any] = {"forward_sync_buffers" if known else "broadcast_buffers": not own_buffers}
        return DistributedDataParallel(module, device_ids=devices, **switch)

    def wait(self) -> None:
        """Return once every process is here."""
        self.sums([0.0])


@contextlib.contextmanager
def join(device: str | None = None, timeout: float = TIMEOUT) -> Iterator[Ranks]:
    """Join the processes that torchrun started, or the group that is there already; without torchrun, be the only one.

    Args:
        device: "cpu" or "cuda"; by default a GPU where there is one for each process.
        timeout: seconds to wait for the others before giving up.

    Raises:
        UsageError: when a device is asked for that is not there.
        PeerLostError: when another process is gone.
    """
    count, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    chosen = choose_device(device, local)
    if count == 1:
        yield Ranks(device=chosen)
        return
    if dist.is_initialized():  # by a script of the user's, which also ends it
        yield Ranks(dist.get_rank(), local, dist.get_world_size(), chosen)
        return
    # Losses and accuracies go over gloo also where gradients go over nccl: they must not wait for the GPU.
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    try:
        _start_group(backend, timeout)
        yield Ranks(dist.get_rank(), local, count, chosen)
    except RuntimeError as error:
        if not _is_about_peers(error):
            raise
        raise PeerLostError(
            f"process {os.environ.get('RANK', '?')} of {count} stops: another one ended or did not answer within "
            f"{timeout:g} s ({str(error).strip().splitlines()[0][:200]}). Its own message says why; after that, "
            f"start again with {option('resume', 'auto')}."
        ) from error
    finally:
        if dist.is_initialized():
            # Ending a group waits for work in flight, which never ends when a peer is gone.
            with contextlib.suppress(RuntimeError):
                dist.destroy_process_group()


def _start_group(backend: str, timeout: float) -> None:
    """Form the group of the processes that were started together."""
    limit = datetime.timedelta(seconds=timeout)
    store, rank, count = next(dist.rendezvous("env://", timeout=limit))  # type: ignore[attr-defined]
    store = dist.PrefixStore(agree_on_name(store, rank, count, timeout), store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=limit)


def choose_device(name: str | None, local_rank: int = 0) -> torch.device:
    """Return the device of this process.

    Raises:
        UsageError: for an unknown name, or when there is no such GPU.
    """
    if name not in (None, "cpu", "cuda"):
        raise UsageError(f"unknown device {name!r}; allowed: cpu, cuda.")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cuda" and local_rank >= gpus:
        raise UsageError(
            f"this process needs GPU number {local_rank}, and PyTorch sees {gpus}; start fewer processes or give "
            f"{option('device', 'cpu')}."
        )
    if name == "cpu" or local_rank >= gpus:
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _is_about_peers(error: RuntimeError) -> bool:
    """Return whether an error comes from talking to another process."""
    words = ("gloo", "connection", "timed out", "timeout", "nccl", "process group", "socket", "recvvalue", "store")
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in words)
