"""From a program to object files: memory plan, schedules, one step function per instruction set, TVM."""

from __future__ import annotations

import hashlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm_ffi
from tvm import ir

from compile import tir
from compile.float_program import FloatProgram
from compile.intrin import InstructionSet
from compile.intrin.table import find_instruction_set
from compile.layout import AnyProgram, MemoryPlan, plan_memory
from compile.network import BLOB_ALIGNMENT, CompiledNetwork, CompiledVariant
from compile.schedules import Context, Scheduled, schedule, schedule_halo
from compile.targets import Target, Variant
from compile.tir import Kernel


@dataclass(frozen=True)
class Step:
    """One operator as it runs: its kernel, and before it the kernel that fills the border of its output."""

    kernel: Scheduled
    halo: Scheduled | None
    constants: int  # byte offset in the weights


@dataclass(frozen=True)
class ScheduledNetwork:
    """All steps of one instruction set and the weights they read."""

    steps: tuple[Step, ...]
    weights: bytes


def compile_program(program: AnyProgram, target: Target) -> CompiledNetwork:
    """Compile a program for every instruction set of a target.

    Args:
        program: the integer or float program of one network.
        target: a row of `compile.targets`.

    Returns:
        object files, weights and the steps the runner executes.
    """
    plan = plan_memory(program)
    chosen = target.variants_for(element_of(program))
    networks = [schedule_network(program, plan, find_instruction_set(variant.name)) for variant in chosen]

    def build(index: int) -> CompiledVariant:
        variant, network = chosen[index], networks[index]
        symbol = f"rg_step_{variant.name}"
        code = build_variant(network, symbol, target, variant)
        names = tuple(step.kernel.name for step in network.steps)
        return CompiledVariant(variant.name, code, symbol, _blob_name(network.weights), names)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # LLVM works without Python's lock
        variants = tuple(pool.map(build, range(len(chosen))))
    return CompiledNetwork(
        variants=variants,
        blobs={_blob_name(network.weights): network.weights for network in networks},
        units=tuple(step.kernel.units for step in networks[-1].steps),
        workspace_bytes=plan.workspace_bytes,
        kernels=tuple(step.kernel.name for step in networks[-1].steps),
    )


def element_of(program: AnyProgram) -> str:
    """Return what a program keeps its activations as."""
    return program.element if isinstance(program, FloatProgram) else "int8"


def _blob_name(weights: bytes) -> str:
    """Return a name by content: variants that read the same layout share one copy."""
    return f"weights_{hashlib.sha256(weights).hexdigest()[:16]}"


def schedule_network(program: AnyProgram, plan: MemoryPlan, isa: InstructionSet) -> ScheduledNetwork:
    """Choose a kernel for every operator and lay out their constants one after the other."""
    context = Context(isa, plan)
    steps: list[Step] = []
    weights = bytearray()
    for operator in program.operators:
        kernel = schedule(operator, context)
        is_logits = operator is program.operators[-1]
        halo = None if is_logits else schedule_halo(operator.output, context)
        steps.append(Step(kernel, halo, len(weights)))
        weights += kernel.constants
        weights += bytes(-len(weights) % BLOB_ALIGNMENT)
    return ScheduledNetwork(tuple(steps), bytes(weights))


def build_variant(network: ScheduledNetwork, symbol: str, target: Target, variant: Variant) -> bytes:
    """Return the object file of one instruction set; kernels of the same shape are compiled once."""
    module = build_module(network, symbol, target, variant)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.o"
        module.write_to_file(str(path), "o")
        return path.read_bytes()


def build_module(network: ScheduledNetwork, symbol: str, target: Target, variant: Variant) -> Any:
    """Compile the kernels and the step function that calls them, see `compile.network.CompiledVariant`."""
    functions: dict[Any, Any] = {}
    known: list[tuple[Any, Any]] = []

    def function_of(scheduled: Scheduled) -> Any:
        for variable, function in known:
            if tvm_ffi.structural_equal(function, scheduled.function):
                return variable
        variable = ir.GlobalVar(f"{scheduled.name}_{len(known)}")
        functions[variable] = scheduled.function
        known.append((variable, scheduled.function))
        return variable

    calls = [
        [(function_of(kernel), kernel) for kernel in (step.halo, step.kernel) if kernel is not None]
        for step in network.steps
    ]
    functions[ir.GlobalVar(symbol)] = _step_function(network, calls)
    return tir.build_object(functions, target.tvm_target(variant))


def _step_function(network: ScheduledNetwork, calls: list[list[tuple[Any, Scheduled]]]) -> Any:
    kernel = Kernel("step")
    step, begin, end = kernel.scalar("step"), kernel.scalar("begin"), kernel.scalar("end")
    rgb, logits = kernel.pointer("rgb", "uint8"), kernel.pointer("logits", "float32")
    workspace, weights = kernel.pointer("workspace", "int8"), kernel.pointer("weights", "int8")
    pointers = [p.data for p in (rgb, logits, workspace, weights)]
    for index, (entry, targets) in enumerate(zip(network.steps, calls, strict=True)):
        with kernel.when(tir.equal(step, index)):
            for variable, scheduled in targets:
                numbers = [tir.const(number, "int32") for number in (*scheduled.offsets, *scheduled.scalars)]
                arguments = [*pointers, *numbers, tir.const(entry.constants, "int32"), begin, end]
                if scheduled is entry.halo:  # by whoever runs the first unit
                    with kernel.when(tir.equal(begin, 0)):
                        kernel.call(variable, *arguments)
                else:
                    kernel.call(variable, *arguments)
    return kernel.finish(returns=tir.const(0, "int32"))
