"""What each process of a run computes; the first one writes it to a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from repghost.data import open_dataset
from repghost.distributed.ranks import Ranks, join
from repghost.training.build import start
from repghost.training.classify import Classes
from repghost.training.core.loop import Loop
from repghost.training.epoch import share_statistics
from repghost.training.feeds.choose import open_feed
from repghost.training.follow.hooks import Hooks
from repghost.training.options import Loading
from repghost.training.train import Options
from tests.support.training_sets import made_set, tiny_recipe

# nothing that depends on how a batch is cut
EXACT = {"freeze": "bn", "dropout": 0.0, "reprob": 0.0, "ema": False}


def gradients(ranks: Ranks, batch: int, folder: Path) -> None:
    """Write the averaged gradients of one batch."""
    recipe, options = tiny_recipe(batch=batch, **EXACT), Options(Loading(workers=0))
    feed = open_feed(recipe, made_set(), made_set(10), 3, Hooks(), replace(options, ranks=ranks))
    run = start(recipe, 3, 1, ranks)
    loop = Loop(Classes(run, feed, run.loss))
    found: dict[str, torch.Tensor] = {}

    def keep(epoch: int, step: int) -> None:
        found.update({name: p.grad.clone() for name, p in run.model.named_parameters() if p.grad is not None})

    run.update = keep  # type: ignore[method-assign]  # in place of the step of the optimizer
    loop.learn(next(feed.batches(0, 0)), 0, 0)
    if ranks.first:
        torch.save(found, folder / f"gradients-{ranks.count}.pt")


def statistics(ranks: Ranks, how: str) -> list[float]:
    """Return each process's running mean after it was shared."""
    run = start(tiny_recipe(dist_bn=how, ema=False), 3, 1, ranks)
    run.model.bn1.running_mean.fill_(float(1 + ranks.rank))
    share_statistics(run)
    return [float(value) for value in ranks.gather(run.model.bn1.running_mean[0].item())]


def seen(ranks: Ranks, pattern: str) -> list[list[int]]:
    """Return the numbers that each process's images of an epoch say, in the order they are trained on."""
    recipe = tiny_recipe(batch=4, no_aug=True, reprob=0.0)
    dataset = open_dataset(pattern, "train")
    feed = open_feed(recipe, dataset, dataset, 3, Hooks(), Options(loading=Loading(workers=0), ranks=ranks))
    mean, std = (torch.tensor(values)[:, None] for values in (recipe.preprocess.mean, recipe.preprocess.std))
    own = []
    for inputs, _, _ in feed.batches(1, 0):
        colours = ((inputs[:, :, 0, 0].T * std + mean) * 255).round().long()
        own += (colours[0] + 200 * colours[1]).tolist()
    return ranks.gather(own)


def main(what: str, argument: str, folder: str) -> None:
    with join("cpu", 60) as ranks:
        if what == "gradients":
            gradients(ranks, int(argument), Path(folder))
        elif what == "seen":
            numbers = seen(ranks, argument)
            if ranks.first:
                (Path(folder) / "seen.json").write_text(json.dumps(numbers))
        else:
            values = {how: statistics(ranks, how) for how in ("broadcast", "reduce")}
            if ranks.first:
                (Path(folder) / "statistics.json").write_text(json.dumps(values))
