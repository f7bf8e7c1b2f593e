"""What matters of a little-endian ELF file: machine, libraries, symbols, page alignment. pyelftools reads it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repghost.errors import UsageError

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import Symbol

HEADS = (b"\x7fELF\x01\x01", b"\x7fELF\x02\x01")  # of 32 and of 64 bits, little-endian
FLAG_EXECUTE, FLAG_WRITE = 1, 2  # of a segment
WRITABLE_CODE = FLAG_EXECUTE | FLAG_WRITE
HIDDEN = ("STV_INTERNAL", "STV_HIDDEN")
MACHINE_NAMES = {183: "aarch64", 62: "x86-64", 3: "x86", 40: "arm", 243: "riscv"}
GLIBC = re.compile(r"GLIBC_([0-9]{1,4}(?:\.[0-9]{1,4})*)")
# A model or runner takes up to 1,800 reads of up to 64 bytes; the tables of a damaged file may ask for any number.
MOST_READS = 50_000
LARGEST_READ = 1 << 12  # bytes


@dataclass(frozen=True)
class ElfFile:
    """The promises of a linked ELF file, as read back from its bytes."""

    machine: int
    needed: tuple[str, ...]
    exported: tuple[str, ...]  # defined dynamic symbols
    undefined: tuple[str, ...]  # dynamic symbols that must be found when loading
    undefined_weak: tuple[str, ...]  # dynamic symbols that may be absent
    alignments: tuple[int, ...]  # bytes, of each loaded segment
    versions: tuple[str, ...]  # symbol versions asked of libraries, e.g. GLIBC_2.17
    initializers: bool  # code that runs while loading
    executable_stack: bool
    writable_code: bool
    interpreter: str = ""  # the loader of the system that starts it; empty for a static file

    @property
    def newest_glibc(self) -> tuple[int, ...]:
        """The highest GLIBC version the file asks for, e.g. (2, 17); empty when it asks for none.

        Raises:
            UsageError: when it asks for one that is no number, e.g. GLIBC_PRIVATE.
        """
        asked = [version for version in self.versions if version.startswith("GLIBC_")]
        numbers = [GLIBC.fullmatch(version) for version in asked]
        if not all(numbers):
            raise UsageError(f"the ELF file needs {', '.join(asked)}; only numbered versions of glibc are known.")
        return max((tuple(map(int, number[1].split("."))) for number in numbers if number), default=())


class _BoundedReads(io.BytesIO):
    """A file in memory that can be read so many times, so that no table of a damaged file takes long to go through."""

    reads_left = MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes; raise ValueError where more is read than any model or runner needs."""
        self.reads_left -= 1
        if self.reads_left < 0 or size is None or not 0 <= size <= LARGEST_READ:
            raise ValueError("its tables are larger than those of any model or runner")
        return super().read(size)


def read_elf(data: bytes) -> ElfFile:
    """Read a linked ELF file.

    Args:
        data: the whole file.

    Raises:
        UsageError: when the bytes are no such file, or are truncated or damaged.
    """
    from elftools.common.exceptions import ELFParseError
    from elftools.elf.elffile import ELFFile

    if len(data) < 64 or data[:6] not in HEADS:
        raise UsageError("this is not a little-endian ELF file; its first bytes are wrong.")
    try:
        return _read(ELFFile(_BoundedReads(data)))
    except UsageError:
        raise
    except ELFParseError as error:
        raise UsageError(f"the ELF file of {len(data)} bytes is truncated: a table reaches beyond its end.") from error
    except Exception as error:  # whatever else a damaged file makes the package raise
        raise UsageError(f"the ELF file is damaged: {str(error)[:200] or type(error).__name__}.") from error


def _read(file: ELFFile) -> ElfFile:
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.enums import ENUM_E_MACHINE
    from elftools.elf.segments import InterpSegment

    sections, segments = list(file.iter_sections()), list(file.iter_segments())
    loads = [segment for segment in segments if segment["p_type"] == "PT_LOAD"]
    stacks = [segment for segment in segments if segment["p_type"] == "PT_GNU_STACK"]
    dynamic: list[Any] = next(
        (list(segment.iter_tags()) for segment in segments if isinstance(segment, DynamicSegment)), []
    )
    tags = {tag["d_tag"]: tag["d_val"] for tag in dynamic}
    symbols = [symbol for section in sections if section["sh_type"] == "SHT_DYNSYM" for symbol in _symbols(section)]
    undefined = [symbol for symbol in symbols if symbol["st_shndx"] == "SHN_UNDEF"]
    return ElfFile(
        machine=ENUM_E_MACHINE.get(file["e_machine"], file["e_machine"]),
        needed=tuple(
            _name(tag.needed, tag["d_val"], tags.get("DT_STRSZ", 0)) for tag in dynamic if tag["d_tag"] == "DT_NEEDED"
        ),
        exported=_names(
            it for it in symbols if it["st_shndx"] != "SHN_UNDEF" and it["st_other"]["visibility"] not in HIDDEN
        ),
        undefined=_names(it for it in undefined if it["st_info"]["bind"] != "STB_WEAK"),
        undefined_weak=_names(it for it in undefined if it["st_info"]["bind"] == "STB_WEAK"),
        alignments=tuple(segment["p_align"] for segment in loads),
        versions=tuple(sorted({name for section in sections for name in _versions(section)})),
        initializers=bool(tags.keys() & {"DT_INIT", "DT_INIT_ARRAY"}),
        executable_stack=any(segment["p_flags"] & FLAG_EXECUTE for segment in stacks) or not stacks,
        writable_code=any(segment["p_flags"] & WRITABLE_CODE == WRITABLE_CODE for segment in loads)
        or "DT_TEXTREL" in tags,
        interpreter=next((segment.get_interp_name() for segment in segments if isinstance(segment, InterpSegment)), ""),
    )


def _symbols(section: Any) -> Iterator[Symbol]:
    """Return the symbols of a table that other files see."""
    for symbol in section.iter_symbols():
        _name(symbol.name, symbol["st_name"], section.stringtable["sh_size"])
        if symbol["st_info"]["bind"] != "STB_LOCAL":
            yield symbol


def _names(symbols: Iterable[Symbol]) -> tuple[str, ...]:
    return tuple(sorted(symbol.name for symbol in symbols))


def _versions(section: Any) -> Iterator[str]:
    """Return the symbol versions that a section asks of libraries; only one of the type verneed asks for any."""
    if section["sh_type"] == "SHT_GNU_verneed":
        for _, versions in section.iter_versions():
            for version in versions:
                yield _name(version.name, version["vna_name"], section.stringtable["sh_size"])


def _name(name: str, offset: int, size: int) -> str:
    """Return a name that lies in its string table; pyelftools reads any other place of the file, too."""
    if offset >= size:
        raise UsageError(f"a name lies at {offset}, outside a string table of {size} bytes; the file is damaged.")
    return name
