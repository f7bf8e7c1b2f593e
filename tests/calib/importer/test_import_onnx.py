"""What each ONNX operator becomes: the same scores as ONNX Runtime's, by the operators that are expected."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from calib.importer.import_onnx import import_onnx
from calib.importer.imported import Imported
from repghost.graph.formulas import name_of
from repghost.graph.operators import RELU, Convolution, Function
from repghost.graph.run import run_float
from tests.support.small_onnx import CHANNELS, COLUMNS, ROWS, Spelled, by_onnx_runtime, model_of, network, numbers

C, H, W = CHANNELS, ROWS, COLUMNS
MAP = (1, C, H, W)
CONV: Spelled = ("Conv", ["x", "w", "b"], "c")
WEIGHTS = {"w": numbers(6, C, 3, 3) * 0.3, "b": numbers(6)}


def same_scores(model: bytes, tolerance: float = 1e-5, size: tuple[int, int] | None = None) -> Imported:
    """Import a model and compare its scores with ONNX Runtime's."""
    imported = import_onnx(model, size)
    image = numbers(1, imported.channels, *imported.size, seed=7)
    scores = run_float(imported.graph, torch.from_numpy(image)).reshape(-1).numpy()
    last = any("channels last" in note for note in imported.notes)
    expected = by_onnx_runtime(model, image.transpose(0, 2, 3, 1) if last else image)
    assert scores.shape == expected.shape == (imported.classes,)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    return imported


def kinds(imported: Imported) -> str:
    return " ".join(type(op).__name__ for op in imported.graph.operators)


def ints(*values: int) -> Any:
    return np.asarray(values, np.int64)


