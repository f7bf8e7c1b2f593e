"""A small writer for TIR: kernels are built statement by statement and end as plain C functions.

TVM's own schedules start from a loop nest and transform it. Here every shape is known, so a kernel is written directly
in the form it should run in: register tiles, packed weights, no tails. What this module adds to `tvm.tirx` is only a
current position to append statements to, and typed pointers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tvm import ir, tirx

Expr: TypeAlias = Any  # a tvm.tirx expression; scalars may be Python integers
UNBOUNDED = 1 << 30  # declared length of a pointer parameter; TIR wants one, nothing checks it

INDEX = "int64"  # with 32 bits LLVM has to allow for wrap-around and keeps extending indices inside the loops


def const(value: int, dtype: str = INDEX) -> Expr:
    """Return an integer or float literal."""
    return tirx.const(value, dtype)


def splat(value: Expr, dtype: str) -> Expr:
    """Return a vector, e.g. "int16x8", with `value` in every lane; a Python number becomes a literal."""
    element, lanes = split_dtype(dtype)
    if isinstance(value, int | float):
        value = tirx.const(value, element)
    elif dtype_of(value) != element:
        value = tirx.Cast(element, value)
    return value if lanes == 1 else tirx.Broadcast(value, lanes)


def split_dtype(dtype: str) -> tuple[str, int]:
    """Return the element type and lane count of e.g. "int16x8"."""
    element, _, lanes = dtype.partition("x")
    return element, int(lanes or 1)


def _bytes_of(dtype: str) -> int:
    element, lanes = split_dtype(dtype)
    return int(tirx.const(0, element).ty.dtype.bits) // 8 * lanes


def vector(element: str, lanes: int) -> str:
    """Return the type of a vector as text, e.g. "int16x8"; of one lane it is a scalar."""
    return element if lanes == 1 else f"{element}x{lanes}"


def dtype_of(value: Expr) -> str:
    """Return the type of an expression as text, e.g. "int16x8"."""
    return str(value.ty.dtype)


def cast(value: Expr, element: str) -> Expr:
    """Convert every lane to another element type."""
    lanes = split_dtype(dtype_of(value))[1]
    return tirx.Cast(vector(element, lanes), value)


def shuffle(vectors: Sequence[Expr], lanes: Sequence[int]) -> Expr:
    """Return the named lanes of the concatenated vectors."""
    return tirx.Shuffle(list(vectors), [const(lane, "int32") for lane in lanes])


def concat(parts: Sequence[Expr]) -> Expr:
    """Return one vector made of equally long parts, joined pairwise so that LLVM sees each step."""
    parts = list(parts)
    while len(parts) > 1:
        width = 2 * split_dtype(dtype_of(parts[0]))[1]
        parts = [shuffle(parts[i : i + 2], range(width)) for i in range(0, len(parts), 2)]
    return parts[0]


def split(value: Expr, lanes: int) -> list[Expr]:
    """Return a vector cut into pieces of `lanes`."""
    total = split_dtype(dtype_of(value))[1]
    if total == lanes:
        return [value]
    return [shuffle([value], range(start, start + lanes)) for start in range(0, total, lanes)]


def by_pieces(apply: Callable[..., Expr], lanes: int, *values: Expr) -> Expr:
    """Return what an instruction of `lanes` lanes makes of longer vectors of equal length."""
    return concat([apply(*pieces) for pieces in zip(*(split(value, lanes) for value in values), strict=True)])


def words(value: Expr, lanes: int) -> list[Expr]:
    """Return an int8 vector cut into pieces of four lanes; LLVM stores a piece from where it is in the register.

    Cut by `split` it would take such a piece for four numbers and repack them.
    """
    if lanes != 4:
        return split(value, lanes)
    total = split_dtype(dtype_of(value))[1]
    whole = reinterpret(value, f"int32x{total // 4}")
    return [reinterpret(shuffle([whole], [index]), "int8x4") for index in range(total // 4)]


def maximum(left: Expr, right: Expr) -> Expr:
    """Return the larger of two values, lane by lane."""
    return tirx.Max(left, right)


def minimum(left: Expr, right: Expr) -> Expr:
    """Return the smaller of two values, lane by lane."""
    return tirx.Min(left, right)


def select(condition: Expr, chosen: Expr, other: Expr) -> Expr:
    """Return one of two values, lane by lane; both are computed."""
    return tirx.Select(condition, chosen, other)


def bitwise_xor(left: Expr, right: Expr) -> Expr:
    """Return the exclusive or, lane by lane."""
    return tirx.bitwise_xor(left, right)


def bitwise_and(left: Expr, right: Expr) -> Expr:
    """Return the bits that are set in both, lane by lane."""
    return tirx.bitwise_and(left, right)


def bitwise_or(left: Expr, right: Expr) -> Expr:
    """Return the bits that are set in either, lane by lane."""
    return tirx.bitwise_or(left, right)


def shift_right(value: Expr, bits: int) -> Expr:
    """Return an arithmetic shift of every lane."""
    return tirx.shift_right(value, splat(bits, dtype_of(value)))


def shift_left(value: Expr, bits: int) -> Expr:
    """Return a left shift of every lane."""
    return tirx.shift_left(value, splat(bits, dtype_of(value)))


def floordiv(value: Expr, divisor: int) -> Expr:
    """Return the quotient rounded down; exact here, so LLVM sees a shift."""
    return value // divisor if isinstance(value, int) else tirx.floordiv(value, const(divisor))


def equal(left: Expr, right: Expr) -> Expr:
    """Return whether two scalars are equal."""
    return tirx.EQ(left, _index(right))


def inside(value: Expr, low: int, high: int) -> Expr:
    """Return whether a scalar is at least `low` and below `high`."""
    return tirx.And(value >= const(low), value < const(high))


def reinterpret(value: Expr, dtype: str) -> Expr:
    """Return the same bits as another type."""
    return tirx.reinterpret(dtype, value)


def intrinsic(dtype: str, name: str, *args: Expr) -> Expr:
    """Call a pure LLVM intrinsic by its mangled name."""
    return tirx.call_llvm_pure_intrin(dtype, name, *args)


@dataclass(frozen=True)
class Pointer:
    """A typed pointer of a kernel; every offset is in elements.

    Tensors of one buffer are told apart by `base`, not by pointers of their own. A pointer of its own would promise
    LLVM that stores to the output never touch the input, and LLVM would then keep a whole tile of input alive across
    the loop over channels: more values than there are registers.
    """

    buffer: Any
    element: str
    base: Expr = 0

    @property
    def data(self) -> Expr:
        """The address of the buffer, to be passed to another kernel."""
        return tirx.buffer.buffer_data(self.buffer)

    def at(self, base: Expr) -> Pointer:
        """Return the same buffer counted from `base` elements further on."""
        return Pointer(self.buffer, self.element, self.base + base)

    def load(self, index: Expr, lanes: int = 1) -> Expr:
        """Return `lanes` consecutive elements from `index` on."""
        return tirx.BufferLoad(self.buffer, [_span(self.base + index, lanes)])


def _span(index: Expr, lanes: int) -> Expr:
    base = const(index) if isinstance(index, int) else index
    return base if lanes == 1 else tirx.Ramp(base, const(1), lanes)


@dataclass
class Kernel:
    """A function under construction; statements go to the innermost open block."""

    name: str
    parameters: list[Any] = field(default_factory=list)
    _blocks: list[list[Any]] = field(default_factory=lambda: [[]])
    _names: int = 0

    def pointer(self, name: str, element: str) -> Pointer:
        """Add a pointer parameter."""
        data = tirx.Var(name, ir.PointerType(ir.PrimType(element)))
        self.parameters.append(data)
        buffer = tirx.decl_buffer((UNBOUNDED,), element, f"{name}_data", data=data)
        self.append(tirx.DeclBuffer(buffer, data=data))
        return Pointer(buffer, element)

    def view(self, pointer: Pointer, element: str) -> Pointer:
        """Declare the memory of a pointer parameter as another element type, counted from its start."""
        data = next(p for p in self.parameters if f"{p.name}_data" == pointer.buffer.name)
        self._names += 1
        buffer = tirx.decl_buffer((UNBOUNDED,), element, f"{data.name}_{element}_{self._names}", data=data)
        self.append(tirx.DeclBuffer(buffer, data=tirx.reinterpret(ir.PointerType(ir.PrimType(element)), data)))
        return Pointer(buffer, element)

    def address(self, pointer: Pointer, index: Expr, element: str = "") -> Pointer:
        """Name the address of an element, to be read as another type from there on.

        A constant added to an index becomes part of the instructions that load and store, also in WebAssembly, where
        LLVM has to know that the sum does not wrap around.
        """
        self._names += 1
        place, element = tirx.address_of(pointer.load(index)), element or pointer.element
        if element != pointer.element:
            place = tirx.reinterpret(ir.PointerType(ir.PrimType(element)), place)
        data = tirx.Var(f"address_{self._names}", place.ty)
        self.append(tirx.Bind(data, place))
        buffer = tirx.decl_buffer((UNBOUNDED,), element, f"{data.name}_data", data=data)
        self.append(tirx.DeclBuffer(buffer, data=data))
        return Pointer(buffer, element)

    def scalar(self, name: str) -> Expr:
        """Add an int32 parameter, seen as an index."""
        variable = tirx.Var(name, "int32")
        self.parameters.append(variable)
        return tirx.Cast(INDEX, variable)

    def local(self, size: int, element: str) -> Pointer:
        """Add a small array, usually of vectors, that LLVM keeps in registers when every index is constant."""
        self._names += 1
        buffer = tirx.decl_buffer((size,), element, f"local_{self._names}", scope="local")
        self.append(tirx.AllocBuffer(buffer))
        return Pointer(buffer, element)

    def aligned_local(self, size: int, element: str, alignment: int) -> Pointer:
        """Add a small array that begins at a multiple of `alignment` bytes, where stacks are aligned to fewer."""
        element_bytes = _bytes_of(element)
        whole = self.local(size + alignment // element_bytes, element)
        place = tirx.reinterpret(INDEX, tirx.address_of(whole.load(0)))
        return self.address(whole, self.bind(floordiv(bitwise_and(-place, const(alignment - 1)), element_bytes)))

    def append(self, statement: Any) -> None:
        """Add a statement at the current position."""
        self._blocks[-1].append(statement)

    def store(self, pointer: Pointer, index: Expr, value: Expr) -> None:
        """Store a scalar or vector at consecutive elements from `index` on."""
        lanes = split_dtype(dtype_of(value))[1] // split_dtype(pointer.element)[1]
        self.append(tirx.BufferStore(pointer.buffer, value, [_span(pointer.base + index, lanes)]))

    def bind(self, value: Expr, name: str = "v") -> Expr:
        """Name a value: it is computed here, once."""
        self._names += 1
        variable = tirx.Var(f"{name}_{self._names}", dtype_of(value))
        self.append(tirx.Bind(variable, value))
        return variable

    @contextmanager
    def loop(self, extent: Expr, begin: Expr = 0, name: str = "i") -> Iterator[Expr]:
        """Open a loop over [begin, begin + extent); a loop of one round is not opened at all."""
        if isinstance(extent, int) and extent == 1:
            yield const(begin) if isinstance(begin, int) else begin
            return
        self._names += 1
        variable = tirx.Var(f"{name}_{self._names}", INDEX)
        self._blocks.append([])
        yield variable
        body = _sequence(self._blocks.pop())
        self.append(tirx.For(variable, _index(begin), _index(extent), tirx.ForKind.SERIAL, body))

    @contextmanager
    def when(self, condition: Expr) -> Iterator[None]:
        """Open a block that runs only if `condition` holds."""
        self._blocks.append([])
        yield
        self.append(tirx.IfThenElse(condition, _sequence(self._blocks.pop()), None))

    def call(self, symbol: str, *args: Expr) -> None:
        """Call a function that the linker finds by its symbol; indices become int32 again."""
        passed = [tirx.Cast("int32", a) if str(a.ty) == INDEX else a for a in args]
        self.append(tirx.Evaluate(tirx.call_extern("void", symbol, *passed)))

    def finish(self, returns: Expr | None = None) -> Any:
        """Return the PrimFunc; with `returns` it is an int32 function."""
        if returns is not None:
            self.append(tirx.Return(returns) if hasattr(tirx, "Return") else tirx.Evaluate(tirx.ret(returns)))
        return_type = None if returns is None else ir.PrimType("int32")
        return tirx.PrimFunc(self.parameters, _sequence(self._blocks[0]), return_type)


def _sequence(statements: list[Any]) -> Any:
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(statements)


def _index(value: Expr) -> Expr:
    return const(value) if isinstance(value, int) else value
