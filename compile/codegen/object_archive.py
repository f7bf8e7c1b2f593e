"""Several object files in one `ar` archive: the linker takes the members that something refers to, each once.

There is no index of symbols; the linker reads the members' own. Dates and owners are zero, so equal members make equal
bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from repghost.errors import IntegrityError

MAGIC = b"!<arch>\n"
HEADER_END = b"`\n"
NAME_BYTES = 15  # of a member; longer names would need a table of their own


def pack_archive(members: Mapping[str, bytes]) -> bytes:
    """Return an archive of object files, in the order given.

    Args:
        members: name of at most 15 characters -> content.

    Raises:
        IntegrityError: for a longer name.
    """
    parts = [MAGIC]
    for name, content in members.items():
        if len(name) > NAME_BYTES:
            raise IntegrityError(f"an archive member may have {NAME_BYTES} characters in its name, not {name!r}.")
        parts.append(f"{name + '/':<16}{0:<12}{0:<6}{0:<6}{644:<8}{len(content):<10}".encode() + HEADER_END)
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)


def is_archive(data: bytes) -> bool:
    """Tell whether the data is an archive and no single object."""
    return data.startswith(MAGIC)
