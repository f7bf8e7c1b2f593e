"""Each lowering rule: the integers it computes, and every reason for which it refuses a node."""

import re

import numpy as np
import pytest

from calib.integer import program as ir
from calib.integer.operation import dilated
from calib.integer.qparams import QParams
from calib.integer.reference import execute
from calib.integer.values import RequantizeAdd, ToLogits
from compile.ir.qdq_graph import Node, QdqGraph, QuantizedWeight
from compile.passes.plan import plan
from compile.passes.rules import RULES, Refusal
from compile.passes.rules.pools.pool import LARGEST_MAP
from tests.support.graphs import CONSTANTS, MAP, P, Q, graph, n

ONES = np.ones(8, np.float32)
TINY = QParams(1e-37)
HUGE = QParams(1e30)
POINTWISE = QuantizedWeight(np.full((8, 8, 1, 1), 3, np.int8), ONES, 0)
DEPTHWISE = QuantizedWeight(np.full((8, 1, 3, 3), 3, np.int8), ONES, 0)
BROAD = QuantizedWeight(np.full((512, 513, 1, 1), 3, np.int8), np.ones(512, np.float32), 0)
TALL = QuantizedWeight(np.full((8, 1, 33, 32), 3, np.int8), ONES, 0)
DEEP = QuantizedWeight(np.ones((1, 1 << 20, 1, 2), np.int8), ONES[:1], 0)
LONG = QuantizedWeight(np.full((8, 8, 1, 5), 3, np.int8), ONES, 0)
LINEAR = QuantizedWeight(np.full((8, 8), 3, np.int8), ONES, 0)


def weights(**named: QuantizedWeight) -> dict:
    return {"weights": {"w": POINTWISE, "d": DEPTHWISE, "l": LINEAR} | named}


def only(node: Node, **changes: object) -> QdqGraph:
    """Return a graph of one node whose operands and result are int8."""
    changes.setdefault("qparams", {"x": P, "y": Q, "r": P, "g": P})
    changes.setdefault("output", "none")
    return graph(node, **(weights() | changes))


def result(graph: QdqGraph) -> ir.Operator | Refusal:
    (step,) = plan(graph)
    return step.result


def operator(graph: QdqGraph) -> ir.Operator:
    answer = result(graph)
    assert not isinstance(answer, Refusal), answer
    return answer


def enlarged(scales: list[float] | None = None, qparams: dict | None = None, **attributes: object) -> QdqGraph:
    """Return a graph that makes 8 x 8 pixels of 4 x 4."""
    return only(
        n("Resize", "x none scales", "y", **attributes), shapes={"y": (1, 8, 8, 8)},
        constants={"none": np.float32([]), "scales": np.float32(scales or [1, 1, 2, 2])},
        qparams=qparams or {"x": P, "y": P},
    )  # fmt: skip


def padded(pads: list[int], shape: tuple[int, ...] = MAP, value: float = 0, **changes: object) -> QdqGraph:
    """Return a graph that pads a map of 4 x 4 pixels."""
    node = n("Pad", "x pads value", "y", mode=changes.pop("mode", "constant"))
    constants = {"pads": np.int64(pads), "value": np.float32(value)}
    return only(node, shapes={"y": shape}, constants=constants, **({"qparams": {"x": P, "y": P}} | changes))


VECTOR = {"x": (1, 8, 1, 1), "y": (1, 8)}
SCORES = {"output": "y", "qparams": {"x": P}}

