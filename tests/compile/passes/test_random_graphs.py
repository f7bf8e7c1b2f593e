"""Random small QDQ graphs, built from what mobile networks are made of: each must lower and agree with ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calib.integer.program import Program
from calib.integer.reference import run
from compile.frontend.qdq_file import read_qdq
from compile.passes import lower
from tests.support.agreement import check_steps
from tests.support.programs import random_images
from tests.support.qdq_models import Model, preprocess, save

SIZE = 9  # odd, so that stride 2 meets a border


class Net(Model):
    """Appends random layers to one map and keeps its sizes."""

    def __init__(self, seed: int) -> None:
        super().__init__(SIZE, seed)
        self.channels, self.count = 3, 0
        self.x = self.quantize("input", 4.8 / 255, -15)

    def name(self) -> str:
        self.count += 1
        return f"layer{self.count}"

    def finish(self, tensor: str) -> str:
        """Quantize with a random scale and zero point."""
        return self.quantize(tensor, float(self.rng.uniform(0.01, 0.06)), int(self.rng.integers(-128, 128)))

    def activation(self, tensor: str) -> str:
        name = f"{tensor}.activation"
        match self.rng.integers(4):
            case 0:
                return self.node("Relu", [tensor], name)
            case 1:
                limits = [self.constant(f"{name}.low", -0.5), self.constant(f"{name}.high", 2.0)]
                return self.node("Clip", [tensor, *limits], name)
        return tensor

    def dense(self) -> None:
        out, kernel, stride = (
            int(self.rng.integers(1, 9)),
            int(self.rng.choice([1, 3, 5])),
            int(self.rng.integers(1, 3)),
        )
        y = self.conv(self.name(), self.x, self.channels, out, kernel, stride)
        self.x, self.channels = self.finish(self.activation(y)), out

    def depthwise(self) -> None:
        if self.channels == 1:
            return
        kernel, stride = int(self.rng.choice([3, 5])), int(self.rng.integers(1, 3))
        scale = float(self.rng.uniform(0.02, 0.06)) if self.rng.integers(2) else None
        y = self.conv(
            self.name(), self.x, self.channels, self.channels, kernel, stride, groups=self.channels, scale_y=scale
        )
        y = self.activation(y)
        self.x = self.finish(y) if scale is None else self.quantize(y, scale, int(self.rng.integers(-128, 128)))

    def residual(self) -> None:
        """Add in either order, fused or, behind a Q/DQ pair, on its own."""
        y = self.conv(self.name(), self.x, self.channels, self.channels, 3)
        if self.rng.integers(2):
            y = self.finish(y)
        operands = [y, self.x] if self.rng.integers(2) else [self.x, y]
        self.x = self.finish(self.activation(self.node("Add", operands, self.name())))

    def gate(self) -> None:
        g = self.finish(self.node("GlobalAveragePool", [self.x], self.name()))
        g = self.finish(self.conv(self.name(), g, self.channels, self.channels))
        g = self.finish(self.node("HardSigmoid", [g], self.name(), alpha=1 / 6, beta=0.5))
        self.x = self.finish(self.node("Mul", [g, self.x] if self.rng.integers(2) else [self.x, g], self.name()))

    def function(self) -> None:
        kind = str(self.rng.choice(["Sigmoid", "Tanh", "Relu", "Abs", "Neg"]))
        self.x = self.finish(self.node(kind, [self.x], self.name()))

    def requantize(self) -> None:
        self.x = self.finish(self.x)

    def end(self, classes: int = 3) -> None:
        pooled = self.finish(self.node("GlobalAveragePool", [self.x], self.name()))
        self.linear("logits", self.node("Flatten", [pooled], self.name()), self.channels, classes)


LAYERS = [Net.dense, Net.depthwise, Net.residual, Net.gate, Net.function, Net.requantize]


def changed(program: Program, images: np.ndarray) -> int:
    """Return how many tensors differ between images; a program that ignores its input would prove nothing."""
    trace: dict[str, np.ndarray] = {}
    run(program, images, trace)
    return sum(bool((value[0] != value[1]).any()) for value in trace.values())


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(LAYERS), min_size=1, max_size=7))
def test_random_graph_agrees_layer_by_layer(tmp_path: Path, seed: int, chosen: list) -> None:
    net = Net(seed)
    for layer in chosen:
        layer(net)
    net.end()
    model = net.build("logits", 3)
    program = lower(read_qdq(save(model, tmp_path)))
    images = random_images(2, SIZE, SIZE, seed % 1000)
    assert changed(program, images) >= 1
    check_steps(model, program, images, preprocess(SIZE))


@pytest.mark.parametrize("layer", LAYERS)
def test_each_kind_alone(tmp_path: Path, layer: object) -> None:
    for seed in range(3):
        net = Net(seed)
        net.dense()
        layer(net)
        net.end()
        model = net.build("logits", 3)
        check_steps(model, lower(read_qdq(save(model, tmp_path))), random_images(2, SIZE, SIZE), preprocess(SIZE))
