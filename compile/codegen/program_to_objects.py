"""From a program to object files: memory plan, schedules, one step function per instruction set, TVM."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import tvm_ffi

from compile.codegen.kernel_compiler import KernelCompiler, KernelSource
from compile.codegen.object_archive import pack_archive
from compile.intrin import InstructionSet
from compile.intrin.table import find_instruction_set
from compile.ir import tir
from compile.ir.compiled_network import BLOB_ALIGNMENT, CompiledNetwork, CompiledVariant
from compile.ir.float_program import FloatProgram
from compile.ir.memory_plan import AnyProgram, MemoryPlan, plan_memory
from compile.ir.tir import Kernel
from compile.schedules import Context, Scheduled, schedule, schedule_halo
from compile.targets.table import Target, Variant
from compile.targets.tuning import Tuning

_64_BITS = (1 << 64) - 1


@dataclass(frozen=True)
class Step:
    """One operator as it runs: its kernel, and before it the kernel that fills the border of its output."""

    kernel: Scheduled
    halo: Scheduled | None
    constants: int  # byte offset in the weights


@dataclass(frozen=True)
class ScheduledNetwork:
    """All steps of one instruction set and the weights they read, besides which there may be others."""

    steps: tuple[Step, ...]
    weights: bytes


def compile_program(program: AnyProgram, target: Target, compiler: KernelCompiler | None = None) -> CompiledNetwork:
    """Compile a program for every instruction set of a target.

    Args:
        program: the integer or float program of one network.
        target: a row of `compile.targets.table`.
        compiler: compiles its kernels; one of its own if it is not given.

    Returns:
        object files, weights and the steps the runner executes.
    """
    if compiler is None:
        with KernelCompiler() as own:
            return compile_program(program, target, own)
    plan = plan_memory(program)
    stores: defaultdict[str, WeightStore] = defaultdict(WeightStore)  # of each file
    networks: list[ScheduledNetwork] = []
    submitted: list[tuple[Variant, dict[str, Future[bytes]]]] = []
    # Variants of one `mcpu` have the same registers: a kernel they have in common runs as fast built for the plainer.
    # Where floats have an instruction of their own, they are built for it.
    element = element_of(program)
    symbols: defaultdict[tuple[str, ...], KernelSymbols] = defaultdict(KernelSymbols)
    for variant in target.variants_for(element):
        file = target.form.model_of(variant.name)
        network = schedule_network(program, plan, find_instruction_set(variant.name), stores[file])
        networks.append(network)
        known = symbols[(variant.mcpu,) if element == "int8" else (variant.mcpu, file)]
        submitted.append((variant, submit_kernels(network, target, variant, known, compiler)))
    weights = {file: bytes(store.content) for file, store in stores.items()}
    variants = tuple(
        CompiledVariant(
            name=variant.name,
            object_bytes=pack_archive({name: future.result() for name, future in objects.items()}),
            step_symbol=step_symbol(variant),
            weights=_blob_name(weights[target.form.model_of(variant.name)]),
            kernels=tuple(step.kernel.name for step in network.steps),
        )
        for network, (variant, objects) in zip(networks, submitted, strict=True)
    )
    return CompiledNetwork(
        variants=variants,
        blobs={_blob_name(content): content for content in weights.values()},
        units=tuple(step.kernel.units for step in networks[-1].steps),
        workspace_bytes=plan.workspace_bytes,
        kernels=tuple(step.kernel.name for step in networks[-1].steps),
    )


def element_of(program: AnyProgram) -> str:
    """Return what a program keeps its activations as."""
    return program.element if isinstance(program, FloatProgram) else "int8"


def _blob_name(weights: bytes) -> str:
    """Return a name by content."""
    return f"weights_{hashlib.sha256(weights).hexdigest()[:16]}"


class WeightStore:
    """The constants of kernels one after the other, equal ones once: instruction sets differ in few of them."""

    def __init__(self) -> None:
        self.content = bytearray()
        self._places: dict[bytes, int] = {}

    def place(self, constants: bytes) -> int:
        """Return the byte offset of constants; new ones are appended."""
        if constants not in self._places:
            self._places[constants] = len(self.content)
            self.content += constants + bytes(-len(constants) % BLOB_ALIGNMENT)
        return self._places[constants]


def schedule_network(
    program: AnyProgram, plan: MemoryPlan, isa: InstructionSet, store: WeightStore | None = None
) -> ScheduledNetwork:
    """Choose a kernel for every operator and place their constants in the store, or in one of their own."""
    context = Context(isa, plan)
    store = WeightStore() if store is None else store
    steps: list[Step] = []
    for operator in program.operators:
        kernel = schedule(operator, context)
        is_result = operator.output.name in program.results
        halo = None if is_result else schedule_halo(operator.output, context)
        steps.append(Step(kernel, halo, store.place(kernel.constants)))
    return ScheduledNetwork(tuple(steps), bytes(store.content))


class KernelSymbols:
    """The kernels of a program, each different one with a symbol of its own.

    A kernel that comes out the same for another layer, or for the next instruction set, is not compiled again. The
    plainest instruction set that has it comes first, so what is compiled for it runs on all.
    """

    def __init__(self) -> None:
        self._known: dict[int, list[tuple[Any, Tuning, str]]] = {}
        self._futures: dict[str, Future[bytes]] = {}
        self.sources: dict[str, KernelSource] = {}

    def symbol_of(self, scheduled: Scheduled, described: dict[str, Any]) -> str:
        """Return the symbol of a kernel: its name and a number made of what it does, equal in every process."""
        number = tvm_ffi.structural_hash(scheduled.function) & _64_BITS
        known = self._known.setdefault(number, [])
        for function, tuning, symbol in known:
            if tuning == scheduled.tuning and tvm_ffi.structural_equal(function, scheduled.function):
                return symbol
        symbol = f"{scheduled.name}_{number:016x}" + f"_{len(known)}" * bool(known)
        known.append((scheduled.function, scheduled.tuning, symbol))
        self.sources[symbol] = KernelSource(((symbol, scheduled.function),), scheduled.tuning.describe(described))
        return symbol

    def submit(self, symbol: str, compiler: KernelCompiler) -> Future[bytes]:
        """Return the object of a kernel by its symbol; the first time, its compilation is started."""
        if symbol not in self._futures:
            self._futures[symbol] = compiler.submit(self.sources[symbol])
        return self._futures[symbol]


def submit_kernels(
    network: ScheduledNetwork, target: Target, variant: Variant, known: KernelSymbols, compiler: KernelCompiler
) -> dict[str, Future[bytes]]:
    """Start to compile the kernels of a variant and its step function; returns objects by name in the archive."""
    described = target.tvm_target(variant)
    symbols = call_symbols(network, known, described)
    objects = {}
    for symbol in dict.fromkeys(symbol for calls in symbols for symbol in calls):
        objects[_member(symbol)] = known.submit(symbol, compiler)
    step = KernelSource(((step_symbol(variant), step_function(network, symbols)),), described)
    objects[_member(step_symbol(variant))] = compiler.submit(step)
    return objects


def step_symbol(variant: Variant) -> str:
    """Return the name of the function that runs the steps of a variant."""
    return f"rg_step_{variant.name}"


def _member(symbol: str) -> str:
    return f"{hashlib.sha256(symbol.encode()).hexdigest()[:12]}.o"


def call_symbols(network: ScheduledNetwork, known: KernelSymbols, described: dict[str, Any]) -> list[list[str]]:
    """Return for each step the symbols it calls: of the kernel that fills the border, if there is one, and its own."""
    return [[known.symbol_of(kernel, described) for kernel in _called(step)] for step in network.steps]


def _called(step: Step) -> list[Scheduled]:
    return [kernel for kernel in (step.halo, step.kernel) if kernel is not None]


def step_function(network: ScheduledNetwork, symbols: list[list[str]]) -> Any:
    """Return the function that runs some units of one step, see `compile.ir.compiled_network.CompiledVariant`.

    Args:
        symbols: from `call_symbols`.
    """
    kernel = Kernel("step")
    step, begin, end = kernel.scalar("step"), kernel.scalar("begin"), kernel.scalar("end")
    rgb, logits = kernel.pointer("rgb", "uint8"), kernel.pointer("logits", "float32")
    workspace, weights = kernel.pointer("workspace", "int8"), kernel.pointer("weights", "int8")
    pointers = [p.data for p in (rgb, logits, workspace, weights)]
    for index, (entry, called) in enumerate(zip(network.steps, symbols, strict=True)):
        with kernel.when(tir.equal(step, index)):
            for symbol, scheduled in zip(called, _called(entry), strict=True):
                numbers = [tir.const(number, "int32") for number in (*scheduled.offsets, *scheduled.scalars)]
                arguments = [*pointers, *numbers, tir.const(entry.constants, "int32"), begin, end]
                if scheduled is entry.halo:  # by whoever runs the first unit
                    with kernel.when(tir.equal(begin, 0)):
                        kernel.call(symbol, *arguments)
                else:
                    kernel.call(symbol, *arguments)
    return kernel.finish(returns=tir.const(0, "int32"))
