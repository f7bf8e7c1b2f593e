"""Each pass: a graph before, the nodes expected after. Each rule: what it makes, what it refuses and in which words."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calib.integer import program as ir
from calib.integer.qparams import dequantize
from calib.integer.reference import run
from compile.frontend.qdq_file import read_qdq
from compile.ir.qdq_graph import INPUT_TABLE, LOOKUP_TABLE, REQUANTIZE, Node, QdqGraph, QuantizedWeight
from compile.passes import lower, simplify
from compile.passes.fusion.drop_softmax import drop_softmax
from compile.passes.fusion.fold_channel_constants import fold_channel_constants
from compile.passes.fusion.fold_lookups import fold_lookups
from compile.passes.fusion.fold_pads import fold_pads
from compile.passes.fusion.fold_shuffles import fold_shuffles
from compile.passes.fusion.fold_views import fold_views
from compile.passes.fusion.fuse_activation import fuse_activation
from compile.passes.fusion.fuse_residual import fuse_residual
from compile.passes.matmul_to_gemm import matmul_to_gemm
from compile.passes.plan import plan
from compile.passes.quantization.fold_channel_scales import fold_channel_scales
from compile.passes.quantization.fold_constants import fold_constants
from compile.passes.quantization.fold_quantization import fold_quantization
from compile.passes.quantization.fold_weights import fold_weights
from compile.passes.quantization.keep_scales import keep_scales
from compile.passes.quantization.merge_quantization import merge_quantization
from compile.passes.rules import Refusal
from compile.passes.split_groups import split_groups
from compile.passes.verify import BrokenGraphError, verify
from tests.support.agreement import onnx_runtime
from tests.support.graphs import CONSTANTS, MAP, P, Q, dq, graph, n, q, written
from tests.support.programs import random_images
from tests.support.qdq_models import mini_net, preprocess, save
from tests.support.random_nets import SIZE, Net

NO_SHUFFLE = ["Reshape x to5 -> a", "Transpose a -> b", "Reshape b to4 -> y"]


def shuffled(
    *more: Node, perm: tuple[int, ...] = (0, 2, 1, 3, 4), parts: tuple[int, ...] = (1, 2, 4, 4, 4),
    turned: tuple[int, ...] = (1, 4, 2, 4, 4), qparams: dict | None = None,
) -> QdqGraph:  # fmt: skip
    """Return a graph of Reshape, Transpose and Reshape, with sizes as given."""
    return graph(
        n("Reshape", "x to5", "a"), n("Transpose", "a", "b", perm=perm), n("Reshape", "b to4", "y"), *more,
        shapes={"a": parts, "b": turned}, qparams=qparams or {"x": P, "a": P, "b": P, "y": P}, output="none",
        constants={"to5": np.array(parts), "to4": np.array(MAP)},
    )  # fmt: skip


# name, pass, graph before, nodes after
BEFORE_AND_AFTER: list[tuple[str, Callable[[QdqGraph], QdqGraph], QdqGraph, list[str]]] = [
    (
        "copies of constants vanish",
        fold_constants,
        graph(n("Identity", "three", "copy"), n("Add", "input copy", "y")),
        ["Add input copy -> y"],
    ),
    (
        "dequantized int8 constants become weights",
        fold_weights,
        graph(dq("w", "w.dq", "s z0"), n("Conv", "input w.dq", "y"),
              constants={"w": np.ones((2, 8, 1, 1), np.int8), "z0": np.int8(0)}),
        ["Conv input w.dq -> y"],
    ),
    (
        "asymmetric weights stay",
        fold_weights,
        graph(dq("w", "w.dq"), n("Conv", "input w.dq", "y"), constants={"w": np.ones((2, 8, 1, 1), np.int8)}),
        ["DequantizeLinear w s z -> w.dq", "Conv input w.dq -> y"],
    ),
    (
        "Q and DQ move into the tensors, the input becomes a table",
        fold_quantization,
        graph(q("input", "x.q"), dq("x.q", "x.dq"), n("Conv", "x.dq w", "y"), q("y", "y.q", "s2 z2"),
              dq("y.q", "y.dq", "s2 z2"), n("Gemm", "y.dq w", "logits"), constants={"w": np.float32(0)}),
        ["InputTable  -> input", "Conv input w -> y", "Gemm y w -> logits"],
    ),
    (
        "a copy with equal parameters vanishes",
        fold_quantization,
        graph(q("input", "x.q"), dq("x.q", "x.dq"), q("x.dq", "c.q"), dq("c.q", "c.dq"), n("Gemm", "c.dq w", "logits"),
              constants={"w": np.float32(0)}),
        ["InputTable  -> input", "Gemm input w -> logits"],
    ),
    (
        "another scale is a requantization",
        fold_quantization,
        graph(q("input", "x.q"), dq("x.q", "x.dq"), q("x.dq", "c.q", "s2 z2"), dq("c.q", "c.dq", "s2 z2"),
              n("Gemm", "c.dq w", "logits"), constants={"w": np.float32(0)}),
        ["InputTable  -> input", "Requantize input -> c.q", "Gemm c.q w -> logits"],
    ),
    (
        "a tensor that is also used in float is quantized beside it",
        fold_quantization,
        graph(n("Relu", "input", "r"), q("r", "r.q"), dq("r.q", "r.dq"), n("Add", "r.dq r", "y")),
        ["Relu input -> r", "Requantize r -> r.q", "Add r.q r -> y"],
    ),
    (
        "an int8 tensor read without DQ keeps its Q",
        fold_quantization,
        graph(n("Conv", "input three", "r"), q("r", "r.q"), n("Relu", "r.q", "raw"), dq("raw", "y")),
        ["Conv input three -> r", "QuantizeLinear r s z -> r.q", "Relu r.q -> raw", "DequantizeLinear raw s z -> y"],
    ),
    (
        "a DQ with another scale stays",
        fold_quantization,
        graph(n("Conv", "input three", "r"), q("r", "r.q"), dq("r.q", "r.dq", "s2 z2"), n("Gemm", "r.dq three", "y")),
        ["Conv input three -> r", "DequantizeLinear r s2 z2 -> r.dq", "Gemm r.dq three -> y"],
    ),
    (
        "equal Q nodes of one tensor are one, whatever their parameters are called",
        merge_quantization,
        graph(q("x", "q1"), q("x", "q2", "s0 z0"), q("x", "q3", "s2 z"), dq("q1", "d1"), dq("q2", "d2"), dq("q3", "d3"),
              n("Sum", "d1 d2 d3", "y"), constants={"s0": np.float32(0.1), "z0": np.int8(3)}, qparams={"x": P}),
        ["QuantizeLinear x s z -> q1", "QuantizeLinear x s2 z -> q3", "DequantizeLinear q1 s z -> d1",
         "DequantizeLinear q3 s z -> d3", "Sum d1 d1 d3 -> y"],
    ),
    (
        "a dequantized operand of Add is a real constant, whatever its zero point",
        fold_weights,
        graph(dq("k", "k.dq"), n("Add", "input k.dq", "y"), constants={"k": np.int8(4)}),
        ["Add input k.dq -> y"],
    ),
    (
        "a weight whose axes are turned in no order stays",
        fold_weights,
        graph(dq("w", "w.dq", "s z0"), n("Transpose", "w.dq", "t", perm=(0, 0)), n("MatMul", "input t", "y"),
              constants={"w": np.ones((2, 8), np.int8), "z0": np.int8(0)}),
        ["Transpose w.dq -> t", "MatMul input t -> y"],
    ),
    (
        "MatMul with a weight is Gemm",
        matmul_to_gemm,
        graph(n("MatMul", "x l", "y"), n("MatMul", "y three", "z"),
              shapes={"x": (1, 8), "y": (1, 8), "z": (1, 8), "l": (8, 8)},
              weights={"l": QuantizedWeight(np.ones((8, 8), np.int8), np.ones(1, np.float32), 1)}, qparams={"x": P}),
        ["Gemm x l -> y", "MatMul y three -> z"],
    ),
    (
        "one constant per channel of an int8 tensor, and the next one behind it",
        fold_channel_constants,
        graph(n("Mul", "k x", "a"), n("Sub", "a k", "y"), constants={"k": np.ones((8, 1, 1), np.float32)},
              qparams={"x": P, "y": Q}),
        ["ScaleChannels x -> y"],
    ),
    (
        "constants behind a convolution become part of it",
        fold_channel_constants,
        graph(n("Conv", "x w", "c"), n("Div", "c k", "a"), n("Add", "three a", "y"), qparams={"x": P, "y": Q},
              constants={"k": np.ones((1, 8, 1, 1), np.float32)}, shapes={"w": (8, 8, 1, 1)},
              weights={"w": QuantizedWeight(np.ones((8, 8, 1, 1), np.int8), np.ones(1, np.float32), 0)}),
        ["Conv x a, weight of y a, bias of y -> y"],
    ),
    (
        "BatchNormalization of an int8 tensor, of a convolution's result and of the image",
        fold_channel_constants,
        graph(n("BatchNormalization", "x k k k k", "a"), n("Conv", "x w", "c"),
              n("BatchNormalization", "c k k k k", "b"), n("BatchNormalization", "input l l l l", "y"),
              constants={"k": np.ones(8, np.float32), "l": np.ones(3, np.float32)}, qparams={"x": P},
              shapes={"w": (8, 8, 1, 1), "input": (1, 3, 4, 4), "y": (1, 3, 4, 4)},
              weights={"w": QuantizedWeight(np.ones((8, 8, 1, 1), np.int8), np.ones(1, np.float32), 0)}),
        ["ScaleChannels x -> a", "Conv x c, weight of b c, bias of b -> b", "ScaleChannels input -> y"],
    ),
    (
        "BatchNormalization of each batch, by computed numbers, and by a negative variance stays",
        fold_channel_constants,
        graph(n("BatchNormalization", "x k k k k", "a", training_mode=1), n("BatchNormalization", "x k k g k", "b"),
              n("BatchNormalization", "x k k k v", "y"), qparams={"x": P, "g": P},
              constants={"k": np.ones(8, np.float32), "v": -np.ones(8, np.float32)}),
        ["BatchNormalization x k k k k -> a", "BatchNormalization x k k g k -> b",
         "BatchNormalization x k k k v -> y"],
    ),
    (
        "BatchNormalization of the image, behind its Q or not, is part of its tables",
        fold_lookups,
        graph(n("InputTable", "", "x"), n("ScaleChannels", "x", "a", factor=(1.0, 2.0, 3.0), offset=(0.0, 1.0, 2.0)),
              n("Relu", "a", "y"), qparams={"x": P, "y": Q},
              shapes=dict.fromkeys(("input", "x", "a", "y"), (1, 3, 4, 4))),
        ["InputTable  -> y"],
    ),
    (
        "constants of columns, of maps, and what divides by a tensor stay",
        fold_channel_constants,
        graph(n("Mul", "x columns", "a"), n("Add", "x map", "b"), n("Div", "k x", "c"), n("Sum", "a b c", "y"),
              constants={"columns": np.ones(4, np.float32), "map": np.ones(MAP, np.float32),
                         "k": np.ones((1, 8, 1, 1), np.float32)}, qparams={"x": P}),
        ["Mul x columns -> a", "Add x map -> b", "Div k x -> c", "Sum a b c -> y"],
    ),
    (
        "scales per channel move into the convolutions around them",
        fold_channel_scales,
        graph(n("Conv", "x w", "c"), n("Clip", "c zero big", "r"), n("QuantizeLinear", "r many z", "q", axis=1),
              n("DequantizeLinear", "q many z", "q.dq", axis=1), n("Conv", "q.dq d", "y", group=8),
              constants={"many": np.linspace(0.1, 0.2, 8, dtype=np.float32), "big": np.float32(99)},
              weights={"w": QuantizedWeight(np.ones((8, 8, 1, 1), np.int8), np.ones(1, np.float32), 0),
                       "d": QuantizedWeight(np.ones((8, 1, 3, 3), np.int8), np.ones(1, np.float32), 0)}),
        ["Conv x q, weight q, bias -> c", "Clip c q, low q, high -> r", "QuantizeLinear r q, scale q, zero point -> q",
         "DequantizeLinear q q, scale q, zero point -> q.dq", "Conv q.dq d, with the scales of q -> y"],
    ),
    (
        "scales per channel with limits that are no common integer stay",
        fold_channel_scales,
        graph(n("Conv", "x w", "c"), n("Clip", "c zero six", "r"), n("QuantizeLinear", "r many z", "q", axis=1),
              n("DequantizeLinear", "q many z", "q.dq", axis=1), n("Conv", "q.dq d", "y", group=8),
              constants={"many": np.linspace(0.1, 0.2, 8, dtype=np.float32)},
              weights={"w": QuantizedWeight(np.ones((8, 8, 1, 1), np.int8), np.ones(1, np.float32), 0),
                       "d": QuantizedWeight(np.ones((8, 1, 3, 3), np.int8), np.ones(1, np.float32), 0)}),
        ["Conv x w -> c", "Clip c zero six -> r", "QuantizeLinear r many z -> q", "DequantizeLinear q many z -> q.dq",
         "Conv q.dq d -> y"],
    ),
    (
        "a convolution of many groups takes a few at a time, with bias and residual",
        split_groups,
        graph(Node("y", "Conv", ("x", "w", "b"), "y", {"group": 5}, residual="r"), qparams={"x": P, "r": P, "y": Q},
              shapes={"w": (20, 4, 1, 1)} | dict.fromkeys("xyr", (1, 20, 4, 4)),
              constants={"b": np.zeros(20, np.float32)},
              weights={"w": QuantizedWeight(np.ones((20, 4, 1, 1), np.int8), np.ones(20, np.float32), 0)}),
        [line for first in (0, 2, 4) for line in (
            f"Slice x -> y, groups from {first}, input",
            f"Slice r -> y, groups from {first}, residual",
            f"Conv y, groups from {first}, input y, groups from {first}, weight y, groups from {first}, bias "
            f"y, groups from {first}, residual -> y, groups from {first}",
        )] + ["Concat y, groups from 0 y, groups from 2 y, groups from 4 -> y"],
    ),
    (
        "a depthwise convolution, few groups and groups that fit no channels stay",
        split_groups,
        graph(n("Conv", "x d", "a", group=8), n("Conv", "x w", "b", group=2), n("Conv", "x w", "y", group=8),
              qparams={"x": P, "a": Q, "b": Q, "y": Q}, shapes={"w": (8, 4, 1, 1), "d": (8, 1, 1, 1)},
              weights={"w": QuantizedWeight(np.ones((8, 4, 1, 1), np.int8), np.ones(1, np.float32), 0),
                       "d": QuantizedWeight(np.ones((8, 1, 1, 1), np.int8), np.ones(1, np.float32), 0)}),
        ["Conv x d -> a", "Conv x w -> b", "Conv x w -> y"],
    ),
    *[
        (
            f"a last {kind} is left to the runner",
            drop_softmax,
            graph(n("Gemm", "x w", "l"), n(kind, "l", "p", axis=axis), *more, output=output,
                  constants={"w": np.float32(0)}, shapes={"l": (1, 8), "p": (1, 8)}),
            ["Gemm x w -> l"],
        )
        for kind, axis, more, output in [
            ("Softmax", -1, (), "p"), ("LogSoftmax", 1, (), "p"),
            ("Softmax", 1, (q("p", "q"), dq("q", "i"), n("Identity", "i", "y")), "y"),
        ]
    ],
    *[
        (
            f"a Softmax {where} stays",
            drop_softmax,
            graph(n("Gemm", "x w", "l"), n("Softmax", "l", "p", axis=axis), *more, output=output,
                  constants={"w": np.float32(0)}, shapes={"l": shape, "p": shape}),
            ["Gemm x w -> l", "Softmax l -> p", *behind],
        )
        for where, axis, shape, more, output, behind in [
            ("over images", 0, (1, 8), (), "p", []), ("of a map", 1, MAP, (), "p", []),
            ("before other layers", 1, (1, 8), (n("Relu", "p", "y"),), "y", ["Relu p -> y"]),
            ("that is also multiplied", 1, (1, 8), (n("Mul", "p l", "y"),), "y", ["Mul p l -> y"]),
        ]
    ],
    (
        "padding with 0 becomes the border of convolutions",
        fold_pads,
        graph(n("Pad", "x pads", "p"), n("Conv", "p w", "a"), n("Conv", "p w", "y", pads=(1, 1, 1, 1)),
              constants={"pads": np.int64([0, 0, 0, 0, 0, 0, 1, 1]), "w": np.float32(0)}, qparams={"x": P, "p": P}),
        ["Conv x w -> a", "Conv x w -> y"],
    ),
    (
        "padding with 0 is no border of a max pool whose smallest number is less",
        fold_pads,
        graph(n("Pad", "x pads", "p"), n("MaxPool", "p", "y"), constants={"pads": np.int64([0, 0, 0, 0, 0, 0, 1, 1])},
              qparams={"x": P, "p": P}),
        ["Pad x pads -> p", "MaxPool p -> y"],
    ),
    (
        "padding of channels stays",
        fold_pads,
        graph(n("Pad", "x pads", "p"), n("Conv", "p w", "y"), qparams={"x": P, "p": P},
              constants={"pads": np.int64([0, 1, 0, 0, 0, 0, 1, 1]), "w": np.float32(0)}),
        ["Pad x pads -> p", "Conv p w -> y"],
    ),
    (
        "x * f(x) is one table, also with a Q/DQ pair between",
        fold_lookups,
        graph(n("Sigmoid", "x", "s"), n("Mul", "x s", "y"), qparams={"x": P, "s": Q, "y": Q}),
        ["LookupTable x -> y"],
    ),
    (
        "what is done to the image before its Q is a table of its bytes",
        fold_lookups,
        graph(n("Sub", "input mean", "a"), n("Div", "a six", "y"), n("Requantize", "y", "z"), qparams={"y": P, "z": Q},
              constants={"mean": np.ones((1, 3, 1, 1), np.float32)},
              shapes={name: (1, 3, 4, 4) for name in ("input", "a", "y", "z")}),
        ["InputTable  -> z"],
    ),
    (
        "a function that is averaged in float gets the scale of its range",
        fold_lookups,
        graph(n("Sigmoid", "x", "s"), n("GlobalAveragePool", "s", "y"), qparams={"x": P, "y": Q},
              shapes={"y": (1, 8, 1, 1)}),
        ["LookupTable x -> s", "GlobalAveragePool s -> y"],
    ),
    (
        "a function of another shape is no table",
        fold_lookups,
        graph(n("Relu", "x", "r"), n("Add", "r three", "y"), qparams={"x": P, "y": Q}, shapes={"y": (1, 8, 4, 5)}),
        ["Relu x -> r", "Add r three -> y"],
    ),
    (
        "a view between two scales is a requantization",
        fold_views,
        graph(n("Flatten", "x", "f"), n("Gemm", "f three", "y"), qparams={"x": P, "f": Q},
              shapes={"x": (1, 8, 1, 1), "f": (1, 8)}),
        ["Requantize x -> f", "Gemm f three -> y"],
    ),
    (
        "a view that turns channels into columns stays",
        fold_views,
        graph(n("Reshape", "x sizes", "f"), n("Mul", "g f", "y"), constants={"sizes": np.int64([1, 1, 1, 4])},
              qparams={"x": P, "g": P, "y": P}, shapes={"x": (1, 4, 1, 1), "f": (1, 1, 1, 4), "g": (1, 4, 4, 4)}),
        ["Reshape x sizes -> f", "Mul g f -> y"],
    ),
    (
        "a view of a map of one pixel vanishes",
        fold_views,
        graph(n("Flatten", "x", "flat"), n("Gemm", "flat three", "y"), qparams={"x": P},
              shapes={"x": (1, 8, 1, 1), "flat": (1, 8)}),
        ["Gemm x three -> y"],
    ),
    (
        "a flattened map vanishes into Gemm",
        fold_views,
        graph(n("Flatten", "x", "flat"), n("Gemm", "flat three", "y"), qparams={"x": P}, shapes={"flat": (1, 128)}),
        ["Gemm x three -> y"],
    ),
    (
        "a flattened map that anything else reads stays",
        fold_views,
        graph(n("Flatten", "x", "flat"), n("Relu", "flat", "y"), qparams={"x": P, "y": P},
              shapes={"flat": (1, 128), "y": (1, 128)}),
        ["Flatten x -> flat", "Relu flat -> y"],
    ),
    (
        "a view of a float result gives its maker another output",
        fold_views,
        graph(n("Conv", "x three", "c"), n("Flatten", "c", "y"), qparams={"x": P},
              shapes={"c": (1, 8, 1, 1), "y": (1, 8)}),
        ["Conv x three -> y"],
    ),
    (
        "views in a row all vanish",
        fold_views,
        graph(n("Conv", "x three", "c"), n("Flatten", "c", "flat"), n("Dropout", "flat", "y"), qparams={"x": P},
              shapes={"c": (1, 8, 1, 1), "flat": (1, 8), "y": (1, 8)}),
        ["Conv x three -> y"],
    ),
    (
        "a view of the picture stays",
        fold_views,
        graph(n("Flatten", "input", "flat"), n("Gemm", "flat three", "y"), qparams={"flat": P},
              shapes={"flat": (1, 128)}),
        ["Flatten input -> flat", "Gemm flat three -> y"],
    ),
    (
        "a view that would mix up float readers stays",
        fold_views,
        graph(n("Conv", "x three", "c"), n("Flatten", "c", "y"), n("Add", "c c", "other"), n("Add", "y other", "z"),
              qparams={"x": P, "y": P}, shapes={"c": (1, 8, 1, 1), "y": (1, 8)}),
        ["Conv x three -> c", "Flatten c -> y", "Add c c -> other", "Add y other -> z"],
    ),
    (
        "a slice of everything vanishes",
        fold_views,
        graph(n("Slice", "x", "s", starts=(0,), ends=(8,), axes=(1,)), n("Gemm", "s three", "y"), qparams={"x": P}),
        ["Gemm x three -> y"],
    ),
    (
        "a concatenation of two scales requantizes one input",
        keep_scales,
        graph(n("Concat", "x g", "y", axis=1), qparams={"x": P, "g": Q, "y": P}),
        ["Requantize g -> g, as in y", "Concat x g, as in y -> y"],
    ),
    (
        "Reshape, Transpose, Reshape are a channel shuffle",
        fold_shuffles,
        shuffled(),
        ["ShuffleChannels x -> y"],
    ),
    (
        "a shuffle may have rows and columns as one axis",
        fold_shuffles,
        shuffled(perm=(0, 2, 1, 3), parts=(1, 2, 4, 16), turned=(1, 4, 2, 16)),
        ["ShuffleChannels x -> y"],
    ),
    (
        "rows and channels that change places are no shuffle",
        fold_shuffles,
        shuffled(perm=(0, 2, 3, 1, 4)),
        NO_SHUFFLE,
    ),
    (
        "parts that are not of channels alone are no shuffle",
        fold_shuffles,
        shuffled(parts=(1, 4, 8, 1, 4), turned=(1, 8, 4, 1, 4)),
        NO_SHUFFLE,
    ),
    (
        "a shuffle with another scale inside stays",
        fold_shuffles,
        shuffled(qparams={"x": P, "a": P, "b": Q, "y": P}),
        NO_SHUFFLE,
    ),
    (
        "a shuffle whose parts are read elsewhere stays",
        fold_shuffles,
        shuffled(n("Identity", "a", "z")),
        [*NO_SHUFFLE, "Identity a -> z"],
    ),
    (
        "a shuffle to another scale requantizes what it reads",
        keep_scales,
        graph(n("ShuffleChannels", "x", "y", groups=2), qparams={"x": P, "y": Q}),
        ["Requantize x -> x, as in y", "ShuffleChannels x, as in y -> y"],
    ),
    (
        "a resize to another scale requantizes the smaller map",
        keep_scales,
        graph(n("Resize", "x none scales", "y"), qparams={"x": P, "y": Q},
              constants={"none": np.float32([]), "scales": np.float32([1, 1, 2, 2])}),
        ["Requantize x -> x, as in y", "Resize x, as in y none scales -> y"],
    ),
    (
        "a real result before a max pool is quantized as the pool's",
        keep_scales,
        graph(n("Conv", "x w", "c"), n("Relu", "c", "r"), n("MaxPool", "r", "y"), qparams={"x": P, "y": Q},
              constants={"w": np.float32(0)}),
        ["Conv x w -> c", "Relu c -> r", "MaxPool r -> y"],
    ),
    (
        "a copy of a weight is that weight",
        fold_weights,
        graph(dq("w", "w.dq", "s z0"), n("Identity", "w.dq", "copy"), n("Conv", "input copy", "y"),
              constants={"w": np.ones((2, 8, 1, 1), np.int8), "z0": np.int8(0)}),
        ["Conv input copy -> y"],
    ),
    (
        "int8 scores are dequantized at the end",
        fold_quantization,
        graph(n("Conv", "input three", "r"), q("r", "r.q"), dq("r.q", "y")),
        ["Conv input three -> r", "DequantizeScores r -> y"],
    ),
    (
        "Clip with one limit is a table",
        fold_lookups,
        graph(Node("y", "Clip", ("x", "", "six"), "y"), qparams={"x": P, "y": Q}),
        ["LookupTable x -> y"],
    ),
    (
        "Clip to a computed limit stays",
        fuse_activation,
        graph(n("Conv", "x three", "a"), n("Clip", "a x", "y"), qparams={"x": P, "y": Q}),
        ["Conv x three -> a", "Clip a x -> y"],
    ),
    (
        "hard-swish in four nodes is one table",
        fold_lookups,
        graph(n("Add", "x three", "a"), n("Clip", "a zero six", "b"), n("Mul", "x b", "c"), n("Div", "c six", "y"),
              qparams={"x": P, "y": Q}),
        ["LookupTable x -> y"],
    ),
    (
        "a function that other float nodes need is kept for them",
        fold_lookups,
        graph(n("Relu", "x", "a"), n("Sigmoid", "a", "b"), n("Conv", "a three", "y"), qparams={"x": P, "b": Q}),
        ["Relu x -> a", "Conv a three -> y"],
    ),
    (
        "a function of two tensors is no table",
        fold_lookups,
        graph(n("Mul", "x g", "y"), qparams={"x": P, "g": P, "y": Q}),
        ["Mul x g -> y"],
    ),
    (
        "Relu and Clip become bounds",
        fuse_activation,
        graph(n("Conv", "x three", "a"), n("Relu", "a", "b"), n("Clip", "b zero six", "y"), qparams={"x": P, "y": Q}),
        ["Conv x three -> y"],
    ),
    (
        "an activation of a tensor with two readers stays",
        fuse_activation,
        graph(n("Conv", "x three", "a"), n("Relu", "a", "b"), n("Add", "a b", "y"), qparams={"x": P, "y": Q}),
        ["Conv x three -> a", "Relu a -> b", "Add a b -> y"],
    ),
    (
        "Add becomes part of the convolution, at the place of the add",
        fuse_residual,
        graph(n("Conv", "x three", "a"), n("Conv", "x three", "r"), n("Add", "a r", "y"),
              qparams={"x": P, "r": P, "y": Q}),
        ["Conv x three -> r", "Conv x three r -> y"],
    ),
    (
        "either operand may be the convolution",
        fuse_residual,
        graph(n("Conv", "x three", "a"), n("Add", "x a", "y"), qparams={"x": P, "y": Q}),
        ["Conv x three x -> y"],
    ),
    (
        "an add of two int8 tensors stays",
        fuse_residual,
        graph(n("Conv", "x three", "a"), n("Add", "a x", "y"), qparams={"x": P, "a": P, "y": Q}),
        ["Conv x three -> a", "Add a x -> y"],
    ),
    (
        "a broadcast add stays",
        fuse_residual,
        graph(n("Conv", "x three", "a"), n("Add", "a r", "y"), qparams={"x": P, "r": P, "y": Q},
              shapes={"r": (1, 8, 1, 1)}),
        ["Conv x three -> a", "Add a r -> y"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("apply", "before", "expected"), [row[1:] for row in BEFORE_AND_AFTER], ids=[row[0] for row in BEFORE_AND_AFTER]
)
def test_before_and_after(apply: Callable[[QdqGraph], QdqGraph], before: QdqGraph, expected: list[str]) -> None:
    after = apply(before)
    assert written(after) == expected
    assert written(apply(after)) == expected  # a pass has nothing left to do after itself


def test_weights_keep_scales_and_axis() -> None:
    values = np.arange(-8, 8, dtype=np.int8).reshape(2, 8, 1, 1)
    before = graph(
        n("DequantizeLinear", "w scales", "w.dq", axis=-4), n("Conv", "input w.dq", "y"), constants={"w": values}
    )
    weight = fold_weights(before).weights["w.dq"]
    assert weight.axis == 0 and weight.scales.tolist() == CONSTANTS["scales"].tolist()
    np.testing.assert_array_equal(weight.values, values)


@pytest.mark.parametrize(("attributes", "axes"), [({}, (1, 0)), ({"perm": (0, 1)}, (0, 1))])
def test_a_transposed_weight_takes_its_scales_along(attributes: dict, axes: tuple[int, int]) -> None:
    values = np.arange(16, dtype=np.int8).reshape(2, 8)
    before = graph(n("DequantizeLinear", "w scales", "w.dq", axis=0), n("Transpose", "w.dq", "t", **attributes),
                   n("MatMul", "input t", "y"), constants={"w": values})  # fmt: skip
    after = fold_weights(before)
    assert written(after) == ["MatMul input t -> y"] and after.weights["t"].axis == axes.index(0)
    np.testing.assert_array_equal(after.weights["t"].values, values.transpose(axes))


def test_constants_are_computed_as_onnx_does() -> None:
    bias = np.int32([2**31 - 1, -7])
    before = graph(
        n("DequantizeLinear", "b scales", "bias", axis=0),
        n("QuantizeLinear", "float scales zeros", "int8", axis=0),
        n("Conv", "input int8 bias", "y"),
        constants={"b": bias, "float": np.float32([[0.25, 99.0], [0.5, -99.0]]), "zeros": np.int8([0, 0])},
    )
    constants = fold_constants(before).constants
    assert constants["bias"].tolist() == [float(np.float32(0.1)) * (2**31 - 1), float(np.float32(0.2)) * -7]
    assert constants["int8"].tolist() == [[2, 127], [2, -128]]  # 0.25 / 0.1 and 0.5 / 0.2 are ties


def test_quantization_parameters_move_to_the_tensors() -> None:
    after = fold_quantization(graph(n("Conv", "input three", "y"), q("y", "y.q", "s2 z2"), dq("y.q", "o", "s2 z2"),
                                    n("Gemm", "o three", "logits")))  # fmt: skip
    assert dict(after.qparams) == {"y": Q}


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "function"),
    [
        ("Relu", "x", {}, lambda x: np.maximum(x, 0)),
        ("Clip", "x zero six", {}, lambda x: np.clip(x, 0, 6)),
        ("HardSigmoid", "x", {"alpha": 1 / 6}, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
        ("HardSigmoid", "x", {}, lambda x: np.clip(x * 0.2 + 0.5, 0, 1)),
        ("HardSwish", "x", {}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
        ("Sigmoid", "x", {}, lambda x: 1 / (1 + np.exp(-x))),
        ("Tanh", "x", {}, np.tanh),
        ("LeakyRelu", "x", {"alpha": 0.1}, lambda x: np.where(x < 0, 0.1 * x, x)),
        ("PRelu", "x six", {}, lambda x: np.where(x < 0, 6 * x, x)),
        ("Neg", "x", {}, np.negative),
        ("Abs", "x", {}, np.abs),
        ("Add", "three x", {}, lambda x: x + 3),
        ("Sub", "three x", {}, lambda x: 3 - x),
        ("Mul", "x x", {}, lambda x: x * x),
        ("Div", "x six", {}, lambda x: x / 6),
        (REQUANTIZE, "x", {}, lambda x: x),
    ],
)
def test_tables(operator: str, inputs: str, attributes: dict, function: Callable) -> None:
    after = fold_lookups(graph(n(operator, inputs, "y", **attributes), qparams={"x": P, "y": Q}))
    assert written(after) == ["LookupTable x -> y"]
    real = function((np.arange(-128, 128) - P.zero_point) * P.scale)
    exact = real / Q.scale + Q.zero_point
    # Half a step from rounding, and the rounding errors of float32 at a tie.
    assert np.abs(after.tables["y"] - np.clip(exact, -128, 127)).max() <= 0.5 + 1e-4


def test_a_function_that_is_not_finite_is_no_table() -> None:
    after = fold_lookups(graph(n("Div", "three x", "y"), qparams={"x": P, "y": Q}))
    assert written(after) == ["Div three x -> y"]


@pytest.mark.parametrize(
    ("activations", "bounds"),
    [
        (["Relu"], (0, math.inf)),
        (["Clip zero six"], (0, 6)),
        (["Clip zero"], (0, math.inf)),
        (["Relu", "Clip three six"], (3, 6)),
        (["Clip three six", "Clip zero three"], (3, 3)),
        (["Clip zero three", "Clip six"], (6, 6)),
    ],
)
def test_bounds(activations: list[str], bounds: tuple[float, float]) -> None:
    nodes = [n("Conv", "x three", "t0")]
    for index, text in enumerate(activations):
        operator, *limits = text.split()
        nodes.append(n(operator, " ".join([f"t{index}", *limits]), f"t{index + 1}"))
    after = fuse_activation(graph(*nodes, qparams={"x": P, nodes[-1].output: Q}))
    assert len(after.nodes) == 1 and after.nodes[0].bounds == bounds


def test_activation_before_the_add_is_not_moved_behind_it() -> None:
    before = graph(n("Conv", "x three", "a"), n("Relu", "a", "b"), n("Add", "b x", "y"), qparams={"x": P, "y": Q})
    assert written(fuse_residual(fuse_activation(before))) == ["Conv x three -> b", "Add b x -> y"]


def test_activation_after_the_add_is_the_bound_of_the_sum() -> None:
    before = graph(n("Conv", "x three", "a"), n("Add", "a x", "b"), n("Relu", "b", "y"), qparams={"x": P, "y": Q})
    (node,) = fuse_residual(fuse_activation(before)).nodes
    assert (node.residual, node.bounds, node.output) == ("x", (0, math.inf), "y")


def test_a_real_result_takes_the_scale_of_the_pools_behind_it() -> None:
    before = graph(n("Relu", "x", "r"), n("MaxPool", "r", "m"), n("Slice", "m", "y"), qparams={"y": Q})
    assert dict(keep_scales(before).qparams) == {"r": Q, "m": Q, "y": Q}
    shared = graph(n("Relu", "x", "r"), n("MaxPool", "r", "y"), n("Add", "r r", "z"), qparams={"y": Q})
    assert dict(keep_scales(shared).qparams) == {"y": Q}


def test_pads_are_added_to_those_of_the_layer() -> None:
    pads = {"pads": np.int64([1, 2, 3, 4]), "axes": np.int64([2, -1]), "w": np.float32(0)}
    before = graph(Node("p", "Pad", ("x", "pads", "", "axes"), "p"), n("Conv", "p w", "y", pads=(1, 1, 0, 0)),
                   constants=pads, qparams={"x": P, "p": P})  # fmt: skip
    (node,) = fold_pads(before).nodes
    assert node.attributes["pads"] == (2, 3, 3, 4)


def test_a_function_that_is_averaged_keeps_its_range() -> None:
    after = fold_lookups(graph(n("Sigmoid", "x", "s"), n("GlobalAveragePool", "s", "y"), qparams={"x": P, "y": Q},
                               shapes={"y": (1, 8, 1, 1)}))  # fmt: skip
    real = dequantize(after.tables["s"], after.qparams["s"])
    x = (np.arange(-128, 128) - P.zero_point) * P.scale
    assert np.abs(real - 1 / (1 + np.exp(-x))).max() <= after.qparams["s"].scale * 0.5001 < 1 / 500


BROKEN: list[tuple[str, QdqGraph, str]] = [
    ("reads the future", graph(n("Relu", "b", "a"), n("Relu", "input", "b")), "before anything writes"),
    ("writes twice", graph(n("Relu", "input", "a"), n("Abs", "input", "a")), "exists twice"),
    ("no output", graph(n("Relu", "input", "a"), output="b"), "nothing writes the output"),
    ("unknown shape", replace(graph(n("Relu", "input", "a")), shapes={"input": MAP}), "shape of 'a' is unknown"),
    ("no table", graph(n(LOOKUP_TABLE, "input", "a")), "has no table"),
    ("float residual", graph(Node("c", "Conv", ("input", "three"), "y", residual="input")), "is not int8"),
]


@pytest.mark.parametrize(("broken", "words"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_verifier(broken: QdqGraph, words: str) -> None:
    with pytest.raises(BrokenGraphError, match=words):
        verify(broken, "a test")


def test_pipeline_leaves_no_float_tensor(tmp_path: Path) -> None:
    graph = simplify(read_qdq(save(mini_net(), tmp_path)))
    assert {node.output for node in graph.nodes} - {"logits"} == set(graph.qparams)
    assert graph.nodes[0].operator == INPUT_TABLE


@pytest.mark.parametrize("int16", [True, False])
def test_mini_net_becomes_the_expected_program(tmp_path: Path, int16: bool) -> None:
    program = lower(read_qdq(save(mini_net(int16=int16), tmp_path)))
    kinds = [(type(op).__name__, type(getattr(op, "epilogue", None)).__name__) for op in program.operators]
    plain, residual = ("RequantizeQ15", "RequantizeQ15Add") if int16 else ("Requantize", "RequantizeAdd")
    assert kinds == [
        ("InputTable", "NoneType"), ("Conv2d", "Requantize"), ("Conv2d", "Requantize"), ("DepthwiseConv2d", plain),
        ("GlobalAveragePool", "Requantize"), ("Conv2d", "Requantize"), ("Conv2d", "Requantize"),
        ("Lookup", "NoneType"), ("Multiply", "Requantize"), ("Conv2d", "Requantize"), ("DepthwiseConv2d", residual),
        ("DepthwiseConv2d", plain), ("Conv2d", "Requantize"), ("GlobalAveragePool", "Requantize"),
        ("Conv2d", "Requantize"), ("Conv2d", "ToLogits"),
    ]  # fmt: skip
    assert (program.height, program.width, program.classes) == (16, 16, 7)


@pytest.mark.parametrize("scores_are_int8", [False, True])
def test_scores_make_the_probabilities_of_the_file(tmp_path: Path, scores_are_int8: bool) -> None:
    net = Net(3)
    net.dense()
    pooled = net.finish(net.node("GlobalAveragePool", [net.x], net.name()))
    y = net.linear("scores", net.node("Flatten", [pooled], net.name()), net.channels, 4)
    y = net.node("Softmax", [net.quantize(y, 0.02, 3) if scores_are_int8 else y], "probabilities", axis=1)
    if scores_are_int8:
        y = net.node("Identity", [net.quantize(y, 1 / 256, -128)], "last")
    model = net.build(y, 4, [1, 3, SIZE, SIZE])
    images = random_images(2, SIZE, SIZE)
    scores = run(lower(read_qdq(save(model, tmp_path))), images)
    evaluate = onnx_runtime(model)
    expected = np.concatenate([evaluate({"input": preprocess(SIZE).normalize(images[[i]])})[0] for i in range(2)])
    np.testing.assert_allclose(np.exp(scores) / np.exp(scores).sum(1, keepdims=True), expected, atol=0.01)


def test_layouts(tmp_path: Path) -> None:
    path = save(mini_net(), tmp_path)
    constants, program = read_qdq(path).constants, lower(read_qdq(path))
    by_name = {operator.output.name: operator for operator in program.operators}
    stem, depthwise, linear = by_name["stem.relu"], by_name["depthwise.relu"], by_name["logits"]
    assert isinstance(stem, ir.Conv2d) and isinstance(depthwise, ir.DepthwiseConv2d) and isinstance(linear, ir.Conv2d)
    np.testing.assert_array_equal(stem.weight, constants["stem.weight"].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(depthwise.weight, constants["depthwise.weight"][:, 0])
    np.testing.assert_array_equal(linear.weight, constants["logits.weight"][:, None, None, :])
    assert all(op.weight.flags.c_contiguous for op in (stem, depthwise, linear))
    assert (stem.strides, stem.pads) == ((2, 2), (1, 1))
    assert stem.epilogue.low == -128  # Relu: the zero point


def test_plan_names_a_quantize_that_is_left() -> None:
    before = fold_quantization(
        graph(n("Conv", "input three", "r"), q("r", "r.q"), n("Relu", "r.q", "raw"), dq("raw", "y"))
    )
    reasons = [step.result.reason for step in plan(before) if isinstance(step.result, Refusal)]
    assert any("without a DequantizeLinear" in reason for reason in reasons)
