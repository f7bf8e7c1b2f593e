"""Files of `torch.save` before torch 1.6: five pickles one after the other, then the numbers of each storage.

Weights of 2018 to 2020 are still published in this form, torchvision's MobileNetV2 of 2019 for one.
"""

from __future__ import annotations

import io
import pickletools
import tarfile

from repghost.pickles import unsafe_part

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the first pickle, the number 0x1950a86a20f9469cfc6c
PICKLES = 5  # magic number, protocol, byte order, content, names of the storages
CONTENT = 3  # the place of the content among them


def is_legacy(data: bytes) -> bool:
    """Return whether the bytes of a file begin as such a file does."""
    return data.startswith(MAGIC)


def unsafe_legacy_part(data: bytes, callables: frozenset[str]) -> str | None:
    """Return what the pickles of a file do that weights have no use for, None for nothing.

    Args:
        data: the whole file.
        callables: what the content may call, as module.name.

    Raises:
        Exception: of any kind, when the bytes are no such file or end too early.
    """
    if tarfile.is_tarfile(io.BytesIO(data)):  # torch would read it as one
        return "is an archive of another kind as well"
    stream = io.BytesIO(data)
    for place in range(PICKLES):
        start = stream.tell()
        for _ in pickletools.genops(stream):
            pass
        part = data[start : stream.tell()]
        unsafe = unsafe_part(part, callables if place == CONTENT else frozenset(), storage_limit=len(data))
        if unsafe is not None:
            return unsafe
    return None
