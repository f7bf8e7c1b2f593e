"""Runs single operators as compiled kernels: all cases of a table in one program and one process.

A case's inputs and their borders lie in a workspace full of noise, so a kernel that reads what nobody wrote gives wrong
answers. After the run every byte is compared: the answer, its border, and all that must not have been touched.
"""

from __future__ import annotations

import io
import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.integer.program import DepthwiseConv2d, Dequantize, InputTable, Operator, Program
from calib.integer.qparams import QParams
from calib.integer.reference import execute
from calib.integer.values import Requantize, Tensor, ToLogits
from compile.codegen.kernel_compiler import KernelSource, object_of
from compile.codegen.program_to_objects import KernelSymbols, ScheduledNetwork, Step, call_symbols, step_function
from compile.intrin.table import find_instruction_set
from compile.ir.compiled_network import BLOB_ALIGNMENT
from compile.ir.memory_plan import AnyOperator, MemoryPlan, TensorPlace, plan_memory
from compile.link.toolchain import REPRODUCIBLE, RUNNER_SOURCES
from compile.link.wasm import STACK_BYTES, features_of
from compile.link.zig import run_zig
from compile.machine.execute import Machine, machine_for
from compile.schedules import Context, schedule, schedule_halo
from compile.storage.kernel_store import KernelStore, user_store
from compile.targets.forms import MACHO, WASM
from compile.targets.table import TARGETS, Target, Variant
from repghost.errors import ToolMissingError

# Every row with code of its own; those of macOS, and of a row that a board answers for by another one, are arm64's.
KERNEL_TARGETS = tuple(
    target for target in TARGETS.values() if target.variants and not target.board_target and target.form is not MACHO
)
# Which cases are run: the schedules of these are those of other sets, so the first of so many shows what is their own.
EVERY = {"neonv7": 7, "rvv": 15, "simd128": 7, "relaxed": 2}
REPLAY = Path(__file__).with_name("kernel_replay.c")
WASI = Path(__file__).with_name("wasi.mjs")
SYMBOL = "rg_step"
UNSUPPORTED = 4  # the exit code for a core without the instruction set
STATUS = {1: "reads or writes outside its memory", 2: "writes before its memory", 3: "does not return 0"}
ORDERS = ("forwards", "backwards, unit by unit")
TIME_LIMIT = 300  # seconds
TOGETHER = 32  # kernels in one object
KEPT_BYTES = 1 << 30  # of all objects; those of a run take a fifth
EVERY_BYTE = {1: 1, 2: 0x0101}  # of an element, as booleans


