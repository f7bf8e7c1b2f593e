"""The search's last levers for CPUs: the layers that gain most by it read 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calib.analysis.wide_cost import added_shares
from calib.ptq import search_settings as search
from calib.ptq.search_settings import SearchImages, Trial, search_settings
from calib.settings.config import QuantConfig
from repghost.errors import AccuracyGateError
from repghost.graph.operators import Graph
from repghost.graph.run import run_float
from tests.calib.simulate.test_wide_graphs import residual_graph
from tests.support.programs import random_images
from tests.support.quantized_graphs import PREPROCESS, SIZE


@pytest.fixture(scope="module")
def graph() -> Graph:
    return residual_graph()


@pytest.fixture
def images(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> SearchImages:
    """Images that the float network labels, and no levers before those of 16 bits."""
    monkeypatch.setattr(search, "LEVERS", ())
    held_out = random_images(40, SIZE, SIZE, seed=1)
    labels = run_float(graph, torch.from_numpy(PREPROCESS.normalize(held_out))).argmax(1).numpy()
    return SearchImages(random_images(8, SIZE, SIZE), held_out, labels, PREPROCESS)


def tried(graph: Graph, images: SearchImages, most_added: float) -> list[Trial]:
    trials: list[Trial] = []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(AccuracyGateError):
        patch.setattr(search, "MOST_ADDED", most_added)
        search_settings(graph, images, QuantConfig(), -101.0, trials.append)
    return trials


def wide_layers(trial: Trial) -> list[str]:
    return [pattern for pattern, changes in trial.config.layers if changes == (("activations", "int16"),)]


def test_more_layers_are_tried_in_each(graph: Graph, images: SearchImages) -> None:
    trials = tried(graph, images, 100.0)
    counts = [len(wide_layers(trial)) for trial in trials]
    assert counts[:2] == [1, 2] and counts == sorted({*counts})
    assert [wide_layers(trial) for trial in trials] == [wide_layers(trials[-1])[:count] for count in counts]
    assert trials[0].name == f"{wide_layers(trials[0])[0]} in 16 bits"
    assert trials[-1].drop_points <= trials[0].drop_points + 1
    added = added_shares(graph, PREPROCESS.size, wide_layers(trials[0]))
    assert trials[0].cost == f"seconds; about {added:+.1%} instructions"


def test_no_more_is_spent_than_is_allowed(graph: Graph, images: SearchImages) -> None:
    most = min(added_shares(graph, PREPROCESS.size, [name]) for name in ("first", "second", "sum", "mean", "scores"))
    chosen = {name for trial in tried(graph, images, most) for name in wide_layers(trial)}
    assert added_shares(graph, PREPROCESS.size, chosen) <= most


def test_what_is_enough_is_kept(graph: Graph, images: SearchImages) -> None:
    found = search_settings(graph, images, QuantConfig(), 100.0)
    assert [len(wide_layers(trial)) for trial in found.trials] == [1]
    assert any(params.is_wide for params in found.spec.activations.values())
    assert np.isfinite(found.chosen.drop_points)
