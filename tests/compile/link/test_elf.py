"""ELF files from outside: whatever stands in them, reading ends soon, with what they promise or with a refusal."""

from __future__ import annotations

import io
import random
import struct

import pytest
from elftools.elf.elffile import ELFFile

from compile.link import elf
from compile.link.elf import ElfFile, read_elf
from repghost.errors import UsageError

MUTATIONS = 600
TABLES = ("SHT_DYNSYM", "SHT_DYNAMIC", "SHT_GNU_verneed", "SHT_STRTAB")
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF)


def headers_and_tables(data: bytes) -> list[int]:
    """Return the offsets of every byte that is read: code and weights are not."""
    file = ELFFile(io.BytesIO(data))
    found = [*range(64), *range(64, 64 + 56 * file.num_segments()), *range(file["e_shoff"], len(data))]
    for section in file.iter_sections():
        if section["sh_type"] in TABLES:
            found += range(section["sh_offset"], section["sh_offset"] + section["sh_size"])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.so", "repghost-run"])
def test_mutated_files_are_read_or_refused(host_files: dict[str, bytes], name: str) -> None:
    data, chance = host_files[name], random.Random(name)
    places = headers_and_tables(data)
    refused = 0
    for _ in range(MUTATIONS):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 8))):
            damaged[chance.choice(places)] = chance.choice((*EXTREMES, chance.randrange(256)))
        try:
            found = read_elf(bytes(damaged))
            assert isinstance(found, ElfFile) and isinstance(found.newest_glibc, tuple)
        except UsageError as error:
            assert str(error).endswith(".")
            refused += 1
    assert 0 < refused < MUTATIONS


@pytest.mark.parametrize("what", ["sections", "segments", "symbols", "versions"])
def test_no_table_is_read_without_end(host_files: dict[str, bytes], what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table is said to have as many rows as its number can say, in a file that is large enough for them."""
    data = bytearray(host_files["repghost-run"] + bytes(65_535 * 64))
    file = ELFFile(io.BytesIO(bytes(data)))
    at = {section["sh_type"]: file["e_shoff"] + 64 * index for index, section in enumerate(file.iter_sections())}
    if what == "sections":
        struct.pack_into("<H", data, 60, 0xFFFF)
    elif what == "segments":
        struct.pack_into("<H", data, 56, 0xFFFE)
    elif what == "symbols":
        struct.pack_into("<Q", data, at["SHT_DYNSYM"] + 32, 24 << 32)
    else:  # the first row names itself as the next one
        verneed = next(file.iter_sections("SHT_GNU_verneed"))
        struct.pack_into("<I", data, at["SHT_GNU_verneed"] + 44, 0xFFFFFFFF)
        struct.pack_into("<I", data, verneed["sh_offset"] + 12, 0)
    reads = 0
    read = elf._BoundedReads.read

    def counted(self: elf._BoundedReads, size: int | None = -1, /) -> bytes:
        nonlocal reads
        reads += 1
        return read(self, size)

    monkeypatch.setattr(elf._BoundedReads, "read", counted)
    with pytest.raises(UsageError):
        read_elf(bytes(data))
    assert reads <= elf.MOST_READS + 1


def test_a_version_of_glibc_that_is_no_number_is_refused() -> None:
    promises = {"needed": (), "exported": (), "undefined": (), "undefined_weak": (), "alignments": ()}
    flags = {"initializers": False, "executable_stack": False, "writable_code": False}
    assert ElfFile(62, versions=("GLIBC_2.4", "GLIBC_2.17", "LIB_3"), **promises, **flags).newest_glibc == (2, 17)
    private = ElfFile(62, versions=("GLIBC_2.4", "GLIBC_PRIVATE"), **promises, **flags)
    with pytest.raises(UsageError, match="GLIBC_PRIVATE"):
        _ = private.newest_glibc