@dataclass(frozen=True, eq=False)
class Case:
    """One operator and its inputs."""

    name: str
    operator: Operator
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)  # [1, H, W, C] by name, int8 or int16
    image: NDArray[np.uint8] | None = None  # [1, H, W, 3]
    halos: dict[str, int] = field(default_factory=dict)  # borders that other readers of a tensor would need
    answer: NDArray[Any] | None = None  # [H, W, C], worked out by hand: the reference has to give it, too

    @property
    def is_logits(self) -> bool:
        """Whether the operator writes float scores instead of a tensor."""
        return isinstance(self.operator, Dequantize) or isinstance(getattr(self.operator, "epilogue", None), ToLogits)

    def expected(self) -> NDArray[Any]:
        """Return what the reference says, [H, W, C]; read-only."""
        return self._answer

    @cached_property
    def _answer(self) -> NDArray[Any]:
        """Computed once for all instruction sets."""
        answer = execute(self.operator, self.tensors, self.image)[0]
        answer.setflags(write=False)
        return answer


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A case in memory: what is there before, and what has to be there afterwards."""

    case: Case
    plan: MemoryPlan
    steps: tuple[tuple[int, int], ...]  # index and units
    before: NDArray[np.int8]
    after: NDArray[np.int8]
    free: NDArray[np.bool_]  # bytes that may hold anything afterwards
    weights: bytes
    logits: NDArray[np.float32]


def run_cases(cases: Sequence[Case], target: Target, variant: Variant) -> list[str]:
    """Compile and run cases for one instruction set and return what is wrong, one line for each case that fails.

    Raises:
        ToolMissingError: when this machine cannot run the instruction set.
    """
    machine = machine_for(target, variant)
    prepared, network = _prepare_all(cases, variant)
    results = replay(network, target, variant, machine, pack(prepared))
    failures = [failure for item in prepared if (failure := _compare(item, results))]
    if results.read():
        raise RuntimeError("the replay wrote more than was asked for")
    return failures


def own_cases(cases: Sequence[Case], target: Target, variant: Variant) -> list[Case]:
    """Return the cases whose kernels a variant shares with no plainer one of its target.

    The others run the plainer one's code, compiled once (`compile.codegen.program_to_objects.KernelSymbols`).
    """
    variants = target.variants_for("int8")
    plainer = [it for it in variants[: variants.index(variant)] if it.mcpu == variant.mcpu]
    return [
        case for case in cases if not _symbols(case, variant) <= set().union(*(_symbols(case, it) for it in plainer))
    ]


SYMBOLS = KernelSymbols()  # of every case that was asked for: equal kernels have equal ones


@cache
def _symbols(case: Case, variant: Variant) -> frozenset[str]:
    """Return the symbols of the kernels that a case calls."""
    steps: list[Step] = []
    append_steps(case.operator, case.is_logits, _context(case, variant), steps)
    called = call_symbols(ScheduledNetwork(tuple(steps), b""), SYMBOLS, {})
    return frozenset(symbol for symbols in called for symbol in symbols)


def _context(case: Case, variant: Variant) -> Context:
    return Context(find_instruction_set(variant.name), plan_memory(_program(case)))


def replay(network: ScheduledNetwork, target: Target, variant: Variant, machine: Machine, packed: bytes) -> io.BytesIO:
    """Compile kernels, run them on packed cases, and return what they wrote.

    Raises:
        ToolMissingError: when the machine lacks the instruction set.
    """
    with tempfile.TemporaryDirectory(prefix="repghost-kernels-") as name:
        through = ["--no-warnings", str(WASI)] if target.form is WASM else []
        command = [*machine.prefix, *through, str(_link(network, target, variant, Path(name)))]
        done = subprocess.run(command, input=packed, capture_output=True, timeout=TIME_LIMIT, check=False)
    if done.returncode == UNSUPPORTED:
        raise ToolMissingError(f"{machine.name} has no {variant.name} instructions")
    if done.returncode:
        raise RuntimeError(f"the replay ended with code {done.returncode} on {machine.name}: {done.stderr.decode()}")
    return io.BytesIO(done.stdout)


def _prepare_all(cases: Sequence[Case], variant: Variant) -> tuple[list[_Prepared], ScheduledNetwork]:
    steps: list[Step] = []
    prepared = []
    for seed, case in enumerate(cases):
        context = _context(case, variant)
        numbers, constants = append_steps(case.operator, case.is_logits, context, steps)
        prepared.append(_prepare(case, context.plan, numbers, constants, np.random.default_rng(seed)))
    return prepared, ScheduledNetwork(tuple(steps), b"")


def append_steps(
    operator: AnyOperator, is_logits: bool, context: Context, steps: list[Step]
) -> tuple[tuple[tuple[int, int], ...], bytes]:
    """Append the kernel of an operator and the border of its output; those of its inputs are there before.

    Returns:
        The index and the units of the new step, and the constants of the kernel.
    """
    kernel = schedule(operator, context)
    halo = None if is_logits else schedule_halo(operator.output, context)
    steps.append(Step(kernel, halo, BLOB_ALIGNMENT))
    return ((len(steps) - 1, kernel.units),), kernel.constants


def _program(case: Case) -> Program:
    """Return a program in which the case's tensors are alive together and have the borders it asks for."""
    sources = [InputTable(t.name, t, np.zeros((3, 256), np.int8)) for t in distinct_inputs(case.operator)]
    readers = []
    for tensor in {t.name: t for t in (*case.operator.inputs, case.operator.output)}.values():
        if not (case.is_logits and tensor is case.operator.output):
            readers.append(_reader(tensor, case.halos.get(tensor.name, 0)))
    return Program((*sources, case.operator, *readers), 1, 1, 1, "")