REFUSED: list[tuple[str, QdqGraph, str]] = [
    ("auto_pad", only(n("Conv", "x w", "y", auto_pad="VALIDATED")), "VALIDATED.*explicit pads"),
    ("one dilation", only(n("Conv", "x w", "y", dilations=(2,))), "two of each"),
    ("no dilation at all", only(n("Conv", "x w", "y", dilations=(0, 0))), "at least 1"),
    ("no stride at all", only(n("Conv", "x w", "y", strides=(0, 1))), "at least 1"),
    ("one stride", only(n("Conv", "x w", "y", strides=(1,))), "two of each"),
    ("far strides", only(n("Conv", "x w", "y", strides=(1, 1 << 40)), shapes={"y": (1, 8, 4, 1)}), "at most 65,536"),
    ("two pads", only(n("Conv", "x w", "y", pads=(0, 0))), "four numbers"),
    ("pads below zero", only(n("Conv", "x w", "y", pads=(-1, 1, 1, -1))), "none below 0"),
    ("dilation beyond the map", only(n("Conv", "x d", "y", group=8, dilations=(2, 2))), r"\(4, 4, 8\).*\(0, 0, 8\)"),
    ("far dilation", only(n("Conv", "x d", "y", group=8, dilations=(65, 65), pads=(65,) * 4)), "at most 64 pixels"),
    ("kernel larger than the map", only(n("Conv", "x o", "y"), weights={"o": LONG}), r"kernel makes \(4, 0, 8\)"),
    ("depthwise kernel of too many taps", only(n("Conv", "x o", "y", group=8, pads=(16, 0, 16, 0)), weights={"o": TALL},
     shapes={"x": (1, 8, 1, 40), "y": (1, 8, 1, 9)}), "up to 1024"),
    ("sum of too many products", only(n("Conv", "x o", "y"), weights={"o": DEEP}, shapes={"x": (1, 1 << 20, 1, 2),
     "y": (1, 1, 1, 1)}), "2,097,152 products"),
    ("kernel of nothing", only(n("MaxPool", "x", "y", kernel_shape=(0, 3))), "height and width, at least 1"),
    ("kernel of one axis", only(n("MaxPool", "x", "y", kernel_shape=(3,))), "height and width, at least 1"),
    ("groups that do not divide", only(n("Conv", "x w", "y", group=3)), "8 outputs are no multiple of its 3 groups"),
    ("no groups", only(n("Conv", "x w", "y", group=0)), "multiple of its 0 groups"),
    ("groups of other channels", only(n("Conv", "x w", "y", group=2)), "8 channels, its kernel reads 16"),
    ("many wide groups", only(n("Conv", "x b", "y", group=512), weights={"b": BROAD}), "134,479,872 weights"),
    ("float weight", only(n("Conv", "x three", "y")), "not an int8 constant"),
    ("float depthwise weight", only(n("Conv", "x three", "y", group=8)), "not an int8 constant"),
    ("float linear weight", only(n("Gemm", "x three", "y", transB=1)), "not an int8 constant"),
    ("matrix as kernel", only(n("Conv", "x l", "y")), "shape.*4 dimensions"),
    ("kernel as matrix", only(n("Gemm", "x w", "y", transB=1), shapes=VECTOR), "shape.*2 dimensions"),
    ("int8 bias", only(n("Conv", "x w l", "y")), "its bias is int8"),
    ("int8 depthwise bias", only(n("Conv", "x d l", "y", group=8, pads=(1, 1, 1, 1))), "its bias is int8"),
    ("short bias", only(n("Conv", "x w three", "y")), "not a constant of 8 values"),
    ("bias of rows", only(n("Gemm", "x l rows", "y", transB=1), shapes=VECTOR,
                          constants={"rows": np.zeros((8, 1), np.float32)}), "not a constant of 8 values"),
    ("too much padding", only(n("Conv", "x w", "y", pads=(1, 1, 1, 1))), r"makes \(6, 6, 8\)"),
    ("very much padding", only(n("Conv", "x w", "y", pads=(0, 0, 0, 65))), "at most 64 pixels"),
    ("depthwise of other channels", only(n("Conv", "x d", "y", group=8, pads=(1,) * 4), shapes={"x": (1, 7, 4, 4)}),
     "7 channels, its kernel reads 8"),
    ("output of another size", only(n("Conv", "x w", "y"), shapes={"y": (1, 8, 5, 4)}), r"\(5, 4, 8\).*\(4, 4, 8\)"),
    ("scaled linear layer", only(n("Gemm", "x l", "y", transB=1, alpha=0.5), shapes=VECTOR), "alpha"),
    ("transposed input", only(n("Gemm", "x l", "y", transB=1, transA=1), shapes=VECTOR), "transA"),
    ("linear layer of another size", only(n("Gemm", "x l", "y", transB=1), shapes={"x": (1, 9), "y": (1, 8)}),
     "reads 8 values, its input has 9"),
    ("scores behind Relu", only(Node("y", "Gemm", ("x", "l"), "y", {"transB": 1}, (0.0, np.inf)), shapes=VECTOR,
                                **SCORES), "no activation"),
    ("scores plus a residual", only(Node("y", "Gemm", ("x", "l"), "y", {"transB": 1}, residual="r"), shapes=VECTOR,
                                    output="y", qparams={"x": P, "r": P}), "no add"),
    ("scores as a map", only(n("Conv", "x w", "y"), **SCORES), "no map"),
    ("scores of a depthwise layer", only(n("Conv", "x d", "y", group=8), **SCORES), "scores must be"),
    ("scores of a mean", only(n("GlobalAveragePool", "x", "y"), **SCORES), "scores must be"),
    ("scores of a sum", only(n("Add", "x x", "y"), **SCORES), "scores must be"),
    ("mean of one axis", only(n("ReduceMean", "x", "y", axes=(3,))), "whole height and width"),
    ("mean of channels", only(n("ReduceMean", "x axes", "y"), constants={"axes": np.int64([1])}), "whole height"),
    ("mean of a vector", only(n("ReduceMean", "x", "y", axes=(1,)), shapes={"x": (1, 8)}), "whole height"),
    ("mean of a window with too many pixels",
     only(n("AveragePool", "x", "y", kernel_shape=(1025, 1024)),
     shapes={"x": (1, 8, 1026, 1024), "y": (1, 8, 2, 1)}), "1049600 pixels; up to 1048576"),
    ("mean of padding", only(n("AveragePool", "x", "y", kernel_shape=(2, 2), pads=(2, 1, 0, 0)),
                             shapes={"y": (1, 8, 5, 4)}), "lies outside the map"),
    ("window of another output", only(n("AveragePool", "x", "y", kernel_shape=(3, 3))), r"\(4, 4, 8\).*\(2, 2, 8\)"),
    ("window of far scales", only(n("AveragePool", "x", "y", kernel_shape=(3, 3), pads=(1,) * 4, count_include_pad=1),
                                  qparams={"x": HUGE, "y": P}), "too far apart"),
    ("window with auto_pad", only(n("AveragePool", "x", "y", kernel_shape=(3, 3), auto_pad="")), "explicit"),
    ("window padded very far", only(n("MaxPool", "x", "y", kernel_shape=(99, 99), pads=(98,) * 4)), "at most 64"),
    ("mean of a huge map", only(n("GlobalAveragePool", "x", "y"), shapes={"x": (1, 8, 2048, 1024)}), "pixels; up to"),
    ("a very long map", only(n("GlobalAveragePool", "x", "y"), shapes={"x": (1, 8, LARGEST_MAP, 2)}), "at most 65,536"),
    ("a huge map", only(n("Relu", "x", "y"), shapes={"x": (1, 1 << 20, 1024, 1024)}), "268,435,456 numbers"),
    ("mean with far scales", only(n("GlobalAveragePool", "x", "y"), qparams={"x": HUGE, "y": P},
                                  shapes={"y": (1, 8, 1, 1)}), "too far apart"),
    ("mean as a map", only(n("GlobalAveragePool", "x", "y")), "one value for each channel"),
    ("product of other channels", only(n("Mul", "x g", "y"), shapes={"g": (1, 7, 1, 1)}), "size 1 along some axes"),
    ("product of a row and a column", only(n("Mul", "x g", "y"), shapes={"x": (1, 8, 1, 4), "g": (1, 1, 4, 1)}),
     "size 1 along some axes"),
    ("product of columns that seem channels", only(n("Mul", "x g", "y", misaligned="g"), shapes={"g": (1, 8)}),
     "fewer axes"),
    ("sum of other channels", only(n("Add", "x g", "y"), shapes={"g": (1, 7, 1, 1)}), "size 1 along some axes"),
    ("difference of a row and a column", only(n("Sub", "x g", "y"), shapes={"x": (1, 8, 1, 4), "g": (1, 8, 4, 1)}),
     "size 1 along some axes"),
    ("product with far scales", only(n("Mul", "x g", "y"), qparams={"x": HUGE, "g": P, "y": P},
                                     shapes={"g": (1, 8, 1, 1)}), "too far apart"),
    ("product with vanishing scales", only(n("Mul", "x g", "y"), qparams={"x": TINY, "g": TINY, "y": P},
                                           shapes={"g": (1, 8, 1, 1)}), "too far apart"),
    ("slopes that are computed", only(n("PRelu", "x g", "y")), "slopes are computed"),
    ("slopes of columns", only(n("PRelu", "x slopes", "y"), constants={"slopes": np.ones(4, np.float32)}),
     r"shape \[4\]; one for all"),
    ("slopes of other channels",
     only(n("PRelu", "x slopes", "y"), constants={"slopes": np.ones((7, 1, 1), np.float32)}), "one for each channel"),
    ("slopes of every pixel", only(n("PRelu", "x slopes", "y"), constants={"slopes": np.ones(MAP, np.float32)}),
     "one for each channel"),
    ("slopes that leave int32",
     only(n("PRelu", "x slopes", "y"), constants={"slopes": np.full((8, 1, 1), 1e8, np.float32)}), "too far apart"),
    ("slopes with vanishing scales", only(n("PRelu", "x slopes", "y"), qparams={"x": TINY, "y": HUGE},
                                          constants={"slopes": np.ones((8, 1, 1), np.float32)}), "too far apart"),
    ("slopes that change the shape", only(n("PRelu", "x slopes", "y"), shapes={"x": (1, 8, 1, 1)},
                                          constants={"slopes": np.ones((8, 1, 1), np.float32)}), "its output"),
    ("sum with far scales", only(n("Add", "x g", "y"), qparams={"x": HUGE, "g": P, "y": P}), "times the output's"),
    ("difference with far scales", only(n("Sub", "x g", "y"), qparams={"x": P, "g": HUGE, "y": P}),
     "times the output's"),
    ("normalization that is no line", only(n("BatchNormalization", "x k k k k", "y", training_mode=1),
                                           constants={"k": ONES}), "constants with one value for each channel"),
    ("convolution with far scales", only(Node("y", "Conv", ("x", "w"), "y", residual="r"),
                                         qparams={"x": P, "r": P, "y": TINY}), "factor is inf"),
    ("a constant as input", only(n("Conv", "three w", "y")), "reads the constant 'three'"),
    ("a float input", only(n("Conv", "x w", "y"), qparams={"y": P}), "reads 'x' in float"),
    ("a float result", only(n("Conv", "x w", "y"), qparams={"x": P}), "'y' stays float"),
    ("unknown operator", only(n("Einsum", "x", "y")), "no integer rule for Einsum"),
    ("max pool of another output", only(n("MaxPool", "x", "y", kernel_shape=(3, 2))), r"makes \(2, 3, 8\)"),
    ("max pool that starts outside", only(n("MaxPool", "x", "y", kernel_shape=(2, 2), pads=(2, 1, 0, 0)),
                                          shapes={"y": (1, 8, 5, 4)}), "lies outside the map"),
    ("max pool between whose taps the map is", only(n("MaxPool", "x", "y", kernel_shape=(2, 1), dilations=(6, 1),
     pads=(1, 0, 1, 0)), shapes={"x": (1, 8, 5, 4), "y": (1, 8, 1, 4)}), "lies outside the map"),
    ("max pool with other scales", only(n("MaxPool", "x", "y", kernel_shape=(1, 1))), "another scale"),
    ("concatenated rows", only(n("Concat", "x g", "y", axis=2)), "concatenation of channels"),
    ("concatenation of too much", only(n("Concat", "x g", "y", axis=1)), "do not fit"),
    ("slice with steps of channels", only(n("Slice", "x", "y", starts=(0,), ends=(8,), axes=(1,), steps=(2,)),
                                          shapes={"y": (1, 4, 4, 4)}, qparams={"x": P, "y": P}), "steps along the ch"),
    ("slice without steps", only(n("Slice", "x", "y", starts=(0,), axes=(1,), steps=(0,))), "constant limits"),
    ("slice to computed ends", only(n("Slice", "x three r", "y")), "constant limits"),
    ("slice beyond the end", only(n("Slice", "x", "y", starts=(3,), axes=(1,))), "limits"),
    ("more channels", only(n("Resize", "x", "y"), shapes={"y": (1, 16, 4, 4)}), "only height and width"),
    ("enlarged by cubes", only(n("Resize", "x", "y", mode="cubic")), "nearest and linear"),
    ("made smaller smoothly", only(n("Resize", "x", "y", mode="linear", antialias=1)), "antialias"),
    ("enlarged in shape", only(n("Resize", "x", "y", keep_aspect_ratio_policy="not_larger")), "aspect"),
    ("enlarged as TensorFlow does, rounded up", enlarged(coordinate_transformation_mode="tf_half_pixel_for_nn"),
     "floor alone"),
    ("enlarged by another rounding", only(n("Resize", "x", "y", nearest_mode="up")), "nearest_mode 'up'"),
    ("enlarged by 2.2, symmetric", enlarged([1, 1, 2.2, 2.2], coordinate_transformation_mode="half_pixel_symmetric"),
     "whole sizes"),
    ("enlarged by too much", enlarged([1, 1, 3, 2]), "do not fit"),
    ("enlarged by no number", enlarged([1, 1, float("nan"), 2]), "do not fit"),
    ("enlarged channels by 1.01", enlarged([1, 1.01, 2, 2]), "do not fit"),
    ("enlarged with far scales", only(n("Resize", "x", "y", mode="linear"), qparams={"x": HUGE, "y": P}), "too far"),
    ("scales for other axes", enlarged([2, 2]), "do not fit"),
    ("enlarged from corner to corner", enlarged(coordinate_transformation_mode="tf_crop_and_resize"), "'tf_crop"),
    ("enlarged with another scale", enlarged(qparams={"x": P, "y": Q}), "another scale"),
    ("shuffled with another scale", only(n("ShuffleChannels", "x", "y", groups=2)), "another scale"),
    ("scores as an int8 map", only(n("DequantizeScores", "x", "y"), output="y"), "not a map"),
    ("Q of a shared tensor", only(n("Requantize", "r", "y"), qparams={"y": P}), "also used"),
    ("Q of int8 scores", only(n("QuantizeLinear", "r s z", "y"), qparams={}), "without a DequantizeLinear"),
    ("Q with a scale per channel", only(n("QuantizeLinear", "r scales", "y"), qparams={}), "one scale per channel"),
    ("a constant map", only(n("Add", "x m", "y"), constants={"m": np.zeros(MAP, np.float32)}),
     r"the constant 'm' of shape \[1, 8, 4, 4\]"),
    ("a constant to put beside", only(n("Concat", "x three", "y", axis=1)), "the constant 'three'"),
    ("padding without pads", only(n("Pad", "x", "y")), "have to be constants"),
    ("padding that cuts off", padded([0, 0, -1, 0, 0, 0, 1, 0]), "none below 0"),
    ("padding of too few axes", padded([1, 1]), "have to be constants"),
    ("padding of another output", padded([0, 0, 1, 0, 0, 0, 0, 0]), r"\(4, 4, 8\) of \(4, 4, 8\)"),
    ("padding of images", padded([1, 0, 0, 0, 0, 0, 0, 0], (2, 8, 4, 4)), r"shape of 'y' is \[2"),
    ("padding by no number", padded([0, 0, 1, 0, 0, 0, 0, 0], (1, 8, 5, 4), value=float("nan")), "a constant around"),
    ("padding of another kind", padded([0, 0, 1, 0, 0, 0, 0, 0], (1, 8, 5, 4), mode="mirror"), "mode 'mirror'"),
    ("padding with copies of channels", padded([0, 1, 0, 0, 0, 0, 0, 0], (1, 9, 4, 4), mode="edge"), "mode 'edge'"),
    ("padding with another scale", padded([0, 0, 1, 0, 0, 0, 0, 0], (1, 8, 5, 4), qparams={"x": P, "y": Q}),
     "another scale"),
    ("two images", only(n("Add", "x x", "y"), shapes={"x": (2, 8), "y": (2, 8)}), r"shape of 'x' is \[2, 8\]"),
    ("five axes", only(n("Add", "x x", "y"), shapes={"x": (1, 8, 1, 4, 4), "y": (1, 8, 1, 4, 4)}), "shape of 'x'"),
    ("asymmetric weight", only(n("DequantizeLinear", "three s z", "y"), qparams={}), "weights are symmetric"),
    ("DQ with another scale", only(n("DequantizeLinear", "x s2 z2", "y")), "another scale or zero point"),
]  # fmt: skip


