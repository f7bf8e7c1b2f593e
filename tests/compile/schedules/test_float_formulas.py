"""Formulas in kernels: every step has a form, none is computed number by number, none calls a library."""

from __future__ import annotations

import re

import pytest

from compile.codegen.program_to_objects import ScheduledNetwork, Step
from compile.intrin.table import find_instruction_set
from compile.ir.float_program import FloatFunction, FloatTensor
from compile.ir.memory_plan import MemoryPlan, TensorPlace
from compile.schedules import Context, schedule
from compile.schedules.float.formulas import STEPS
from compile.targets.table import ARM64, X86_64, Target
from repghost.graph.formulas import FORMULAS
from repghost.graph.functions import STEPS as GRAPH_STEPS
from tests.support.kernel_harness import whole_source


def test_every_step_of_a_graph_has_a_form() -> None:
    assert STEPS.keys() == GRAPH_STEPS.keys()


# A scalar instruction of floats, and a call; addresses and loops are integers.
SCALAR = {
    "neon": r"\t(?:fadd|fsub|fmul|fdiv|fmadd|fmax|fmin|fcvt\w*|frint\w*)\t[shd]\d|\tbl\t",
    "half": r"\t(?:fadd|fsub|fmul|fdiv|fmadd|fmax|fmin|frint\w*)\t[shd]\d|\tbl\t",
    "avx2": r"\tv(?:add|sub|mul|div|max|min|fm\w+|round|cvt\w+)ss\t|\tcall",
    "vnni": r"\tv(?:add|sub|mul|div|max|min|fm\w+|rndscale|cvt\w+)ss\t|\tcall",
}
VECTOR = {"neon": r"\tfmul\tv\d+\.4s", "half": r"\tfmul\tv\d+\.4s", "avx2": r"ymm", "vnni": r"zmm"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SiLU", "GELU", "Mish", "HardSwish"])
@pytest.mark.parametrize(("target", "variant"), [(ARM64, "neon"), (ARM64, "half"), (X86_64, "avx2"), (X86_64, "vnni")])
def test_a_formula_is_computed_in_whole_vectors(target: Target, variant: str, name: str) -> None:
    element = "float16" if variant == "half" else "float32"
    x, y = (FloatTensor(which, 7, 8, 32, element) for which in "xy")
    plan = MemoryPlan({"x": TensorPlace(x, 0, 0), "y": TensorPlace(y, 1 << 16, 0)}, 1 << 17)
    kernel = schedule(FloatFunction("y", x, y, FORMULAS[name]), Context(find_instruction_set(variant), plan))
    network = ScheduledNetwork((Step(kernel, None, 0),), b"")
    source = whole_source(network, "rg_step_test", target, target.variant(variant)).module().inspect_source("asm")
    body = source[source.index(f"{kernel.name}_") :].split("rg_step_test:")[0]
    assert re.search(VECTOR[variant], body)
    assert not re.findall(SCALAR[variant], body)
