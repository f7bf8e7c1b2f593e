"""Members of a tar: none is kept, and no header is read that would fill the memory."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable

import pytest

from repghost.data.formats import tar_members
from repghost.data.formats.tar_members import MAX_EXTENSION_BYTES, bounded_headers, read_members


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, size: int | None = None) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def names(parts: Iterable[bytes], mode: str) -> list[str]:
    file = io.BytesIO(b"".join([*parts, bytes(2 * tarfile.BLOCKSIZE)]))
    with tarfile.open(fileobj=file, mode=mode, tarinfo=bounded_headers()) as archive:  # type: ignore[call-overload]
        found = []
        for one in read_members(archive, 64 * 5):
            found.append(one.name)
            assert len(archive.members) <= 1  # type: ignore[attr-defined]
        return found


def pax(name: str) -> bytes:
    info = tarfile.TarInfo(name)
    return info.tobuf(tarfile.PAX_FORMAT)


@pytest.mark.parametrize("mode", ["r:", "r|*"])
def test_members_are_read_in_order_and_not_kept(mode: str) -> None:
    long = "d/" * 500 + "é"
    parts = [member("a"), member(long), pax(long), member("b", b"x" * 700), member("c/", kind=tarfile.DIRTYPE)]
    assert names(parts, mode) == ["a", long, long, "b", "c"]


SPARSE = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
REFUSED = {
    "long name": member("x", kind=tarfile.GNUTYPE_LONGNAME, size=MAX_EXTENSION_BYTES + 1),
    "long link": member("x", kind=tarfile.GNUTYPE_LONGLINK, size=6 << 30),
    "PAX": member("x", kind=tarfile.XHDTYPE, size=MAX_EXTENSION_BYTES + 1),
    "global PAX": member("x", kind=tarfile.XGLTYPE, size=MAX_EXTENSION_BYTES + 1),
    "sparse": member("x", kind=tarfile.GNUTYPE_SPARSE),
    "sparse in PAX": member("x", SPARSE, tarfile.XHDTYPE) + member("y", b"1\n" * 256),
    "negative": member("x", kind=tarfile.DIRTYPE, size=-1024),
}


@pytest.mark.parametrize("mode", ["r:", "r|*"])
@pytest.mark.parametrize("kind", REFUSED)
def test_a_header_that_takes_memory_is_refused(kind: str, mode: str) -> None:
    with pytest.raises(tarfile.ReadError, match=r"a header of|a sparse file"):
        names([member("a"), REFUSED[kind]], mode)


def test_members_and_long_headers_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_members, "FEW_MEMBERS", 2)
    assert len(names([member("a")] * 7, "r:")) == 7
    with pytest.raises(tarfile.ReadError, match="more than 7 members in 320 bytes"):
        names([member("a")] * 8, "r:")
    monkeypatch.setattr(tar_members, "MAX_LONG_EXTENSIONS", 2)
    with pytest.raises(tarfile.ReadError, match="number 3"):
        names([member("n" * 2000)] * 3, "r:")


@pytest.mark.parametrize("mode", ["r:", "r|*"])
@pytest.mark.parametrize("kept", [0, 1, 512, 1024, 1100])
def test_a_tar_that_ends_too_early_is_refused(kept: int, mode: str) -> None:
    data = (member("a", b"x") + member("b", b"x"))[:kept]
    with (
        pytest.raises(tarfile.ReadError, match=r"cut short|unexpected end"),
        tarfile.open(fileobj=io.BytesIO(data), mode=mode, tarinfo=bounded_headers()) as archive,  # type: ignore[call-overload]
    ):
        list(read_members(archive, len(data)))


@pytest.mark.parametrize("mode", ["r:", "r|*"])
def test_a_damaged_header_is_not_the_end(mode: str) -> None:
    with pytest.raises(tarfile.ReadError, match="bad checksum; it is damaged"):
        names([member("a", b"x"), member("b").replace(b"b", b"c", 1), member("d")], mode)
