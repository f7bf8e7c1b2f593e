"""Reading what matters of a 64-bit little-endian ELF file: machine, needed libraries, symbols, page alignment."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from repghost.errors import UsageError

PROGRAM_LOAD, PROGRAM_DYNAMIC, PROGRAM_INTERPRETER, PROGRAM_STACK = 1, 2, 3, 0x6474E551
SECTION_DYNSYM, SECTION_VERNEED = 11, 0x6FFFFFFE
DYNAMIC_NEEDED, DYNAMIC_INIT, DYNAMIC_INIT_ARRAY, DYNAMIC_TEXTREL = 1, 12, 25, 22
FLAG_EXECUTE, FLAG_WRITE = 1, 2
BIND_LOCAL, BIND_WEAK = 0, 2
VISIBILITY_HIDDEN = (1, 2)  # internal and hidden

MACHINE_NAMES = {183: "aarch64", 62: "x86-64", 3: "x86", 40: "arm", 243: "riscv"}


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
    interpreter: bool = False  # started by a loader of the system, so it is not static

    @property
    def newest_glibc(self) -> tuple[int, ...]:
        """The highest GLIBC version the file asks for, e.g. (2, 17); empty when it asks for none."""
        numbers = [version.removeprefix("GLIBC_") for version in self.versions if version.startswith("GLIBC_")]
        return max((tuple(int(part) for part in number.split(".")) for number in numbers), default=())


def _text(table: bytes, offset: int) -> str:
    end = table.find(b"\0", offset)
    if offset >= len(table) or end < 0:
        raise UsageError(f"a name lies at {offset}, outside a string table of {len(table)} bytes; the file is damaged.")
    return table[offset:end].decode("ascii", "replace")


@dataclass(frozen=True)
class _Section:
    kind: int
    offset: int
    size: int
    link: int
    info: int


class _Reader:
    """Tables of one ELF file; every access outside the file is an error."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 64 or data[:6] != b"\x7fELF\x02\x01":
            raise UsageError("this is not a 64-bit little-endian ELF file; its first bytes are wrong.")
        self.data = data
        (self.machine,) = self.unpack("<H", 18)
        program_offset, section_offset = self.unpack("<QQ", 32)
        entry_size, count, section_size, section_count = self.unpack("<HHHH", 54)
        self.programs = [self.unpack("<IIQQQQQQ", program_offset + i * entry_size) for i in range(count)]
        rows = [self.unpack("<IIQQQQIIQQ", section_offset + i * section_size) for i in range(section_count)]
        self.sections = [_Section(row[1], row[4], row[5], row[6], row[7]) for row in rows]

    def unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        """Read numbers at `offset`."""
        if offset + struct.calcsize(layout) > len(self.data):
            raise UsageError(f"the ELF file of {len(self.data)} bytes is truncated: a table reaches beyond its end.")
        return struct.unpack_from(layout, self.data, offset)

    def content(self, section: _Section) -> bytes:
        """Return the bytes of a section."""
        if section.offset + section.size > len(self.data):
            raise UsageError(f"the ELF file of {len(self.data)} bytes is truncated: a section reaches beyond its end.")
        return self.data[section.offset : section.offset + section.size]

    def strings_of(self, section: _Section) -> bytes:
        """Return the string table that a section's names lie in."""
        if section.link >= len(self.sections):
            raise UsageError("the ELF file is damaged: a section refers to a string table that does not exist.")
        return self.content(self.sections[section.link])


def _dynamic(reader: _Reader) -> list[tuple[int, int]]:
    for kind, _, offset, _, _, size, *_ in reader.programs:
        if kind == PROGRAM_DYNAMIC:
            rows = [reader.unpack("<QQ", at) for at in range(offset, offset + size - 15, 16)]
            return [(tag, value) for tag, value in rows if tag]
    return []


def _symbols(reader: _Reader) -> tuple[list[str], list[str], list[str]]:
    exported: list[str] = []
    undefined: list[str] = []
    weak: list[str] = []
    for section in reader.sections:
        if section.kind != SECTION_DYNSYM:
            continue
        names = reader.strings_of(section)
        for at in range(section.offset + 24, section.offset + section.size, 24):
            name, info, other, index = reader.unpack("<IBBH", at)
            binding = info >> 4
            if binding == BIND_LOCAL:
                continue
            if index == 0:
                (weak if binding == BIND_WEAK else undefined).append(_text(names, name))
            elif other & 3 not in VISIBILITY_HIDDEN:
                exported.append(_text(names, name))
    return exported, undefined, weak


def _versions(reader: _Reader) -> list[str]:
    found = []
    for section in reader.sections:
        if section.kind != SECTION_VERNEED:
            continue
        names, at = reader.strings_of(section), section.offset
        for _ in range(section.info):
            _, count, _, first, step = reader.unpack("<HHIII", at)
            entry = at + first
            for _ in range(count):
                _, _, _, name, following = reader.unpack("<IHHII", entry)
                found.append(_text(names, name))
                entry += following
            at += step
    return found


def read_elf(data: bytes) -> ElfFile:
    """Read a linked ELF file.

    Args:
        data: the whole file.

    Raises:
        UsageError: when the bytes are no such file, or are truncated.
    """
    reader = _Reader(data)
    dynamic = _dynamic(reader)
    dynamic_names = next((reader.strings_of(s) for s in reader.sections if s.kind == SECTION_DYNSYM), b"")
    exported, undefined, weak = _symbols(reader)
    loads = [row for row in reader.programs if row[0] == PROGRAM_LOAD]
    stacks = [row for row in reader.programs if row[0] == PROGRAM_STACK]
    tags = {tag for tag, _ in dynamic}
    return ElfFile(
        machine=reader.machine,
        needed=tuple(_text(dynamic_names, value) for tag, value in dynamic if tag == DYNAMIC_NEEDED),
        exported=tuple(sorted(exported)),
        undefined=tuple(sorted(undefined)),
        undefined_weak=tuple(sorted(weak)),
        alignments=tuple(row[7] for row in loads),
        versions=tuple(sorted(set(_versions(reader)))),
        initializers=bool(tags & {DYNAMIC_INIT, DYNAMIC_INIT_ARRAY}),
        executable_stack=any(row[1] & FLAG_EXECUTE for row in stacks) or not stacks,
        writable_code=any(row[1] & FLAG_EXECUTE and row[1] & FLAG_WRITE for row in loads) or DYNAMIC_TEXTREL in tags,
        interpreter=any(row[0] == PROGRAM_INTERPRETER for row in reader.programs),
    )