def _reader(tensor: Tensor, halo: int) -> DepthwiseConv2d:
    """Return an operator that is only planned for, never run."""
    output = Tensor(f"{tensor.name}.reader", 1, 1, 1, QParams(1.0))
    weight = np.zeros((tensor.channels, 2 * halo + 1, 2 * halo + 1), np.int8)
    epilogue = Requantize(np.ones(tensor.channels, np.float32), 0, -128, 127)
    return DepthwiseConv2d(
        output.name, tensor, output, weight, np.zeros(tensor.channels, np.int32), (1, 1), (halo, halo), epilogue
    )


def distinct_inputs(operator: Any) -> list[Any]:
    """Return the tensors an operator reads, each once."""
    return list({tensor.name: tensor for tensor in operator.inputs}.values())


def _prepare(
    case: Case, plan: MemoryPlan, steps: tuple[tuple[int, int], ...], constants: bytes, noise: np.random.Generator
) -> _Prepared:
    before = noise.integers(-128, 128, plan.workspace_bytes).astype(np.int8)
    for name, value in case.tensors.items():
        _inside(before, plan.placements[name])[..., : value.shape[3]] = value[0]
    for tensor in distinct_inputs(case.operator):
        _fill_border(before, plan.placements[tensor.name])
    after, free = before.copy(), np.zeros(len(before), bool)
    logits = np.zeros(0, np.float32)
    if case.is_logits:
        logits = case.expected().astype(np.float32).ravel()
    else:
        place = plan.placements[case.operator.output.name]
        channels = place.tensor.channels
        _inside(after, place)[..., :channels] = case.expected()
        _inside(free, place)[..., channels:] = EVERY_BYTE[place.element_bytes]
        _fill_border(after, place)
    garbage = noise.integers(0, 256, BLOB_ALIGNMENT).astype(np.uint8).tobytes()
    weights = garbage + constants + bytes(-len(constants) % BLOB_ALIGNMENT)
    return _Prepared(case, plan, steps, before, after, free, weights, logits)


def _inside(memory: NDArray[Any], place: TensorPlace) -> NDArray[Any]:
    """Return the pixels of a tensor as a view of the memory: [H, W, elements of a pixel].

    A memory of booleans says of each byte whether it is free; one of each element answers for all of it.
    """
    (height, width), size = (place.tensor.height, place.tensor.width), place.element_bytes
    start = place.offset + place.origin * size
    held = memory[start : start + height * place.pitch * size]
    rows = held.view(place.tensor.element if memory.dtype == np.int8 else f"u{size}").reshape(height, place.pitch)
    return rows[:, : width * place.pixel].reshape(height, width, place.pixel)


def _fill_border(memory: NDArray[np.int8], place: TensorPlace) -> None:
    kept = _inside(memory, place).copy()
    if place.halo:
        whole = memory[place.offset : place.offset + place.size]
        whole.view(place.tensor.element)[...] = place.tensor.qparams.zero_point
    _inside(memory, place)[...] = kept


def pack(prepared: Sequence[_Prepared]) -> bytes:
    """Return the input of the replay, see the top of kernel_replay.c."""
    parts = [np.int32(len(prepared)).tobytes()]
    for item in prepared:
        image = b"" if item.case.image is None else item.case.image.tobytes()
        sizes = [len(item.before), len(item.weights), len(image), len(item.logits), len(item.steps)]
        parts.append(np.array([*sizes, *np.ravel(item.steps)], np.int32).tobytes())
        parts += [item.before.tobytes(), item.weights, image]
    return b"".join(parts)


