"""Any field of a float ONNX file changed: a network that runs, or an error with a sentence."""

from __future__ import annotations

import random

import numpy as np
import onnx
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calib.importer.import_onnx import import_onnx
from repghost.errors import RepGhostError
from repghost.graph.run import run_float
from tests.calib.importer.test_import_onnx import CASES
from tests.support.mutations import mutate
from tests.support.odd_values import change_message
from tests.support.small_onnx import model_of, network

QUICK = settings(max_examples=40, deadline=None, derandomize=True)


def read_or_refused(model: onnx.ModelProto) -> None:
    try:
        imported = import_onnx(model.SerializeToString(), (9, 7))
    except RepGhostError as error:
        assert str(error)
        return
    with torch.no_grad():
        scores = run_float(imported.graph, torch.zeros(1, imported.channels, *imported.size))
    assert scores.flatten(1).shape == (1, imported.classes)


@QUICK
@given(st.integers(0, 2**32 - 1))
def test_changed_fields(seed: int) -> None:
    rng = random.Random(seed)
    nodes, constants, _ = CASES[rng.choice(sorted(CASES))]
    model = network(model_of(nodes, constants))
    for _ in range(rng.randint(1, 3)):
        parts = [model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input]
        parts += [attribute for node in model.graph.node for attribute in node.attribute]
        change_message(rng.choice(parts), rng)
    read_or_refused(model)


@QUICK
@given(st.integers(0, 2**32 - 1))
def test_changed_networks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases = [name for name in sorted(CASES) if CASES[name][1]]  # there is a constant to change
    nodes, constants, _ = CASES[cases[int(rng.integers(len(cases)))]]
    model = network(model_of(nodes, constants))
    for _ in range(int(rng.integers(1, 4))):
        mutate(model, rng)
    read_or_refused(model)
