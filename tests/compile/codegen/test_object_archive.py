"""Archives: what goes in comes out, the same bytes every time, and binutils' format to the byte."""

from __future__ import annotations

import pytest

from compile.codegen.object_archive import is_archive, pack_archive, unpack_archive
from repghost.errors import IntegrityError

MEMBERS = {"a.o": b"odd", "b.o": b"even", "empty.o": b"", "fifteen-chars.o": b"`\n" * 40}


def test_members_come_out_as_they_went_in() -> None:
    packed = pack_archive(MEMBERS)
    assert is_archive(packed)
    assert unpack_archive(packed) == MEMBERS
    assert list(unpack_archive(packed)) == list(MEMBERS)
    assert pack_archive(MEMBERS) == packed


def test_the_format_is_that_of_binutils() -> None:
    header = b"a.o/            0           0     0     644     3         `\n"
    assert pack_archive({"a.o": b"odd"}) == b"!<arch>\n" + header + b"odd\n"
    assert pack_archive({}) == b"!<arch>\n"


def test_a_long_name_is_refused() -> None:
    with pytest.raises(IntegrityError, match="15 characters"):
        pack_archive({"sixteen-chars..o": b""})


@pytest.mark.parametrize("damage", ["object", "cut", "header", "size"])
def test_what_is_no_archive_is_refused(damage: str) -> None:
    packed = pack_archive(MEMBERS)
    data = {
        "object": b"\x7fELF" + packed,
        "cut": packed[:-10],
        "header": packed.replace(b"`\n", b"``", 1),
        "size": packed.replace(b"3         ", b"-3        ", 1),
    }[damage]
    with pytest.raises(IntegrityError):
        unpack_archive(data)
