from dataclasses import replace

import numpy as np
import pytest

from calib.integer import qparams, reference
from calib.integer.program import Conv2d, DepthwiseConv2d, InputTable, Lookup
from calib.integer.qparams import QParams
from calib.integer.reference import execute, run
from calib.integer.values import Epilogue, Requantize, RequantizeAdd, RequantizeQ15, RequantizeQ15Add, Tensor, ToLogits
from repghost.errors import UsageError
from tests.support.programs import random_images, random_program


def slow_sums(x: np.ndarray, weight: np.ndarray, stride: int, padding: int, zero_point: int) -> np.ndarray:
    """Return sum(w * x) by the definition, pixel by pixel, in Python's integers; weight is [O, kh, kw, I]."""
    out, kh, kw, _ = weight.shape
    padded = np.pad(x.astype(int), ((padding, padding), (padding, padding), (0, 0)), constant_values=zero_point)
    height, width = (padded.shape[0] - kh) // stride + 1, (padded.shape[1] - kw) // stride + 1
    sums = np.zeros((height, width, out), int)
    for i, j in np.ndindex(height, width):
        window = padded[i * stride : i * stride + kh, j * stride : j * stride + kw]
        sums[i, j] = [int((window * weight[o].astype(int)).sum()) for o in range(out)]
    return sums


def epilogue_of(kind: type[Epilogue], channels: int, residual: Tensor, rng: np.random.Generator) -> Epilogue:
    multiplier = rng.uniform(1e-4, 0.02, channels).astype(np.float32)
    small, offset = rng.integers(50, 9000, channels).astype(np.int16), rng.integers(-90, 90, channels).astype(np.int16)
    match kind.__name__:
        case "Requantize":
            return Requantize(multiplier, -7, -7, 120)
        case "RequantizeAdd":
            return RequantizeAdd(multiplier * np.float32(4096), 12, -128, 127, residual, 3333)
        case "RequantizeQ15":
            return RequantizeQ15(small, offset, -20, 127)
        case "RequantizeQ15Add":
            return RequantizeQ15Add(small, offset, -128, 127, residual, 4321)
    return ToLogits(multiplier)


def finished(epilogue: Epilogue, acc: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Apply an epilogue with the contract's own functions, in one piece."""
    match epilogue:
        case Requantize():
            return qparams.requantize(acc, epilogue.multiplier, epilogue.zero_point, epilogue.low, epilogue.high)
        case RequantizeAdd():
            return qparams.requantize_add(
                acc, epilogue.multiplier, residual, epilogue.residual.qparams.zero_point, epilogue.residual_factor,
                epilogue.zero_point, epilogue.low, epilogue.high,
            )  # fmt: skip
        case RequantizeQ15():
            return qparams.requantize_q15(acc, epilogue.multiplier, epilogue.offset, epilogue.low, epilogue.high)
        case RequantizeQ15Add():
            return qparams.requantize_q15_add(
                acc, epilogue.multiplier, residual, epilogue.residual_factor, epilogue.offset, epilogue.low,
                epilogue.high,
            )  # fmt: skip
    return qparams.logits(acc, epilogue.multiplier)


EPILOGUES = [Requantize, RequantizeAdd, RequantizeQ15, RequantizeQ15Add, ToLogits]


@pytest.mark.parametrize("kind", EPILOGUES)
@pytest.mark.parametrize(
    ("kernel", "stride", "size"), [(1, 1, 5), (1, 2, 5), (3, 1, 6), (3, 2, 7), (5, 2, 8), (5, 1, 1)]
)
@pytest.mark.parametrize("depthwise", [False, True])
def test_convolution_by_the_definition(
    kind: type[Epilogue], kernel: int, stride: int, size: int, depthwise: bool
) -> None:
    rng = np.random.default_rng(kernel * 100 + stride * 10 + size)
    padding, channels, out = kernel // 2, 5, 5 if depthwise else 3
    x = rng.integers(-128, 128, (2, size, size, channels), dtype=np.int8)
    side = (size + 2 * padding - kernel) // stride + 1
    source = Tensor("x", size, size, channels, QParams(0.1, -9))
    output, residual = (Tensor(name, side, side, out, QParams(0.1, 4)) for name in ("y", "r"))
    limit = 6 if "Q15" in kind.__name__ else 128  # int16 accumulators hold small weights only
    bias = rng.integers(-900, 900, out).astype(np.int32)
    epilogue = epilogue_of(kind, out, residual, rng)
    r = rng.integers(-128, 128, (2, side, side, out), dtype=np.int8)
    if depthwise:
        weight = rng.integers(1 - limit, limit, (channels, kernel, kernel), dtype=np.int8)
        operator: Conv2d | DepthwiseConv2d = DepthwiseConv2d(
            "d", source, output, weight, bias, (stride, stride), (padding, padding), epilogue
        )
        dense = np.einsum("cij,ck->cijk", weight, np.eye(channels, dtype=np.int8))
    else:
        weight = dense = rng.integers(1 - limit, limit, (out, kernel, kernel, channels), dtype=np.int8)
        operator = Conv2d("c", source, output, weight, bias, (stride, stride), (padding, padding), epilogue)
    acc = np.stack([slow_sums(image, dense, stride, padding, -9) for image in x]) + bias
    np.testing.assert_array_equal(execute(operator, {"x": x, "r": r}), finished(epilogue, acc.astype(np.int32), r))


@pytest.mark.parametrize("channels", [1000, 1100, 20000])
def test_sums_beyond_float32_are_exact(channels: int) -> None:
    """20,000 products of 127 * 128 reach 2**28; float32 would be wrong by up to 16."""
    rng = np.random.default_rng(channels)
    weight = rng.choice(np.int8([-127, 127, 126]), (4, 1, 1, channels))
    x = np.where(weight[:1] > 0, np.int8(127), np.int8(-128)).astype(np.int8)
    x[..., ::7] -= np.int8(1)
    source, output = Tensor("x", 1, 1, channels, QParams(0.1)), Tensor("y", 1, 1, 4, QParams(1.0))
    operator = Conv2d(
        "c", source, output, weight, np.zeros(4, np.int32), (1, 1), (0, 0), ToLogits(np.ones(4, np.float32))
    )
    expected = [int((weight[o].astype(int) * x[0].astype(int)).sum()) for o in range(4)]
    sums = reference._dense_sums(operator, x)
    assert sums.dtype == (np.float32 if channels == 1000 else np.float64)
    assert sums[0, 0, 0].astype(int).tolist() == expected


def test_lookup_covers_every_integer() -> None:
    table = np.random.default_rng(0).integers(-128, 128, 256).astype(np.int8)
    x = np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16, 1)
    tensor = Tensor("x", 16, 16, 1, QParams(0.1))
    assert (
        execute(Lookup("l", tensor, replace(tensor, name="y"), table), {"x": x}).reshape(-1).tolist() == table.tolist()
    )


