"""Archives: what goes in comes out, the same bytes every time, and binutils' format to the byte."""

from __future__ import annotations

import pytest

from compile.codegen.object_archive import is_archive, pack_archive
from repghost.errors import IntegrityError
from tests.support.archives import archive_members

MEMBERS = {"a.o": b"odd", "b.o": b"even", "empty.o": b"", "fifteen-chars.o": b"`\n" * 40}


def test_members_come_out_as_they_went_in() -> None:
    packed = pack_archive(MEMBERS)
    assert is_archive(packed)
    members = archive_members(packed)
    assert members == MEMBERS
    assert list(members) == list(MEMBERS)
    assert pack_archive(MEMBERS) == packed


def test_the_format_is_that_of_binutils() -> None:
    header = b"a.o/            0           0     0     644     3         `\n"
    assert pack_archive({"a.o": b"odd"}) == b"!<arch>\n" + header + b"odd\n"
    assert pack_archive({}) == b"!<arch>\n"


def test_a_long_name_is_refused() -> None:
    with pytest.raises(IntegrityError, match="15 characters"):
        pack_archive({"sixteen-chars..o": b""})
