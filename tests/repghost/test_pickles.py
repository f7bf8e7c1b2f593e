"""Pickles that would fill the memory or never end are found before they are loaded."""

from __future__ import annotations

import pickle
import struct
from collections import Counter, OrderedDict
from typing import Any

import pytest

from repghost.pickles import MAX_LONGS, MAX_STEPS, unsafe_part

CALLABLES = {"_codecs.encode", "collections.OrderedDict", "collections.Counter", "builtins.set", "__builtin__.set"}


class Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def nested_key(depth: int) -> bytes:
    """A dictionary whose key is a tuple of two tuples of two tuples; its hash takes 2 ** depth steps."""
    doubled = b"".join(b"q%ch%c\x86" % (place, place) for place in range(depth))
    return b"\x80\x02})" + doubled + b"K\x01s."


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value", [None, {"a": [1, (2.5, b"x", "é")]}, OrderedDict(a=Counter("ab")), {1, 2}, [2**70] * 3, [{}] * 300]
)
def test_plain_values_are_safe(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol=protocol)
    assert unsafe_part(data, CALLABLES) is None


@pytest.mark.parametrize("protocol", range(6))
def test_what_a_pickle_calls_is_named(protocol: int) -> None:
    found = unsafe_part(pickle.dumps([Calls(bytearray, 6 << 30)], protocol=protocol), CALLABLES)
    assert found in ("asks for 'builtins.bytearray'", "asks for '__builtin__.bytearray'")


HOSTILE = [
    (b"\x80\x02Nr" + struct.pack("<I", 0x18000000) + b".", "at place 402653184 of its memo"),
    (b"Np402653184\n.", "at place 402653184 of its memo"),
    (nested_key(60), "nests more than"),
    (b"\x80\x05\x96" + struct.pack("<Q", 1) + b"x.", "instruction BYTEARRAY8"),
    (b"(ios\nsystem\n.", "instruction INST"),
    (
        b"\x80\x02]" + (b"\x8a\x09" + bytes(8) + b"\x01a") * (MAX_LONGS + 1) + b".",
        "integers",
    ),
    (b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x08\0\0\0punycode\x86R.", "encodes with 'punycode'"),
    (b"\x80\x02))R.", "something that it made itself"),
]


@pytest.mark.parametrize(("data", "message"), HOSTILE, ids=[message for _, message in HOSTILE])
def test_a_hostile_pickle_is_not_loaded(data: bytes, message: str) -> None:
    assert message in (unsafe_part(data, CALLABLES) or "")


@pytest.mark.slow
def test_a_pickle_of_too_many_instructions_is_not_loaded() -> None:
    assert "instructions" in (unsafe_part(b"N" * (MAX_STEPS + 1), CALLABLES) or "")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"R.",
        b"h\x00.",
        b"\x80\x05\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
        b"\x80\x04\x95",
        b"}u.",
        b"I" + b"9" * 5000,
    ],
)
def test_a_damaged_pickle_is_an_error(data: bytes) -> None:
    with pytest.raises((ValueError, LookupError, StopIteration)):
        unsafe_part(data, CALLABLES)
