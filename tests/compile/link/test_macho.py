"""What is linked for macOS, by its headers: nobody of us has run it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from compile.link.macho import BUILD_VERSION, HEADER, SIGNATURE, check_library, check_runner, link_library, read_macho
from compile.link.promises import API
from compile.link.toolchain import RUNNER_SOURCES, RUNNER_UNITS
from compile.link.zig import run_zig
from compile.targets.table import MACOS
from repghost.errors import UsageError
from tests.support.fake_bundle import fake_info
from tests.support.fake_network import fake_network

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def library() -> bytes:
    return link_library(fake_network(MACOS), MACOS, fake_info())


def command(data: bytes, number: int) -> int:
    """Return where a load command begins."""
    at = HEADER.size
    while struct.unpack_from("<I", data, at) != (number,):
        at += struct.unpack_from("<I", data, at + 4)[0]
    return at


def test_the_library_is_signed_and_needs_no_other_but_that_of_the_system(library: bytes) -> None:
    file = read_macho(library)
    assert {*API} <= {*file.exported} and file.needed == ("/usr/lib/libSystem.B.dylib",)
    assert (file.oldest_system, file.signed, file.writable_code, file.aligned) == ((11, 0), True, False, True)
    assert link_library(fake_network(MACOS), MACOS, fake_info()) == library


def test_what_is_not_promised_is_refused(library: bytes) -> None:
    with pytest.raises(UsageError, match="repghost-run is a Mach-O file of kind 6, not 2"):
        check_runner(library, MACOS)
    changes = {
        "not signed": (command(library, SIGNATURE), 0x2B),
        "needs macOS": (command(library, BUILD_VERSION) + 12, 13 << 16),
    }
    for words, (place, number) in changes.items():
        with pytest.raises(UsageError, match=words):
            check_library(library[:place] + struct.pack("<I", number) + library[place + 4 :], MACOS)
    renamed = library.replace(b"_rg_infer\0", b"_rx_infer\0")
    assert renamed != library
    with pytest.raises(UsageError, match=r"model\.dylib exports rx_infer; it must export"):
        check_library(renamed, MACOS)


def test_any_damage_is_a_sentence(library: bytes) -> None:
    for size in (0, 20, 200, 900, len(library) // 2):
        with pytest.raises(UsageError, match=r"is no Mach-O file|is damaged|not signed|exports"):
            check_library(library[:size], MACOS)
    for place in range(0, 1500, 37):
        damaged = library[:place] + b"\xff" * 4 + library[place + 4 :]
        try:
            check_library(damaged, MACOS)
        except UsageError:
            continue


def test_the_runner_compiles_for_macos(tmp_path: Path) -> None:
    units = [str(RUNNER_SOURCES / unit) for unit in (*RUNNER_UNITS, "inference/loader_system.c")]
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-D_DARWIN_C_SOURCE", f"-I{RUNNER_SOURCES}", "-c"]
    run_zig(["cc", *MACOS.zig_target(), *flags, *units], cwd=tmp_path)
