"""What each process of a training under quantization computes, in a loop of somebody else."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from calib.qat.network import QatNetwork
from calib.qat.weights import FusedWeights
from tests.support.quantized_graphs import IMAGES, PREPROCESS, quantize
from tests.support.random_graphs import CLASSES, Builder, random_graph

STEPS, FROZEN = 4, 2  # and the step before which scales are frozen


def trained(rank: int, count: int) -> dict[str, torch.Tensor]:
    """Return the state of a network after a few steps, each process on its share of every batch."""
    graph, spec = quantize(random_graph(4, (Builder.depthwise, Builder.residual, Builder.function), length=5))
    network = QatNetwork(graph, spec, FusedWeights(graph)).train()
    wrapped: torch.nn.Module = network
    if count > 1:
        if rank:
            for tensor in network.state_dict().values():  # the first process's are broadcast
                tensor.zero_()
        wrapped = DistributedDataParallel(network)
    optimizer = torch.optim.SGD(network.parameters(), 1e-2, momentum=0.9)
    images, labels = torch.from_numpy(PREPROCESS.normalize(IMAGES)), torch.arange(len(IMAGES)) % CLASSES
    own = slice(rank * len(IMAGES) // count, (rank + 1) * len(IMAGES) // count)
    for step in range(STEPS):
        if step == FROZEN:
            network.freeze_observers()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(wrapped(images[own]), labels[own]).backward()
        optimizer.step()
    return network.state_dict()


def main(folder: str) -> None:
    dist.init_process_group("gloo")
    rank, count = dist.get_rank(), dist.get_world_size()
    torch.save(trained(rank, count), Path(folder) / f"rank-{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
