"""A pickle looked through before it is loaded: what it would call, allocate and nest.

A restricted unpickler decides what may be called, but a few bytes are enough to make it fill the memory (a place in its
memo, `bytearray(n)`) or never end (tuples of tuples as the key of a dictionary). So the instructions are walked first,
with the size of each value instead of the value.
"""

from __future__ import annotations

import pickletools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

MAX_STEPS = 1 << 20  # instructions; the training state of a 2.0x has 60,000
MAX_NESTED = 16 * MAX_STEPS  # values in a tuple, counting what it holds as often as it holds it
MAX_LONGS = 1000  # integers beyond 64 bits: those that divide the same number all fall into one place of a dictionary
STORED_TWICE = 4  # how often weights may ask for a storage: those that two layers share, for example
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_TEXTS = {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE"}
_TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
ENCODE, LATIN1 = "_codecs.encode", ("latin1", "latin-1")  # how bytes are written under protocol 2; others are slow
_CALLS = {"REDUCE", "NEWOBJ"}
_REFUSED = {"INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BYTEARRAY8", "NEXT_BUFFER"}


@dataclass(frozen=True)
class _Value:
    """What is known of a value: how many values it holds, and the text or the name it is."""

    nested: int = 1
    text: str = ""  # of a tuple: its last text
    largest: int = 0  # the whole number it is; of a tuple, its largest
    called: str = ""  # module.name of a global


_MARK = _Value()


def unsafe_part(data: bytes, callables: Collection[str], storage_limit: int | None = None) -> str | None:
    """Return what a pickle does that its kind has no use for, e.g. "asks for 'builtins.bytearray'"; None for nothing.

    Args:
        data: a whole pickle.
        callables: what it may call, as module.name; loading decides what else it may name.
        storage_limit: how many numbers all storages that it asks for may have, counted as often as it asks for them,
            and a little more; None where they lie in an archive, which says their sizes.

    Raises:
        Exception: of any kind, when the bytes are no pickle or end too early.
    """
    stack: list[_Value] = []
    memo: dict[int, _Value] = {}
    longs, stored = 0, 0
    argument: Any
    for step, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        name = opcode.name
        if step >= MAX_STEPS:
            return f"has more than {MAX_STEPS} instructions"
        if name in _REFUSED:
            return f"has the instruction {name}"
        if name in _PUTS:
            if argument > step:  # each value is put away once, and the memo is as long as its largest place
                return f"keeps a value at place {argument} of its memo"
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in _GETS:
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        else:
            taken = _take(stack, opcode)
            if name in _CALLS and taken[0].called not in callables:
                return f"asks for {taken[0].called or 'something that it made itself'!r}"
            if taken and taken[0].called == ENCODE and name in _CALLS and taken[1].text not in LATIN1:
                return f"encodes with {taken[1].text!r:.80}"
            if name == "BINPERSID" and storage_limit is not None:
                stored += taken[0].largest
                if stored > STORED_TWICE * storage_limit:
                    return f"asks for storages of {stored} numbers, more than the file has bytes"
            value = _made(name, argument, taken)
            if value.nested > MAX_NESTED:
                return f"nests more than {MAX_NESTED} values"
            longs += isinstance(argument, int) and argument.bit_length() > 64
            if longs > MAX_LONGS:
                return f"has more than {MAX_LONGS} integers of more than 64 bits"
            stack += [value] * len(opcode.stack_after)
    return None


def _take(stack: list[_Value], opcode: pickletools.OpcodeInfo) -> list[_Value]:
    """Remove from the stack what an instruction reads, in the order in which it lies there."""
    before = opcode.stack_before
    depth = len(before)
    if pickletools.markobject in before:
        above = next(place for place in range(1, len(stack) + 1) if stack[-place] is _MARK)
        depth = before.index(pickletools.markobject) + above
    if depth > len(stack):
        raise ValueError("the stack is empty")
    taken = stack[len(stack) - depth :]
    del stack[len(stack) - depth :]
    return taken


def _made(name: str, argument: Any, taken: list[_Value]) -> _Value:
    """Return what is known of the value that an instruction makes."""
    nested = 1 + sum(value.nested for value in taken)
    if name == "GLOBAL":
        return _Value(called=argument.replace(" ", "."))  # genops puts a space between module and name
    if name == "STACK_GLOBAL":
        return _Value(called=f"{taken[0].text}.{taken[1].text}")
    if name in _TUPLES and taken:
        return _Value(nested, taken[-1].text, largest=max(value.largest for value in taken))
    return _Value(nested, argument if name in _TEXTS else "", largest=argument if isinstance(argument, int) else 0)
