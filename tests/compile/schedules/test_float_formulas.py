"""What float kernels are made of: every step of a formula has a form, nothing is computed number by number."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

from compile.codegen.program_to_objects import ScheduledNetwork, Step
from compile.intrin.table import find_instruction_set
from compile.ir.float_from_graph import resized
from compile.ir.float_program import (
    FloatAveragePool,
    FloatChannelSlopes,
    FloatConcat,
    FloatConv2d,
    FloatCrop,
    FloatFunction,
    FloatMaxPool,
    FloatMultiply,
    FloatOperator,
    FloatPad,
    FloatScores,
    FloatShuffleChannels,
    FloatSubtract,
    FloatTensor,
)
from compile.ir.memory_plan import plan_memory
from compile.schedules import Context, schedule
from compile.schedules.float.formulas import STEPS
from compile.targets.table import ARM64, X86_64, Target
from repghost.graph.formulas import FORMULAS
from repghost.graph.functions import STEPS as GRAPH_STEPS
from repghost.graph.operators import Resize
from tests.support.float_harness import FloatCase
from tests.support.float_harness import _program as program_of
from tests.support.kernel_harness import whole_source

# Arithmetic of one float at a time, and calls but that of memset, which model.so has; addresses are integers.
ARITHMETIC = r"add|sub|mul|div|max\w*|min\w*|n?madd|n?msub"
SCALAR = {
    "neon": rf"\tf(?:{ARITHMETIC}|rint\w*|cvt\w*)\t[shd]\d.*|\tbl\t(?!memset).*",
    "half": rf"\tf(?:{ARITHMETIC}|rint\w*|cvt\w*)\t[shd]\d.*|\tbl\t(?!memset).*",
    "avx2": r"\tv(?:add|sub|mul|div|max|min|fm\w+|fnm\w+|round|cvt\w+)ss\t.*|\tcallq?\t(?!memset).*",
    "vnni": r"\tv(?:add|sub|mul|div|max|min|fm\w+|fnm\w+|rndscale|cvt\w+)ss\t.*|\tcallq?\t(?!memset).*",
}
VECTORS = {"neon": r"\bq\d|\.4s", "half": r"\bq\d|\.8h", "avx2": r"ymm", "vnni": r"zmm"}
SHARES = {"mean": 4, "resize": 1 + 5}  # of rows and of columns, computed once for each, of which LLVM unrolls a few
SETS = [(ARM64, "neon"), (ARM64, "half"), (X86_64, "avx2"), (X86_64, "vnni")]


def operators(element: str) -> dict[str, FloatOperator]:
    """Return operators of maps of 32 channels, which every vector divides, by what they are called in a test."""
    x, r, y = (FloatTensor(name, 7, 8, 32, element) for name in "xry")
    ones, clamp = np.ones((32, 3, 3, 8), np.float32), (0.0, 6.0)
    small = FloatTensor("y", 3, 4, 32, element)
    shares = np.ones(3, np.float32), np.ones(4, np.float32)
    return {
        **{name: FloatFunction("y", x, y, FORMULAS[name]) for name in ("SiLU", "GELU", "Mish", "HardSwish")},
        "groups": FloatConv2d("y", x, y, ones, ones[:, 0, 0, 0], (1, 1), (1, 1), clamp, residual=r, groups=4),
        "slopes": FloatChannelSlopes("y", x, y, ones[:, 0, 0, 0]),
        "difference": FloatSubtract("y", x, r, y, clamp),
        "gate of channels": FloatMultiply("y", x, FloatTensor("r", 1, 1, 32, element), y, clamp),
        "gate of pixels": FloatMultiply("y", x, FloatTensor("r", 7, 8, 1, element), y, clamp),
        "mean": FloatAveragePool("y", x, small, (3, 3), (2, 2), (0, 0), *shares),
        "maximum": FloatMaxPool("y", x, small, (3, 3), (2, 2), (0, 0)),
        "concat": FloatConcat("y", (x, FloatTensor("r", 7, 8, 19, element)), FloatTensor("y", 7, 8, 51, element)),
        "crop": FloatCrop("y", FloatTensor("x", 8, 8, 65, element), y, 1, 0, 1, (1, 1, 2)),
        "shuffle": FloatShuffleChannels("y", x, y, 2),
        "pad": FloatPad("y", x, FloatTensor("y", 9, 9, 32, element), 1, 1),
        "resize": resized(Resize("y", "x", (9, 5), "linear", "half_pixel"), x, FloatTensor("y", 9, 5, 32, element)),
        "scores": FloatScores("y", FloatTensor("x", 1, 1, 32, element), FloatTensor("y", 1, 1, 32, element)),
    }


@cache
def kernels(target: Target, variant: str) -> dict[str, str]:
    """Return the assembly of each operator's kernel."""
    found = {}
    for what, operator in operators("float16" if variant == "half" else "float32").items():
        plan = plan_memory(program_of(FloatCase(what, operator)))
        kernel = schedule(operator, Context(find_instruction_set(variant), plan))
        network = ScheduledNetwork((Step(kernel, None, 0),), b"")
        module = whole_source(network, "rg_step_test", target, target.variant(variant)).module()
        code = module.inspect_source("asm")
        begin = code.index("\n", re.search(rf"^{kernel.name}_\w+:", code, re.MULTILINE).end())  # type: ignore[union-attr]
        found[what] = code[begin : code.index("\t.size", begin)]
    return found


def test_every_step_of_a_graph_has_a_form() -> None:
    assert STEPS.keys() == GRAPH_STEPS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("what", operators("float32"))
@pytest.mark.parametrize(("target", "variant"), SETS, ids=[variant for _, variant in SETS])
def test_whole_vectors_are_computed_without_a_library(target: Target, variant: str, what: str) -> None:
    code = kernels(target, variant)[what]
    assert re.search(VECTORS[variant], code)
    assert len(re.findall(SCALAR[variant], code)) <= SHARES.get(what, 0)
