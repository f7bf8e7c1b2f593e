"""The float program of a graph computes what PyTorch does, in the reference and in kernels, whatever its operators."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from compile.bundle.host_model import LoadedModel
from compile.ir.float_from_graph import float_program
from compile.ir.float_program import (
    FloatConv2d,
    FloatFunction,
    FloatGate,
    FloatMultiply,
    FloatProgram,
    FloatScores,
)
from compile.ir.float_reference import run_float
from compile.targets.precisions import FP16, FP32
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from repghost.graph.formulas import FORMULAS, HARD_SIGMOID
from repghost.graph.operators import (
    INPUT,
    RELU,
    UNBOUNDED,
    Add,
    Convolution,
    Function,
    GlobalAveragePool,
    Graph,
    Multiply,
    Operator,
)
from repghost.graph.run import run_float as run_graph
from tests.support.drawn_graphs import OPERATORS, drawn_graph
from tests.support.programs import random_images

SIDE = 13
PREPROCESS = Preprocess(size=SIDE, resize=SIDE)
SEEDS = range(12)


def expected(graph: Graph, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    x = np.stack([PREPROCESS.table()[c][images[..., c]] for c in range(3)], 1)
    return run_graph(graph, torch.from_numpy(x)).flatten(1).numpy()


def off(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def test_the_graphs_have_every_operator() -> None:
    assert {type(op) for seed in SEEDS for op in drawn_graph(seed, SIDE).operators} == set(OPERATORS)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_reference_gives_what_pytorch_does(seed: int) -> None:
    graph, images = drawn_graph(seed, SIDE), random_images(2, SIDE, SIDE, seed)
    wanted = expected(graph, images)
    assert np.ptp(wanted) > 1e-3
    assert off(run_float(float_program(graph, PREPROCESS), images), wanted) < FP32.tolerance / 4
    assert off(run_float(float_program(graph, PREPROCESS, "float16"), images), wanted) < FP16.tolerance


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS[:4])
def test_the_host_build_gives_what_pytorch_does(seed: int, host_build: Callable[[FloatProgram], LoadedModel]) -> None:
    graph, images = drawn_graph(seed, SIDE), random_images(2, SIDE, SIDE, seed)
    found = host_build(float_program(graph, PREPROCESS)).logits(images)
    assert off(found, expected(graph, images)) < FP32.tolerance


# -- how operators are put together ------------------------------------------------------------------------------------
def layer(name: str, x: str, outputs: int, inputs: int, clamp: tuple[float, float] = UNBOUNDED) -> Convolution:
    weight = np.random.default_rng(len(name)).normal(0, 0.3, (outputs, inputs, 1, 1)).astype(np.float32)
    return Convolution(name, x, weight, np.zeros(outputs, np.float32), clamp=clamp)


def program(*operators: Operator) -> FloatProgram:
    """Return the program of a stem of 8 channels, some operators, and a mean of the last one's map."""
    stem = layer("stem", INPUT, 8, 3, RELU)
    graph = Graph((stem, *operators, GlobalAveragePool("mean", operators[-1].name)), 3)
    made = float_program(graph, PREPROCESS)
    images = random_images(1, SIDE, SIDE)
    assert off(run_float(made, images), expected(graph, images)) < FP32.tolerance / 4
    return made


def kinds(made: FloatProgram) -> list[str]:
    return [type(operator).__name__.removeprefix("Float") for operator in made.operators]


def test_a_convolution_waits_for_what_is_added_to_it() -> None:
    made = program(layer("a", "stem", 8, 8), layer("b", "stem", 8, 8, RELU), Add("sum", "a", "b", RELU))
    assert [operator.name for operator in made.operators] == ["input", "stem", "b", "a", "mean", "mean.scores"]
    (fused,) = (operator for operator in made.operators if operator.name == "a")
    assert isinstance(fused, FloatConv2d) and fused.residual is not None and fused.residual.name == "b"
    assert fused.clamp == RELU and fused.output.name == "sum"


def test_a_hard_sigmoid_is_part_of_gates_of_channels_alone() -> None:
    squeeze = GlobalAveragePool("squeeze", "stem"), layer("gate", "squeeze", 8, 8)
    hard = Function("hard", "gate", HARD_SIGMOID)
    gated = program(*squeeze, hard, Multiply("gated", "stem", "hard"))
    assert kinds(gated) == ["Input", "Conv2d", "Pool", "Conv2d", "Gate", "Pool", "Scores"]
    twice = program(*squeeze, hard, Multiply("gated", "stem", "hard"), Multiply("again", "gated", "hard"))
    assert sum(isinstance(operator, FloatGate) for operator in twice.operators) == 2
    for others in (
        (Multiply("gated", "stem", "hard", (0.0, 0.5)),),
        (Multiply("itself", "hard", "hard"), Multiply("gated", "stem", "itself")),
        (Multiply("gated", "stem", "hard"), Add("sum", "squeeze", "hard"), Multiply("again", "gated", "sum")),
        (Multiply("gated", "hard", "stem"),),
    ):
        made = program(*squeeze, hard, *others)
        assert sum(isinstance(operator, FloatFunction) for operator in made.operators) == 1
        assert not any(isinstance(operator, FloatGate) for operator in made.operators)
    soft = program(*squeeze, Function("soft", "gate", FORMULAS["Sigmoid"]), Multiply("gated", "stem", "soft"))
    assert any(isinstance(operator, FloatMultiply) for operator in soft.operators)


def test_a_convolution_of_one_pixel_writes_the_scores_itself() -> None:
    graph = Graph((layer("stem", INPUT, 8, 3), GlobalAveragePool("mean", "stem"), layer("last", "mean", 5, 8, RELU)), 3)
    made = float_program(graph, PREPROCESS)
    assert isinstance(made.operators[-1], FloatConv2d) and made.operators[-1].logits and made.classes == 5
    added = Graph((*graph.operators, layer("more", "mean", 5, 8), Add("sum", "more", "last")), 3)
    assert isinstance(float_program(added, PREPROCESS).operators[-1], FloatScores)


def test_scores_of_several_pixels_are_refused() -> None:
    graph = Graph((layer("stem", INPUT, 8, 3),), 3)
    with pytest.raises(UsageError, match=r"'stem', are a map of 13x13 pixels.*behind an average"):
        float_program(graph, PREPROCESS)


def test_a_product_of_maps_that_do_not_fit_is_refused() -> None:
    operators = layer("stem", INPUT, 8, 3), layer("one", "stem", 1, 8), GlobalAveragePool("mean", "stem")
    graph = Graph((*operators, Multiply("spread", "one", "mean"), GlobalAveragePool("end", "spread")), 3)
    with pytest.raises(UsageError, match=re.escape("spread: maps of (height, width, channels) = (1, 1, 8)")):
        float_program(graph, PREPROCESS)