CASES: dict[str, tuple[list[Spelled], dict[str, Any], str]] = {
    "convolution": (
        [("Conv", ["x", "w", "b"], "y", {"strides": [2, 1], "pads": [1, 0, 2, 3], "dilations": [1, 2], "group": 2})],
        {"w": numbers(6, 2, 3, 2), "b": numbers(6)},
        "Convolution GlobalAveragePool",
    ),
    **{
        f"auto_pad {mode} {strides}": (
            [("Conv", ["x", "w"], "y", {"auto_pad": mode, "strides": strides})],
            {"w": numbers(5, C, 3, 2)}, "Convolution GlobalAveragePool",
        )
        for mode in ("SAME_UPPER", "SAME_LOWER", "VALID") for strides in ([2, 2], [1, 3])
    },
    **{
        f"function {operator}": ([(operator, ["x"], "y")], {}, "Function GlobalAveragePool")
        for operator in ("LeakyRelu", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh", "Elu", "Erf", "Exp", "Softplus",
                         "Softsign", "Selu", "ThresholdedRelu", "Abs", "Neg", "Celu", "Relu", "Floor", "Ceil", "Sign")
    },
    "relu": ([CONV, ("Relu", ["c"], "y")], WEIGHTS, "Convolution GlobalAveragePool"),
    "relu6": ([CONV, ("Clip", ["c", "low", "high"], "y")],
              WEIGHTS | {"low": np.float32(0), "high": np.float32(1.5)}, "Convolution GlobalAveragePool"),
    "relu of what others read": (
        [CONV, ("Relu", ["c"], "r"), ("Add", ["c", "r"], "y")], WEIGHTS, "Convolution Function GlobalAveragePool"),
    "silu": ([CONV, ("Sigmoid", ["c"], "s"), ("Mul", ["s", "c"], "y")], WEIGHTS,
             "Convolution Function GlobalAveragePool"),
    "hard swish": (
        [CONV, ("Add", ["c", "three"], "a"), ("Clip", ["a", "zero", "six"], "b6"), ("Mul", ["c", "b6"], "m"),
         ("Div", ["m", "six"], "y")],
        WEIGHTS | {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6)},
        "Convolution Function GlobalAveragePool"),
    "mish": ([("Softplus", ["x"], "p"), ("Tanh", ["p"], "t"), ("Mul", ["x", "t"], "y")], {},
             "Function GlobalAveragePool"),
    "gelu": (
        [("Div", ["x", "root"], "d"), ("Erf", ["d"], "e"), ("Add", ["e", "one"], "a"), ("Mul", ["x", "a"], "m"),
         ("Mul", ["m", "half"], "y")],
        {"root": np.float32(math.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)},
        "Function GlobalAveragePool"),
    "prelu": ([CONV, ("PRelu", ["c", "slopes"], "y")], WEIGHTS | {"slopes": numbers(6, 1, 1)},
              "Convolution ChannelSlopes GlobalAveragePool"),
    "prelu of one slope": ([CONV, ("PRelu", ["c", "slope"], "y")], WEIGHTS | {"slope": numbers(1)},
                           "Convolution Function GlobalAveragePool"),
    "batch norm behind": (
        [CONV, ("BatchNormalization", ["c", "g", "o", "m", "v"], "n"), ("Relu", ["n"], "y")],
        WEIGHTS | {"g": numbers(6), "o": numbers(6, seed=1), "m": numbers(6, seed=2), "v": np.abs(numbers(6)) + 0.1},
        "Convolution GlobalAveragePool"),
    "batch norm before, without padding": (
        [("BatchNormalization", ["x", "g", "o", "m", "v"], "n"), ("Conv", ["n", "w", "b"], "y")],
        WEIGHTS | {"g": numbers(C), "o": numbers(C), "m": numbers(C), "v": np.abs(numbers(C)) + 0.1},
        "Convolution GlobalAveragePool"),
    "batch norm before, with padding": (
        [("BatchNormalization", ["x", "g", "o", "m", "v"], "n"),
         ("Conv", ["n", "w", "b"], "y", {"pads": [1, 1, 1, 1]})],
        WEIGHTS | {"g": numbers(C), "o": numbers(C), "m": numbers(C), "v": np.abs(numbers(C)) + 0.1},
        "Convolution Convolution GlobalAveragePool"),
    "constants by channel": (
        [("Sub", ["x", "mean"], "a"), ("Div", ["a", "std"], "b_"), ("Conv", ["b_", "w", "b"], "c"),
         ("Mul", ["scale", "c"], "d"), ("Sub", ["shift", "d"], "y")],
        WEIGHTS | {"mean": numbers(C, 1, 1), "std": np.abs(numbers(C, 1, 1)) + 0.5, "scale": numbers(1, 6, 1, 1),
                   "shift": numbers(6, 1, 1)},
        "Convolution GlobalAveragePool"),
    "a line behind a relu": (
        [CONV, ("Relu", ["c"], "r"), ("Mul", ["r", "k"], "s"), ("Add", ["s", "k"], "y")],
        WEIGHTS | {"k": np.float32(-1.7)}, "Convolution GlobalAveragePool"),
    "division by 255 with padding": (
        [("Div", ["x", "k"], "d"), ("Conv", ["d", "w", "b"], "y", {"pads": [1, 1, 1, 1]})],
        WEIGHTS | {"k": np.float32(255)}, "Convolution GlobalAveragePool"),
    "add of maps": ([CONV, ("Conv", ["x", "w2", "b"], "e"), ("Sub", ["c", "e"], "d"), ("Add", ["d", "e"], "s"),
                     ("Relu", ["s"], "y")],
                    WEIGHTS | {"w2": numbers(6, C, 3, 3)}, "Convolution Convolution Subtract Add GlobalAveragePool"),
    "multiply": ([("Sigmoid", ["x"], "g"), ("Conv", ["x", "w1"], "c1"), ("Mul", ["c1", "g"], "y")],
                 {"w1": numbers(C, C, 1, 1)}, "Convolution Function Multiply GlobalAveragePool"),
    "gate by channel": (
        [("GlobalAveragePool", ["x"], "p"), ("Conv", ["p", "w1"], "c"), ("HardSigmoid", ["c"], "g"),
         ("Mul", ["g", "x"], "y")],
        {"w1": numbers(C, C, 1, 1)}, "GlobalAveragePool Convolution Function Multiply GlobalAveragePool"),
    "gate by pixel": (
        [("Conv", ["x", "w1"], "c"), ("Sigmoid", ["c"], "g"), ("Mul", ["x", "g"], "y")],
        {"w1": numbers(1, C, 1, 1)}, "Convolution Function Multiply GlobalAveragePool"),
    "squeeze with linear layers": (
        [("ReduceMean", ["x"], "p", {"axes": [2, 3], "keepdims": 0}), ("Gemm", ["p", "w1", "b1"], "g", {"transB": 1}),
         ("Sigmoid", ["g"], "s"), ("Unsqueeze", ["s", "axes"], "u"), ("Mul", ["x", "u"], "y")],
        {"w1": numbers(C, C), "b1": numbers(C), "axes": ints(2, 3)},
        "GlobalAveragePool Convolution Function Multiply GlobalAveragePool"),
    "add of one pixel": ([("GlobalAveragePool", ["x"], "p"), ("Sub", ["p", "x"], "s"), ("Relu", ["s"], "y")], {},
                         "GlobalAveragePool Resize Subtract GlobalAveragePool"),
    "convolution along the channels": (
        [("GlobalAveragePool", ["x"], "p"), ("Reshape", ["p", "row"], "r"),
         ("Conv", ["r", "k"], "c", {"pads": [1, 1]}), ("Reshape", ["c", "map"], "m"),
         ("Expand", ["m", "all"], "e"), ("Mul", ["x", "e"], "y")],
        {"row": ints(1, 1, -1), "map": ints(1, C, 1, 1), "k": numbers(1, 1, 3), "all": ints(1, C, H, W)},
        "GlobalAveragePool Convolution Multiply GlobalAveragePool"),
    "weights standardized in the graph": (
        [("ReduceMean", ["w"], "m", {"axes": [1, 2, 3]}), ("Sub", ["w", "m"], "s"), ("Mul", ["s", "s"], "q"),
         ("ReduceMean", ["q"], "v", {"axes": [1, 2, 3]}), ("Sqrt", ["v"], "d"), ("Div", ["s", "d"], "u"),
         ("Conv", ["x", "u", "b"], "y")],
        WEIGHTS, "Convolution GlobalAveragePool"),
    "gate of one row": (
        [("ReduceMean", ["x"], "p", {"axes": [2]}), ("Conv", ["p", "w1"], "c"), ("Sigmoid", ["c"], "g"),
         ("Mul", ["x", "g"], "y")],
        {"w1": numbers(C, C, 1, 1)}, "AveragePool Convolution Function Resize Multiply GlobalAveragePool"),
    "max pool": ([("MaxPool", ["x"], "y", {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 0, 1],
                                          "dilations": [2, 1]})], {}, "MaxPool GlobalAveragePool"),
    "max pool rounded up": ([("MaxPool", ["x"], "y", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1})], {},
                            "MaxPool GlobalAveragePool"),
    **{
        f"average pool {counts} {ceil}": (
            [("AveragePool", ["x"], "y", {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [0, 0, 0, 0] if ceil else
             [1, 0, 0, 1], "count_include_pad": counts, "ceil_mode": ceil})], {}, "AveragePool GlobalAveragePool")
        for counts in (0, 1) for ceil in (0, 1)
    },
    "global max pool": ([("GlobalMaxPool", ["x"], "y")], {}, "MaxPool"),
    "sum over pixels": ([("ReduceSum", ["x", "axes"], "y")], {"axes": ints(-1, -2)}, "GlobalAveragePool Function"),
    "mean over flattened pixels": (
        [("Reshape", ["x", "shape"], "f"), ("ReduceMean", ["f"], "m", {"axes": [-1]}),
         ("Unsqueeze", ["m", "axis"], "y")],
        {"shape": ints(0, C, -1), "axis": ints(3)}, "GlobalAveragePool"),
    "split and concat": (
        [("Split", ["x", "sizes"], ["a", "b_", "d"], {"axis": 1}), ("Relu", ["b_"], "r"),
         ("Concat", ["d", "r", "a"], "y", {"axis": 1})], {"sizes": ints(1, 2, 1)},
        "Slice Slice Function Slice Concat GlobalAveragePool"),
    "slices with steps": (
        [("Slice", ["x", "starts", "ends", "axes", "steps"], "s"), ("Slice", ["s", "one", "many", "one"], "y")],
        {"starts": ints(1, -6), "ends": ints(99, 7), "axes": ints(2, 3), "steps": ints(2, 3), "one": ints(1),
         "many": ints(1 << 40)},
        "Slice GlobalAveragePool"),
    "gather": ([("Gather", ["x", "order"], "y", {"axis": 1})], {"order": ints(2, 1, 0)},
               "Slice Slice Slice Concat GlobalAveragePool"),
    "shuffle": (
        [CONV, ("Reshape", ["c", "five"], "r"), ("Transpose", ["r"], "t", {"perm": [0, 2, 1, 3, 4]}),
         ("Reshape", ["t", "four"], "u"), ("Relu", ["u"], "y")],
        WEIGHTS | {"five": ints(1, 2, 3, H - 2, W - 2), "four": ints(1, -1, H - 2, W - 2)},
        "Convolution ShuffleChannels GlobalAveragePool"),
    "a group of channels": (
        [("Reshape", ["x", "five"], "r"), ("Gather", ["r", "index"], "y", {"axis": 1})],
        {"five": ints(1, 2, 2, H, W), "index": np.int64(1)}, "Slice GlobalAveragePool"),
    "pad into a convolution": (
        [("Pad", ["x", "pads"], "p"), ("Conv", ["p", "w", "b"], "y", {"pads": [1, 1, 1, 1]})],
        WEIGHTS | {"pads": ints(0, 0, 0, 1, 0, 0, 2, 3)}, "Convolution GlobalAveragePool"),
    "pad into a max pool": (
        [("Relu", ["x"], "r"), ("Pad", ["r", "pads"], "p"), ("MaxPool", ["p"], "y", {"kernel_shape": [3, 3]})],
        {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1)}, "Function MaxPool GlobalAveragePool"),
    "pad that could win": (
        [("Pad", ["x", "pads"], "p"), ("MaxPool", ["p"], "y", {"kernel_shape": [3, 3]})],
        {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1)}, "Pad MaxPool GlobalAveragePool"),
    "pad that never wins": (
        [("Pad", ["x", "pads", "value"], "p"), ("MaxPool", ["p"], "y", {"kernel_shape": [3, 3]})],
        {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1), "value": np.float32(-math.inf)}, "MaxPool GlobalAveragePool"),
    **{
        f"resize {mode} {coordinates}": (
            [("Resize", ["x", "", "", "sizes"], "y", {"mode": mode, "coordinate_transformation_mode": coordinates})],
            {"sizes": ints(1, C, 2 * H, W)}, "Resize GlobalAveragePool")
        for mode in ("nearest", "linear") for coordinates in ("half_pixel", "asymmetric", "align_corners")
    },
    "identities": (
        [("AveragePool", ["x"], "k", {"kernel_shape": [1, 1]}), ("MaxPool", ["k"], "l", {"kernel_shape": [1, 1]}),
         ("Add", ["nought", "l"], "h"), ("Div", ["h", "one"], "g"), ("Identity", ["g"], "i"),
         ("Dropout", ["i"], "d"), ("Cast", ["d"], "e", {"to": 1}),
         ("Conv", ["e", "w", "b"], "y")],
        WEIGHTS | {"nought": np.float32(0), "one": np.float32(1)}, "Convolution GlobalAveragePool"),
    "pads computed from shapes": (
        [("Shape", ["x"], "s"), ("Gather", ["s", "three"], "w_"), ("Sub", ["w_", "six"], "one"),
         ("Concat", ["z", "z", "one", "z", "z", "z", "z", "one"], "pads", {"axis": 0}), ("Pad", ["x", "pads"], "p"),
         ("Conv", ["p", "w", "b"], "y")],
        WEIGHTS | {"three": ints(3), "six": ints(6), "z": ints(0)}, "Convolution GlobalAveragePool"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_operator(case: str) -> None:
    nodes, constants, expected = CASES[case]
    assert kinds(same_scores(model_of(nodes, constants, MAP))) == expected


@pytest.mark.parametrize(
    ("case", "name"),
    [("silu", "SiLU"), ("mish", "Mish"), ("gelu", "GELU"), ("function HardSwish", "HardSwish"),
     ("function HardSigmoid", "HardSigmoid")],
)  # fmt: skip
def test_formulas_have_their_names(case: str, name: str) -> None:
    nodes, constants, _ = CASES[case]
    functions = [op for op in import_onnx(model_of(nodes, constants)).graph.operators if isinstance(op, Function)]
    assert [name_of(op.steps) for op in functions] == [name] or case == "function HardSigmoid"


HEAD: list[Spelled] = [CONV, ("Relu", ["c"], "r"), ("GlobalAveragePool", ["r"], "p"), ("Flatten", ["p"], "f")]


@pytest.mark.parametrize("opset", [8, 11, 13, 17, 21])
def test_heads(opset: int) -> None:
    constants = WEIGHTS | {"fc": numbers(6, 5), "fb": numbers(5)}
    gemm = same_scores(model_of([*HEAD, ("Gemm", ["f", "fc", "fb"], "y")], constants, opset=opset, head=False))
    nodes: list[Spelled] = [*HEAD, ("MatMul", ["f", "fc"], "m"), ("Add", ["fb", "m"], "y")]
    matmul = same_scores(model_of(nodes, constants, opset=opset, head=False))
    nodes = [*HEAD[:3], ("Conv", ["p", "fc4", "fb"], "d"), ("Flatten", ["d"], "y")]
    constants["fc4"] = np.ascontiguousarray(constants["fc"].T[:, :, None, None])
    conv = same_scores(model_of(nodes, constants, opset=opset, head=False))
    for imported in (gemm, matmul, conv):
        assert kinds(imported) == "Convolution GlobalAveragePool Classifier"
        assert imported.classes == 5


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_probabilities_are_left_to_the_runner(operator: str) -> None:
    constants = WEIGHTS | {"fc": numbers(6, 5), "fb": numbers(5)}
    gemm: Spelled = ("Gemm", ["f", "fc", "fb"], "y")
    plain = import_onnx(model_of([*HEAD, gemm], constants, head=False))
    nodes: list[Spelled] = [*HEAD, (*gemm[:2], "g"), (operator, ["g"], "y")]  # type: ignore[list-item]
    imported = import_onnx(model_of(nodes, constants, head=False))
    assert operator in imported.notes[0]
    image = torch.from_numpy(numbers(*MAP))
    assert torch.equal(run_float(plain.graph, image), run_float(imported.graph, image))


def test_a_linear_layer_over_a_whole_map() -> None:
    inputs = 6 * (H - 2) * (W - 2)
    nodes: list[Spelled] = [CONV, ("Relu", ["c"], "r"), ("Flatten", ["r"], "f"), ("MatMul", ["f", "fc"], "h"),
                            ("Relu", ["h"], "a"), ("MatMul", ["a", "fc2"], "y")]  # fmt: skip
    constants = WEIGHTS | {"fc": numbers(inputs, 8), "fc2": numbers(8, 3)}
    assert kinds(same_scores(model_of(nodes, constants, head=False))) == "Convolution Convolution Classifier"


def test_a_last_convolution_goes_behind_the_pool() -> None:
    nodes: list[Spelled] = [CONV, ("Relu", ["c"], "r"), ("Conv", ["r", "fc"], "y")]
    imported = same_scores(model_of(nodes, WEIGHTS | {"fc": numbers(5, 6, 1, 1)}))
    assert kinds(imported) == "Convolution GlobalAveragePool Classifier"


def channels_last(head: list[Spelled]) -> tuple[list[Spelled], dict[str, Any]]:
    """Return a network as tf2onnx writes it: transposed before and behind each convolution."""
    nodes: list[Spelled] = [
        ("Transpose", ["x"], "x1", {"perm": [0, 3, 1, 2]}), ("Conv", ["x1", "w", "b"], "c1", {"pads": [0, 0, 1, 1]}),
        ("Transpose", ["c1"], "c2", {"perm": [0, 2, 3, 1]}), ("Mul", ["c2", "s"], "m"), ("Relu", ["m"], "r1"),
        ("MatMul", ["r1", "pw"], "p1"), ("Add", ["p1", "pb"], "p2"), ("Concat", ["p2", "r1"], "k", {"axis": 3}),
        ("Pad", ["k", "pads"], "k2"), ("Transpose", ["k2"], "k3", {"perm": [0, 3, 1, 2]}),
        ("Conv", ["k3", "dw"], "d", {"group": 11}), ("Transpose", ["d"], "d2", {"perm": [0, 2, 3, 1]}),
        *head,
    ]  # fmt: skip
    constants = {
        "w": numbers(6, 3, 3, 3), "b": numbers(6), "s": numbers(6), "pw": numbers(6, 5), "pb": numbers(5),
        "pads": ints(0, 0, 1, 0, 0, 1, 0, 0), "dw": numbers(11, 1, 2, 2), "fc": numbers(11, 4), "fb": numbers(4),
    }  # fmt: skip
    return nodes, constants


def test_channels_last() -> None:
    nodes, constants = channels_last([
        ("ReduceMean", ["d2"], "v", {"axes": [1, 2], "keepdims": 0}), ("MatMul", ["v", "fc"], "g"),
        ("Add", ["g", "fb"], "a"), ("Softmax", ["a"], "y"),
    ])  # fmt: skip
    scores: list[Spelled] = [*nodes[:-2], ("Add", ["g", "fb"], "y")]
    imported = same_scores(model_of(scores, constants, (1, H, W, 3), head=False))
    assert imported.size == (H, W)
    assert kinds(imported) == "Convolution Convolution Concat Convolution GlobalAveragePool Classifier"
    with_softmax = import_onnx(model_of(nodes, constants, (1, H, W, 3), head=False))
    assert kinds(with_softmax) == kinds(imported)


def test_float16() -> None:
    half = {name: value.astype(np.float16) for name, value in WEIGHTS.items()}
    nodes: list[Spelled] = [("Cast", ["x"], "h", {"to": 10}), ("Conv", ["h", "w", "b"], "c"), ("Relu", ["c"], "r"),
                            ("Cast", ["r"], "y", {"to": 1})]  # fmt: skip
    imported = same_scores(model_of(nodes, half), tolerance=2e-3)
    assert kinds(imported) == "Convolution GlobalAveragePool"


def test_open_sizes_are_fixed() -> None:
    model = model_of([CONV, ("Relu", ["c"], "y")], WEIGHTS, ("batch", C, "height", "width"))
    assert same_scores(model, size=(11, 6)).size == (11, 6)


def test_layers_are_called_as_their_modules() -> None:
    nodes: list[Spelled] = [("Conv", ["x", "stem.conv.weight", "stem.conv.bias"], "c"), ("Relu", ["c"], "r"),
                            ("Conv", ["r", "stem.conv.weight2"], "d"), ("Conv", ["r", "again"], "e"),
                            ("Add", ["d", "e"], "y")]  # fmt: skip
    constants = {"stem.conv.weight": WEIGHTS["w"], "stem.conv.bias": WEIGHTS["b"],
                 "stem.conv.weight2": numbers(2, 6, 1, 1), "again": numbers(2, 6, 1, 1)}  # fmt: skip
    operators = import_onnx(model_of(nodes, constants)).graph.operators
    assert [op.name for op in operators[:1]] == ["stem.conv"]
    assert len({op.name for op in operators}) == len(operators)
    first = operators[0]
    assert isinstance(first, Convolution) and first.clamp == RELU


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 2, C])
def test_branches_that_add_up(stride: int, groups: int) -> None:
    moments = ["g", "o", "m", "v"]
    options = {"strides": [stride, stride], "group": groups}
    nodes: list[Spelled] = [
        ("Conv", ["x", "w3"], "a", {**options, "pads": [1, 1, 1, 1]}), ("BatchNormalization", ["a", *moments], "a1"),
        ("Conv", ["x", "w1"], "b", options), ("BatchNormalization", ["b", *moments], "b1"), ("Add", ["b1", "a1"], "s"),
    ]  # fmt: skip
    if stride == 1:
        nodes += [("BatchNormalization", ["x", *moments], "i"), ("Add", ["s", "i"], "s1")]
    nodes += [("Relu", [nodes[-1][2]], "y")]
    constants = {"w3": numbers(C, C // groups, 3, 3), "w1": numbers(C, C // groups, 1, 1), "g": numbers(C),
                 "o": numbers(C, seed=1), "m": numbers(C, seed=2), "v": np.abs(numbers(C)) + 0.1}  # fmt: skip
    assert kinds(same_scores(model_of(nodes, constants))) == "Convolution GlobalAveragePool"


@pytest.mark.parametrize("kind", ["dilated", "limited", "read elsewhere", "of another map"])
def test_branches_that_stay(kind: str) -> None:
    wide = {"pads": [2, 2, 2, 2], "dilations": [2, 2]} if kind == "dilated" else {"pads": [1, 1, 1, 1]}
    nodes: list[Spelled] = [("Conv", ["x", "w3"], "a", wide), ("Relu", ["a"], "r"), ("Abs", ["x"], "z")]
    nodes += [("Conv", ["z" if kind == "of another map" else "x", "w1"], "b")]
    nodes += [("Add", ["r" if kind == "limited" else "a", "b"], "s")]
    nodes += [("Concat", ["s", "a"], "y", {"axis": 1}) if kind == "read elsewhere" else ("Relu", ["s"], "y")]
    constants = {"w3": WEIGHTS["w"], "w1": numbers(6, C, 1, 1)}
    assert kinds(same_scores(model_of(nodes, constants))).count("Convolution") == 2


@pytest.mark.parametrize("opset", [7, 9])
def test_attributes_of_older_opsets(opset: int) -> None:
    nodes: list[Spelled] = [
        ("Pad", ["x"], "p", {"pads": [0, 0, 1, 0, 0, 0, 2, 0], "value": 0.0}), ("Conv", ["p", "w", "b"], "c"),
        ("Clip", ["c"], "l", {"min": 0.0, "max": 0.7}), ("Split", ["l"], ["s", "t"], {"axis": 1, "split": [2, 4]}),
        ("Slice", ["t"], "u", {"axes": [1], "starts": [0], "ends": [2]}), ("Add", ["s", "u"], "v"),
        ("Dropout", ["v"], "d"), ("ReduceMean", ["d"], "m", {"axes": [2, 3], "keepdims": 1}),
        ("Squeeze", ["m"], "q", {"axes": [2, 3]}), ("Unsqueeze", ["q"], "w4", {"axes": [2, 3]}),
        ("Mul", ["d", "w4"], "y"),
    ]  # fmt: skip
    same_scores(model_of(nodes, WEIGHTS, opset=opset))


def test_names_beside_which_files_put_others() -> None:
    nodes: list[Spelled] = [("Conv", ["x", "a.scale.weight"], "c"), ("Conv", ["c", "a.weight"], "d"),
                            ("Conv", ["d", "a.bias.weight"], "y")]  # fmt: skip
    constants = {name: numbers(C, C, 1, 1) for name in ("a.scale.weight", "a.weight", "a.bias.weight")}
    operators = import_onnx(model_of(nodes, constants)).graph.operators
    assert [op.name for op in operators[:2]] == ["a.scale", "a.2"]
    assert len({op.name for op in operators}) == len(operators)


@pytest.mark.parametrize(
    ("text", "labels"),
    [('["a", "b"]', ("a", "b")), ('["a"]', None), ('["a", 2]', None), ("a, b", None), ("[" * 100_000, None)],
)
def test_labels_of_the_file(text: str, labels: tuple[str, ...] | None) -> None:
    model = network(model_of([("Conv", ["x", "w"], "y")], {"w": numbers(2, C, 1, 1)}))
    model.metadata_props.add(key="labels", value=text)
    imported = import_onnx(model.SerializeToString())
    assert imported.labels == labels
    assert imported.metadata == (("labels", text),)
