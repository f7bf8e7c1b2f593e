"""The members of a tar, one after the other, in memory that its sizes cannot blow up."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

FEW_MEMBERS = 10_000  # that any archive may have
MEMBER_BYTES = 64  # of the file for each further one: the smallest image takes more, compressed or not
MAX_EXTENSION_BYTES = 8192  # of a header that holds a long name or PAX records; a path has at most 4096
MAX_LONG_EXTENSIONS = 10_000  # of more than a kilobyte, which take long to read
_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


def bounded_headers() -> type[tarfile.TarInfo]:
    """Return what `tarfile.open` takes as `tarinfo` for one archive: the class of its members.

    tarfile reads the headers that extend another into memory whatever their size, and the map of a sparse file from
    the archive's data; their sizes are refused before that, as `tarfile.ReadError`. So is an archive that ends without
    the zeros that mark its end: what was lost with it would be missing without a word.
    """

    class Header(tarfile.TarInfo):
        extensions = 0

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Header:
            try:
                found = super().frombuf(buf, encoding, errors)
            except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
                raise
            except tarfile.HeaderError as error:  # which tarfile takes for the end of the archive
                raise tarfile.ReadError(f"{error}; it is damaged or cut short") from None
            if found.type in _EXTENSIONS and found.size > 1024:
                cls.extensions += 1
            if (found.type in _EXTENSIONS and found.size > MAX_EXTENSION_BYTES) or cls.extensions > MAX_LONG_EXTENSIONS:
                raise tarfile.ReadError(f"a header of {found.size} bytes, number {cls.extensions} of the long ones")
            if found.size < 0 or found.type == tarfile.GNUTYPE_SPARSE:
                raise tarfile.ReadError("a sparse file, or one of a negative size")
            return found

        def _proc_gnusparse_10(self, *arguments: object) -> None:  # the map in front of the data, of any length
            raise tarfile.ReadError("a sparse file")

    return Header


def read_members(archive: tarfile.TarFile, size: int) -> Iterator[tarfile.TarInfo]:
    """Yield the members without keeping them.

    Args:
        archive: opened with `bounded_headers`.
        size: of its file, in bytes; a small file that unpacks to millions of members is not gone through.

    Raises:
        tarfile.ReadError: when there are more members than such a file can have, or a header is damaged.
    """
    most = FEW_MEMBERS + size // MEMBER_BYTES
    for number in range(most + 1):
        member = archive.next()
        if member is None:
            return
        if number == most:
            raise tarfile.ReadError(f"more than {most} members in {size} bytes")
        yield member
        archive.members = []  # type: ignore[attr-defined]  # else every header stays in memory
        archive.pax_headers.clear()  # type: ignore[attr-defined]
