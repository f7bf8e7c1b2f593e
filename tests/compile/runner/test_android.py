"""The bundle for Android: a static runner with a loader of its own, which any Linux kernel on arm64 starts."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from compile.bundle.manifest import write_bundle
from compile.link.elf import read_elf
from compile.link.promises import check_model, check_runner
from compile.link.toolchain import LARGEST_PAGE
from compile.machine.emulator import Emulator
from compile.machine.replay import verify_bundle
from compile.targets.table import ANDROID, ARM64
from repghost.errors import UsageError
from tests.support.classify import classify, expected, scores, written
from tests.support.fake_bundle import fake_files, fake_sections
from tests.support.reseal import reseal

pytestmark = pytest.mark.slow  # the bundle is linked with a C library of its own

HEADER, PROGRAM = 64, 56  # bytes of the ELF header and of one row of its table of segments


@pytest.fixture(scope="session")
def android_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("android") / "bundle"
    write_bundle(path, fake_files(ANDROID), fake_sections(ANDROID))
    return path


def test_the_runner_needs_nothing_of_the_system(android_bundle: Path, arm64_bundle: Path) -> None:
    data = (android_bundle / "repghost-run").read_bytes()
    elf = check_runner(data, ANDROID)
    assert (elf.needed, elf.undefined, elf.versions, elf.interpreter) == ((), (), (), "")
    assert set(elf.alignments) == {LARGEST_PAGE}
    assert not elf.executable_stack
    with pytest.raises(UsageError, match="has to be static"):
        check_runner((arm64_bundle / "repghost-run").read_bytes(), ANDROID)


def test_the_library_is_for_androids_linker(android_bundle: Path) -> None:
    elf = check_model((android_bundle / "model.so").read_bytes(), ANDROID)
    assert (elf.needed, elf.undefined, elf.initializers) == ((), (), False)
    assert set(elf.undefined_weak) <= {"getauxval"}


def test_each_core_chooses_its_variant(android_bundle: Path, emulator: Emulator) -> None:
    found = [replay.variant for replay in verify_bundle(android_bundle, emulator=emulator).replays]
    assert found[:3] == ["neon", "dot", "i8mm"]


def test_images_get_the_scores_of_python(
    android_bundle: Path, host_bundle: Path, emulator: Emulator, tmp_path: Path
) -> None:
    files, command = written(tmp_path), emulator.command("cortex-a76")
    done = classify(android_bundle, "--top", "10", "--threads", "2", *files.values(), prefix=tuple(command))
    assert done.returncode == 0, done.stderr
    for line, path in zip(done.stdout.splitlines(), files.values(), strict=True):
        assert scores(line) == dict(enumerate(expected(host_bundle, path).tolist())), path.name


def loaded_like(library: bytes, index: int) -> int:
    """Where the table of segments says that segment `index` begins."""
    return int(struct.unpack_from("<Q", library, 32)[0]) + index * PROGRAM


def segment(library: bytes, kind: int) -> int:
    """The offset of the first row of a kind in the table of segments."""
    count = struct.unpack_from("<H", library, 56)[0]
    rows = [loaded_like(library, index) for index in range(count)]
    return next(row for row in rows if struct.unpack_from("<I", library, row) == (kind,))


def tag_value(library: bytes, tag: int) -> int:
    """The offset of the value of a tag in the dynamic table."""
    row = segment(library, 2)
    start, size = struct.unpack_from("<8xQ16xQ", library, row)
    return next(at + 8 for at in range(start, start + size, 16) if struct.unpack_from("<Q", library, at) == (tag,))


def code(library: bytes) -> int:
    """The offset of the row of the segment that is executed."""
    rows = [loaded_like(library, index) for index in range(struct.unpack_from("<H", library, 56)[0])]
    return next(row for row in rows if struct.unpack_from("<II", library, row) == (LOAD, 5))


LOAD, DYNAMIC, TLS, STACK, RELRO = 1, 2, 7, 0x6474E551, 0x6474E552
HASH, STRTAB, SYMTAB, STRSZ, RELA, RELASZ = 4, 5, 6, 10, 7, 8
DAMAGES = {
    "no ELF": (lambda lib: 0, b"\x7fELG", "no ELF file"),
    "32 bits": (lambda lib: 4, b"\x01", "no library for this machine"),
    "another machine": (lambda lib: 18, b"\x3e\0", "no library for this machine"),
    "no segments": (lambda lib: 56, b"\0\0", "table of segments"),
    "many segments": (lambda lib: 56, b"\xff\xff", "table of segments"),
    "table outside": (lambda lib: 32, struct.pack("<Q", 1 << 40), "truncated"),
    "huge segment": (lambda lib: segment(lib, LOAD) + 40, struct.pack("<Q", 1 << 62), "a segment is damaged"),
    "segment beyond the file": (lambda lib: segment(lib, LOAD) + 8, struct.pack("<Q", 1 << 30), "a segment is damaged"),
    "writable code": (lambda lib: segment(lib, LOAD) + 4, struct.pack("<I", 7), "writable and executable"),
    "tables that can be written": (lambda lib: segment(lib, LOAD) + 4, struct.pack("<I", 6), "no table of symbols"),
    "no dynamic table": (lambda lib: segment(lib, DYNAMIC), struct.pack("<I", 9), "no table of symbols"),
    "hash outside": (lambda lib: tag_value(lib, HASH), struct.pack("<Q", 1 << 50), "no table of symbols"),
    "symbols outside": (lambda lib: tag_value(lib, SYMTAB), struct.pack("<Q", 1 << 50), "symbols is damaged"),
    "names outside": (lambda lib: tag_value(lib, STRTAB), struct.pack("<Q", 1 << 33), "symbols is damaged"),
    "names without end": (lambda lib: tag_value(lib, STRSZ), struct.pack("<Q", 1 << 62), "symbols is damaged"),
    "part of a relocation": (lambda lib: tag_value(lib, RELASZ), struct.pack("<Q", 25), "relocations are damaged"),
    "segments that overlap": (lambda lib: code(lib) + 8, struct.pack("<QQ", 0, 0), "segments overlap"),
    "data of threads": (lambda lib: segment(lib, STACK), struct.pack("<I", TLS), "data of each thread"),
    "two dynamic tables": (lambda lib: segment(lib, STACK), struct.pack("<I", DYNAMIC), "several dynamic tables"),
    "sealed below": (lambda lib: segment(lib, RELRO) + 16, struct.pack("<Q", 2**64 - 2**21), "to be sealed is no data"),
    "sealed outside": (lambda lib: segment(lib, RELRO) + 40, struct.pack("<Q", 1 << 28), "to be sealed is no data"),
    "sealed all": (
        lambda lib: segment(lib, RELRO) + 16,
        struct.pack("<QQQQ", 0, 0, 0, 1 << 21),
        "to be sealed is no data",
    ),
    "relocations outside": (lambda lib: tag_value(lib, RELA), struct.pack("<Q", 1 << 50), "relocations are damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_library_with_a_fitting_digest_is_not_loaded(
    android_bundle: Path, emulator: Emulator, tmp_path: Path, name: str
) -> None:
    where, change, message = DAMAGES[name]
    bundle = Path(shutil.copytree(android_bundle, tmp_path / "copy"))
    library = bytearray((bundle / "model.so").read_bytes())
    at = where(bytes(library))
    library[at : at + len(change)] = change
    reseal(bundle, "model.so", bytes(library))
    command = [*emulator.command("cortex-a53"), str(bundle / "repghost-run"), "--info"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4, done.stderr
    assert message in done.stderr


def test_what_it_is_for_is_said(android_bundle: Path, emulator: Emulator) -> None:
    command = [*emulator.command("cortex-a53"), str(android_bundle / "repghost-run"), "--info"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["variant"] == "neon"
    assert read_elf((android_bundle / "model.so").read_bytes()).machine == ARM64.elf_machine
