"""The symbols of a WebAssembly object file; the format is that of the tool conventions, Linking.md."""

from __future__ import annotations

from collections.abc import Iterator

from compile.link.wasm import IMPORTS, read_names, read_number, read_sections

CUSTOM, SYMBOL_TABLE = 0, 8  # the section and its part that hold them
FUNCTION, DATA, GLOBAL, SECTION = 0, 1, 2, 3
LOCAL, UNDEFINED, NAMED = 0x02, 0x10, 0x40  # flags
OF_LINKER = {"__stack_pointer"}  # what a linker itself defines


def wasm_symbols(data: bytes) -> tuple[set[str], set[str]]:
    """Return the global symbols an object defines, and those it needs."""
    sections = list(read_sections(data))
    imported = [name.partition(".")[2] for name, kind in _imports(sections) if kind == FUNCTION]
    defined, needed = set(), set()
    for name, flags in _symbols(next(_linking(sections)), imported):
        if not flags & LOCAL:
            (needed if flags & UNDEFINED else defined).add(name)
    return defined, needed - OF_LINKER


def _imports(sections: list[tuple[int, bytes]]) -> Iterator[tuple[str, int]]:
    for number, content in sections:
        if number == IMPORTS:
            yield from read_names(content, pairs=True)


def _linking(sections: list[tuple[int, bytes]]) -> Iterator[bytes]:
    """Yield the symbol tables of the section "linking"."""
    for number, content in sections:
        size, at = read_number(content, 0)
        if number != CUSTOM or content[at : at + size] != b"linking":
            continue
        at = read_number(content, at + size)[1]  # behind the version
        while at < len(content):
            kind, (size, at) = content[at], read_number(content, at + 1)
            if kind == SYMBOL_TABLE:
                yield content[at : at + size]
            at += size


def _symbols(table: bytes, imported: list[str]) -> Iterator[tuple[str, int]]:
    """Yield the name and the flags of each symbol; an imported function that bears no name has that of its import."""
    count, at = read_number(table, 0)
    for _ in range(count):
        kind, (flags, at) = table[at], read_number(table, at + 1)
        if kind == SECTION:
            at = read_number(table, at)[1]
            continue
        index = 0
        if kind != DATA:
            index, at = read_number(table, at)
        if kind == DATA or flags & NAMED or not flags & UNDEFINED:
            size, at = read_number(table, at)
            name = table[at : at + size].decode()
            at += size
        else:
            name = imported[index] if kind == FUNCTION else "__stack_pointer"
        if kind == DATA and not flags & UNDEFINED:
            for _ in range(3):  # segment, offset, size
                at = read_number(table, at)[1]
        yield name, flags