def test_input_table_keeps_colours_apart() -> None:
    tables = np.stack([np.arange(-128, 128), np.arange(127, -129, -1), np.zeros(256)]).astype(np.int8)
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    result = execute(InputTable("i", Tensor("x", 16, 16, 3, QParams(0.1)), tables), {}, images)
    assert [result[0, ..., c].reshape(-1).tolist() for c in range(3)] == tables.tolist()
    with pytest.raises(ValueError, match="reads pictures"):
        execute(InputTable("i", Tensor("x", 16, 16, 3, QParams(0.1)), tables), {})


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return random_images(70, 32, 32, seed=4)


@pytest.mark.slow
@pytest.mark.parametrize("int16", [True, False])
def test_answers_do_not_depend_on_the_batch(images: np.ndarray, int16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    program = random_program(0.5, 32, int16=int16)
    together = run(program, images)
    np.testing.assert_array_equal(together[5], run(program, images[5:6])[0])
    monkeypatch.setattr(reference, "CHUNK_ELEMENTS", 1)
    np.testing.assert_array_equal(together, run(program, images))


def test_trace_holds_every_tensor_and_changes_nothing(images: np.ndarray) -> None:
    program = random_program(0.5, 32)
    trace: dict[str, np.ndarray] = {}
    np.testing.assert_array_equal(run(program, images, trace), run(program, images))
    assert set(trace) == {operator.output.name for operator in program.operators[:-1]}
    for operator in program.operators[:-1]:
        out = operator.output
        assert trace[out.name].dtype == np.int8
        assert trace[out.name].shape == (70, out.height, out.width, out.channels)
    last = program.operators[-1]
    again = execute(last, {tensor.name: trace[tensor.name] for tensor in last.inputs})
    np.testing.assert_array_equal(again.reshape(70, -1), run(program, images))


@pytest.mark.slow
@pytest.mark.parametrize("width", [0.5, 0.58, 1.0, 2.0])
def test_random_programs_are_sane(width: int) -> None:
    """Every tensor uses a fair part of int8, and images get different scores."""
    program = random_program(width, 64, classes=9, seed=1)
    trace: dict[str, np.ndarray] = {}
    scores = run(program, random_images(3, 64, 64, seed=9), trace)
    assert scores.shape == (3, 9) and len(np.unique(scores, axis=0)) == 3
    assert len(program.operators) == 119
    for name, value in trace.items():
        assert value.std() > 4, name


def test_wrong_images_are_refused(images: np.ndarray) -> None:
    program = random_program(0.5, 32)
    for wrong in (images[:, :31], images.astype(np.float32), images[0], images[..., :1]):
        with pytest.raises(UsageError, match=r"\(N, 32, 32, 3\)"):
            run(program, wrong)


def test_no_images_give_no_scores() -> None:
    assert run(random_program(0.5, 32), np.zeros((0, 32, 32, 3), np.uint8)).shape == (0, 10)