@pytest.mark.parametrize(("graph", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refusals_say_why(graph: QdqGraph, words: str) -> None:
    answer = result(graph)
    assert isinstance(answer, Refusal)
    assert re.search(words, answer.reason), answer.reason


def test_rules_leave_other_nodes_alone() -> None:
    stranger = only(n("Einsum", "x", "y"))
    assert [rule(stranger, stranger.nodes[0]) for rule in RULES] == [None] * len(RULES)


def test_each_node_has_at_most_one_rule() -> None:
    for node in (n("Conv", "x w", "y"), n("Conv", "x d", "y", group=8, pads=(1,) * 4), n("Mul", "x r", "y")):
        one = only(node, shapes={"r": (1, 8, 1, 1)})
        assert sum(rule(one, one.nodes[0]) is not None for rule in RULES) == 1


def test_residual_of_a_dense_convolution() -> None:
    made = operator(only(Node("y", "Conv", ("x", "w"), "y", {}, (0.0, np.inf), "r")))
    assert isinstance(made, ir.Conv2d) and isinstance(made.epilogue, RequantizeAdd)
    # s_r = 0.1 and s_y = 0.2; the factor is in 4096ths
    assert (made.epilogue.residual.name, made.epilogue.residual_factor) == ("r", 2048)
    assert (made.epilogue.low, made.epilogue.high, made.epilogue.zero_point) == (-5, 127, -5)
    np.testing.assert_array_equal(made.epilogue.multiplier, np.float32(4096 * np.float32(0.1) / np.float32(0.2)))


def test_bias_takes_the_zero_point_with_it() -> None:
    bias = np.arange(8, dtype=np.float32)
    made = operator(only(n("Conv", "x w b", "y"), constants={"b": bias}))
    assert isinstance(made, ir.Conv2d)
    np.testing.assert_array_equal(made.bias, np.rint(bias / np.float64(np.float32(0.1))) - 3 * 8 * 3)


def test_clip_becomes_two_integers() -> None:
    made = operator(only(Node("y", "Conv", ("x", "w"), "y", {}, (0.0, 6.0))))
    assert (made.epilogue.low, made.epilogue.high) == (-5, 25)


@pytest.mark.parametrize("node", [
    n("GlobalAveragePool", "x", "y"), n("ReduceMean", "x", "y", axes=(2, 3)), n("ReduceMean", "x", "y", axes=(-1, -2)),
    n("ReduceMean", "x axes", "y"), n("AveragePool", "x", "y", kernel_shape=(4, 4)),
])  # fmt: skip
@pytest.mark.parametrize("shape", [(1, 8, 1, 1), (1, 8)])
def test_spellings_of_the_mean(node: Node, shape: tuple[int, ...]) -> None:
    made = operator(only(node, shapes={"y": shape}, constants={"axes": np.int64([2, 3])}))
    assert isinstance(made, ir.GlobalAveragePool)
    assert made.bias == -16 * 3 and made.epilogue.multiplier == np.float32(0.1 / (np.float64(np.float32(0.2)) * 16))


@pytest.mark.parametrize(
    ("window", "attributes", "sides", "expected"),
    [((3, 3), {}, (2, 2), ((1, 1), (0, 0))),
     ((3, 3), {"pads": (1,) * 4, "count_include_pad": 1}, (4, 4), ((1, 1), (1, 1))),
     ((3, 3), {"pads": (1, 1, 0, 0), "strides": (2, 2), "count_include_pad": 1}, (2, 2), ((2, 2), (1, 1))),
     ((2, 2), {"strides": (2, 2), "ceil_mode": 1}, (2, 2), ((2, 2), (0, 0))), ((1, 3), {}, (4, 2), ((1, 1), (0, 0))),
     ((3, 2), {"strides": (1, 2)}, (2, 2), ((1, 2), (0, 0))),
     ((2, 3), {"pads": (0, 1, 1, 1), "count_include_pad": 1}, (4, 4), ((1, 1), (0, 1)))],
)  # fmt: skip
def test_a_smaller_window_is_an_average_pool(
    window: tuple[int, int], attributes: dict, sides: tuple[int, int], expected: tuple[tuple[int, int], ...]
) -> None:
    made = operator(only(n("AveragePool", "x", "y", kernel_shape=window, **attributes), shapes={"y": (1, 8, *sides)}))
    assert isinstance(made, ir.AveragePool)
    count = window[0] * window[1]
    assert (made.window, made.strides, made.pads) == (window, *expected) and made.bias == -count * 3
    assert made.epilogue.multiplier == np.float32(0.1 / (np.float64(np.float32(0.2)) * count))


@pytest.mark.parametrize("inputs", ["x g", "g x"])
def test_gate_in_either_order(inputs: str) -> None:
    made = operator(only(n("Mul", inputs, "y"), shapes={"g": (1, 8, 1, 1)}))
    assert isinstance(made, ir.Multiply) and (made.input.name, made.gate.name) == ("x", "g")


def test_sum_of_two_tensors() -> None:
    made = operator(only(Node("y", "Add", ("x", "g"), "y", {}, (-1.0, np.inf)), qparams={"x": P, "g": Q, "y": Q}))
    assert isinstance(made, ir.Add)
    assert (made.factor, made.other_factor, made.low, made.high) == (2048, 4096, -10, 127)


def test_groups_are_a_dense_kernel_with_zeros_between() -> None:
    values = np.arange(1, 8 * 4 + 1, dtype=np.int8).reshape(8, 4, 1, 1)
    made = operator(only(n("Conv", "x g", "y", group=2), **weights(g=QuantizedWeight(values, ONES, 0))))
    assert isinstance(made, ir.Conv2d) and made.weight.shape == (8, 1, 1, 8)
    np.testing.assert_array_equal(made.weight[:4, 0, 0], np.hstack([values[:4, :, 0, 0], np.zeros((4, 4))]))
    np.testing.assert_array_equal(made.weight[4:, 0, 0], np.hstack([np.zeros((4, 4)), values[4:, :, 0, 0]]))


@pytest.mark.parametrize(("weight", "group"), [("d", 8), ("k", 1), ("g", 2)])
def test_dilation_keeps_the_weights(weight: str, group: int) -> None:
    kernels = {group: QuantizedWeight(np.full((8, 8 // group, 3, 3), 3, np.int8), ONES, 0) for group in (1, 2)}
    node = n("Conv", f"x {weight}", "y", group=group, dilations=(3, 3), pads=(3, 3, 3, 3))
    made = operator(only(node, **weights(k=kernels[1], g=kernels[2])))
    assert isinstance(made, ir.Conv2d | ir.DepthwiseConv2d) and made.weight.shape[1:3] == (3, 3)
    assert (made.dilations, made.window, made.pads, made.border) == ((3, 3), (7, 7), (3, 3), 3)


@pytest.mark.parametrize(("sides", "group"), [((1, 3), 1), ((3, 1), 8), ((2, 3), 2)])
@pytest.mark.parametrize(
    ("attributes", "made"),
    [({"pads": (0, 1, 2, 1)}, ((1, 1), (0, 1), (1, 1))),
     ({"pads": (1, 0, 0, 2), "strides": (2, 1)}, ((2, 1), (1, 0), (1, 1))),
     ({"dilations": (1, 2), "pads": (2, 0, 2, 3), "strides": (1, 3)}, ((1, 3), (2, 0), (1, 2)))],
)  # fmt: skip
def test_each_axis_has_its_own_window(sides: tuple[int, int], group: int, attributes: dict, made: tuple) -> None:
    strides, pads, dilations = made
    dilations = tuple(d if taps > 1 else 1 for d, taps in zip(dilations, sides, strict=True))  # of one tap: no matter
    rows = (4 + pads[0] + attributes["pads"][2] - dilated(sides[0], dilations[0])) // strides[0] + 1
    columns = (4 + pads[1] + attributes["pads"][3] - dilated(sides[1], dilations[1])) // strides[1] + 1
    kernel = QuantizedWeight(np.full((8, 8 // group, *sides), 3, np.int8), ONES, 0)
    node = n("Conv", "x k", "y", group=group, **attributes)
    found = operator(only(node, shapes={"y": (1, 8, rows, columns)}, **weights(k=kernel)))
    assert (found.kernel, found.strides, found.pads, found.dilations) == (sides, strides, pads, dilations)


@pytest.mark.parametrize(
    ("auto", "size", "kernel", "pads", "border"),
    [("SAME_UPPER", 4, 3, (0, 0), 1), ("SAME_LOWER", 4, 3, (1, 1), 1), ("SAME_UPPER", 5, 3, (1, 1), 1),
     ("SAME_LOWER", 4, 1, (0, 0), 0), ("VALID", 5, 3, (0, 0), 0), ("SAME_UPPER", 4, 6, (2, 2), 2)],
)  # fmt: skip
def test_pads_that_follow_from_the_sizes(auto: str, size: int, kernel: int, pads: tuple, border: int) -> None:
    weight = QuantizedWeight(np.full((8, 8, kernel, kernel), 3, np.int8), ONES, 0)
    side = 2 if auto == "VALID" else -(-size // 2)
    shapes = {"x": (1, 8, size, size), "y": (1, 8, side, side)}
    made = operator(only(n("Conv", "x k", "y", strides=(2, 2), auto_pad=auto), shapes=shapes, **weights(k=weight)))
    assert (made.pads, made.border) == (pads, border)


def test_difference_is_a_sum_with_a_negative_factor() -> None:
    made = operator(only(Node("y", "Sub", ("x", "g"), "y", {}, (0.0, np.inf)), qparams={"x": P, "g": Q, "y": Q}))
    assert isinstance(made, ir.Add) and (made.input.name, made.other.name) == ("x", "g")
    assert (made.factor, made.other_factor, made.low, made.high) == (2048, -4096, -5, 127)


def test_linear_layer_over_a_map_turns_channels_last() -> None:
    values = np.arange(2 * 12, dtype=np.int8).reshape(2, 12)
    linear = QuantizedWeight(values, np.ones(1, np.float32), 1)
    made = operator(only(n("Gemm", "x m", "y", transB=1), shapes={"x": (1, 3, 2, 2), "y": (1, 2)}, **weights(m=linear)))
    assert isinstance(made, ir.Conv2d) and made.weight.shape == (2, 2, 2, 3)
    assert made.weight[1, 1, 0].tolist() == [values[1, c * 4 + 2] for c in range(3)]


def test_dead_channels_keep_their_bias() -> None:
    """A weight scale of 1e-10 cannot move an output of step 0.2, and its bias of -3 would be 3e11 steps."""
    scales = np.full(8, 1, np.float32)
    scales[2] = 1e-10
    dead = QuantizedWeight(np.full((8, 8, 1, 1), 3, np.int8), scales, 0)
    bias = np.full(8, -3, np.float32)
    made = operator(only(n("Conv", "x v b", "y"), constants={"b": bias}, **weights(v=dead)))
    assert isinstance(made, ir.Conv2d) and not made.weight[2].any() and made.weight[1].all()
    assert made.bias[2] == -(2**24) and made.epilogue.multiplier[2] * made.bias[2] == pytest.approx(-3 / 0.2, rel=1e-6)
    scales[2] = 1e-4  # 24 weights of 3e-4 move it by 0.9: not dead, and its bias fits
    assert operator(only(n("Conv", "x v b", "y"), constants={"b": bias}, **weights(v=dead))).weight.all()


def test_a_channel_that_is_not_dead_is_refused_where_its_bias_does_not_fit() -> None:
    dead = QuantizedWeight(np.full((8, 8, 1, 1), 3, np.int8), np.full(8, 1e-3, np.float32), 0)
    answer = result(only(n("Conv", "x v b", "y"), constants={"b": np.full(8, -3e6, np.float32)}, **weights(v=dead)))
    assert isinstance(answer, Refusal) and "the accumulator of channel 0 could leave int32" in answer.reason
    assert "checkpoint" not in answer.reason  # the owner of a file from another tool may have none


def test_factor_and_offset_of_each_channel() -> None:
    factor, offset = (2.0, -0.5, 0.0, *[1.0] * 5), (0.0, 1.0, 7.0, *[-1.0] * 5)
    made = operator(only(n("ScaleChannels", "x", "y", factor=factor, offset=offset)))
    assert isinstance(made, ir.DepthwiseConv2d) and made.weight.shape == (8, 1, 1)
    x = np.arange(-128, 128).astype(np.int8)
    got = execute(made, {"x": np.broadcast_to(x[:, None, None, None], (256, 4, 4, 8))})[:, 0, 0]
    real = ((x.astype(int) - P.zero_point) * P.scale)[:, None] * np.array(factor) + np.array(offset)
    exact = np.clip(real / Q.scale + Q.zero_point, -128, 127)
    # Half a step from rounding, and the offset's rounding to 1/64 of the input's step
    limit = 0.5 + 0.5 * np.abs(np.array(factor)) * P.scale / Q.scale / 64 + 1e-4
    assert (np.abs(got - exact) <= limit).all()


def test_an_enlargement_may_store_empty_scales_beside_its_sizes() -> None:
    node = n("Resize", "x none none sizes", "y", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    made = operator(only(
        node, shapes={"y": (1, 8, 8, 8)}, qparams={"x": P, "y": P},
        constants={"none": np.float32([]), "sizes": np.int64([1, 8, 8, 8])},
    ))  # fmt: skip
    assert isinstance(made, ir.NearestUpsample) and (made.rows, made.columns) == (2, 2)


@pytest.mark.parametrize(("shape", "of_slopes"), [(MAP, (8, 1, 1)), (MAP, (1, 8, 1, 1)), ((1, 8), (8,))])
def test_slope_of_each_channel(shape: tuple[int, ...], of_slopes: tuple[int, ...]) -> None:
    slopes = np.float32([0.25, -1, 0, 3, 1, 1e-38, -0.1, 0.5])
    node = n("PRelu", "x slopes", "y")
    made = operator(only(node, constants={"slopes": slopes.reshape(of_slopes)}, shapes={"x": shape, "y": shape}))
    assert isinstance(made, ir.ChannelSlopes) and made.slopes[5] == 0
    x = np.arange(-128, 128).astype(np.int8)
    got = execute(made, {"x": np.broadcast_to(x[:, None, None, None], (256, 1, 1, 8))})[:, 0, 0]
    real = ((x.astype(int) - P.zero_point) * P.scale)[:, None]
    exact = np.where(real < 0, real * slopes, real) / Q.scale + Q.zero_point
    assert np.abs(got - np.clip(exact, -128, 127)).max() <= 0.5 + 1e-4


def test_scores_stay_float() -> None:
    made = operator(only(n("Gemm", "x l", "y", transB=1), shapes=VECTOR, **SCORES))
    assert isinstance(made, ir.Conv2d) and isinstance(made.epilogue, ToLogits)
    assert made.epilogue.multiplier.tolist() == [float(np.float32(0.1))] * 8
    assert CONSTANTS["s"] == np.float32(0.1)