def _link(network: ScheduledNetwork, target: Target, variant: Variant, folder: Path) -> Path:
    """Return a program that holds the kernels and the replay."""
    objects = []
    for number, source in enumerate(_sources(network, SYMBOL, target, variant)):
        objects.append(folder / f"{number}.o")
        objects[-1].write_bytes(kept_object(source))
    needs = " | ".join(feature.macro for feature in variant.requires) or "0"
    flags = [*REPRODUCIBLE, f"-DSTEP={SYMBOL}", f"-DNEEDS={needs}", f"-I{RUNNER_SOURCES}"]
    sources = [REPLAY, RUNNER_SOURCES / "library/hwcaps.c"]
    if target.form is WASM:
        # Only what asks for the features is compiled with them: zig makes a C library for each set of them.
        flags += ["-target", "wasm32-wasi", f"-Wl,-z,stack-size={STACK_BYTES}"]
        run_zig(["cc", *flags, *features_of([variant]), "-c", str(sources[1]), "-o", str(folder / "hwcaps.o")])
        sources[1] = folder / "hwcaps.o"
    else:
        flags += [*target.zig_target(), "-D_GNU_SOURCE"]
    run_zig(["cc", *flags, *map(str, (*sources, *objects)), "-o", str(folder / "replay")])
    return folder / "replay"


def kept_object(source: KernelSource) -> bytes:
    """Return the object of kernels; what an earlier run of the tests compiled from the same functions is not again."""
    folder = user_store().folder
    store = KernelStore(folder and folder.with_name("kernels of tests"), KEPT_BYTES)
    key = source.key()
    found = store.get(key)
    if found is None:
        found = object_of(source.module())
        store.put(key, found)
        store.shrink([key])
    return found


def whole_source(network: ScheduledNetwork, symbol: str, target: Target, variant: Variant) -> KernelSource:
    """Return all kernels of a network and its step function together."""
    sources = _sources(network, symbol, target, variant)
    return KernelSource(tuple(it for source in sources for it in source.functions), target.tvm_target(variant))


def _sources(network: ScheduledNetwork, symbol: str, target: Target, variant: Variant) -> list[KernelSource]:
    """Return the kernels of a network, some together, and its step function, which calls them from outside as always.

    One object is made faster than many, but LLVM takes half as long again for the 300 of a family at once.
    """
    known = KernelSymbols()
    symbols = call_symbols(network, known, target.tvm_target(variant))
    tuned: dict[str, list[KernelSource]] = {}  # those of one tuning may lie in one object
    for source in known.sources.values():
        tuned.setdefault(json.dumps(source.target), []).append(source)
    parts = [several[at : at + TOGETHER] for several in tuned.values() for at in range(0, len(several), TOGETHER)]
    step = KernelSource(((symbol, step_function(network, symbols)),), target.tvm_target(variant))
    return [*(KernelSource(sum((it.functions for it in part), ()), part[0].target) for part in parts), step]


def _compare(item: _Prepared, results: io.BytesIO) -> str:
    """Return what is wrong with a case, or an empty text; reads the results of both orders."""
    wrong = ""
    for order in ORDERS:
        status = int(np.frombuffer(results.read(4), np.int32)[0])
        workspace = np.frombuffer(results.read(len(item.before)), np.int8)
        logits = np.frombuffer(results.read(4 * len(item.logits)), np.float32)
        different = np.flatnonzero((workspace != item.after) & ~item.free)
        if wrong:
            continue
        if status:
            wrong = f"{item.case.name}: {STATUS[status]} ({order})"
        elif len(different):
            at = int(different[0])
            where = f"{_describe(item, at)}: {workspace[at]} instead of {item.after[at]}"
            wrong = f"{item.case.name}: {len(different)} bytes differ, first {where} ({order})"
        elif logits.tobytes() != item.logits.tobytes():
            wrong = f"{item.case.name}: logits {logits[:4]} instead of {item.logits[:4]} ({order})"
    return wrong


def _describe(item: _Prepared, at: int) -> str:
    """Say what a byte of the workspace is."""
    for place in item.plan.placements.values():
        if place.offset <= at < place.offset + place.size:
            row, rest = divmod((at - place.offset) // place.element_bytes - place.origin, place.pitch)
            column, channel = divmod(rest, place.pixel)
            return f"{place.tensor.name}[{row}, {column}, {channel}] of {place.tensor.height}x{place.tensor.width}"
    return f"byte {at} of no tensor"
