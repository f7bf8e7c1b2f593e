from __future__ import annotations

import hashlib
import random
import re
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from compile.link import toolchain
from compile.link.elf import read_elf
from compile.link.promises import API, check_model, check_runner
from compile.link.toolchain import RUNNER_SOURCES, build_runner, link_model, model_sources
from compile.link.zig import run_zig
from compile.machine.emulator import Emulator
from compile.targets.table import ARM64, X86_64, Target
from repghost.errors import ToolMissingError, UsageError
from tests.support.fake_bundle import fake_info
from tests.support.fake_network import SOURCE, fake_network

FOREIGN_CALL = SOURCE.replace(
    "if (step != 1) return 1;", "extern double sin(double); if (step != 1) return (int)sin(step);"
)
CONSTRUCTOR = SOURCE + "static volatile int ready; __attribute__((constructor)) static void begin(void) { ready = 1; }"


def test_the_sources_of_a_model_are_all_that_its_units_include() -> None:
    """They name the model in the cache: a header that is missing would leave a stale model.so there."""
    sources = model_sources()
    included = {name for path in sources for name in re.findall(r'#include "([^"]+)"', path.read_text())}
    assert {RUNNER_SOURCES / name for name in included if (RUNNER_SOURCES / name).exists()} <= set(sources)
    assert {"library/hwcaps.h", "library/resample.h"} <= included


@pytest.mark.slow
@pytest.mark.parametrize("target", [ARM64, X86_64], ids=lambda target: target.name)
def test_model_keeps_its_promises_and_is_reproducible(target: Target) -> None:
    network = fake_network(target)
    data = link_model(network, target, fake_info())
    elf = check_model(data, target)
    assert elf.exported == API
    assert (elf.needed, elf.undefined, elf.versions, elf.initializers) == ((), (), (), False)
    assert all(alignment % (16 * 1024) == 0 for alignment in elf.alignments)
    assert link_model(network, target, fake_info()) == data
    assert b"/tmp/" not in data
    assert str(RUNNER_SOURCES).encode() not in data


def test_weights_are_aligned_to_a_cache_line() -> None:
    network = fake_network(X86_64)
    blobs = {"weights": network.blobs["weights"], "odd": b"\x55" * 3, "sixteen": b"0123456789abcdef" * 3}
    data = link_model(replace(network, blobs=blobs), X86_64, fake_info())
    for blob in blobs.values():
        assert data.index(blob) % 64 == 0


def test_runner_starts_on_old_systems(host_files: dict[str, bytes], host: Target) -> None:
    elf = check_runner(host_files["repghost-run"], host)
    assert elf.newest_glibc <= (2, 17)
    assert not any("zig" in name for name in elf.needed)


@pytest.mark.parametrize(
    ("source", "message"),
    [(FOREIGN_CALL, "calls functions it does not hold: sin"), (CONSTRUCTOR, "runs code while it is loaded")],
)
def test_broken_promises_are_named(source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        link_model(fake_network(X86_64, source), X86_64, fake_info())


def test_wrong_machine_is_named(host_files: dict[str, bytes], host: Target) -> None:
    other = X86_64 if host is ARM64 else ARM64
    with pytest.raises(UsageError, match=f"target {other.name} was asked for"):
        check_model(host_files["model.so"], other)
    with pytest.raises(UsageError, match="machine"):
        check_runner(host_files["repghost-run"], other)


def test_a_runner_that_needs_a_newer_glibc_is_refused(host_files: dict[str, bytes], host: Target) -> None:
    runner = host_files["repghost-run"]
    assert runner.count(b"GLIBC_2.17\0") == 1
    with pytest.raises(UsageError, match=r"needs glibc 2\.28"):
        check_runner(runner.replace(b"GLIBC_2.17\0", b"GLIBC_2.28\0"), host)


def test_small_pages_are_refused(host_files: dict[str, bytes], host: Target) -> None:
    data = bytearray(host_files["model.so"])
    (offset,) = struct.unpack_from("<Q", data, 32)
    for index in range(struct.unpack_from("<H", data, 56)[0]):
        at = offset + index * 56
        if struct.unpack_from("<I", data, at) == (1,):
            struct.pack_into("<Q", data, at + 48, 4096)
    with pytest.raises(UsageError, match="16 KB pages"):
        check_model(bytes(data), host)


def test_damaged_elf_files_are_errors_not_crashes(host_files: dict[str, bytes]) -> None:
    data = host_files["model.so"]
    chance = random.Random(5)
    for size in (0, 1, 63, 64, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(UsageError):
            read_elf(data[:size])
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(4):
            damaged[chance.randrange(64)] = chance.randrange(256)
        try:
            read_elf(bytes(damaged))
        except UsageError as error:
            assert str(error)


def test_missing_linker_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(ToolMissingError, match="pip install ziglang"):
        run_zig(["version"])


def test_compiler_errors_are_shown(tmp_path: Path) -> None:
    unit = tmp_path / "wrong.c"
    unit.write_text("int main(void) { return not_there; }\n")
    with pytest.raises(UsageError, match="not_there"):
        run_zig(["cc", "-c", str(unit), "-o", str(tmp_path / "wrong.o")])


def test_a_linker_that_writes_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    network = fake_network(X86_64)
    monkeypatch.setattr(toolchain, "run_zig", lambda *arguments, **options: "")
    with pytest.raises(UsageError, match=r"wrote no (model\.so|unit\.o)"):
        link_model(network, X86_64, fake_info())
    with pytest.raises(UsageError, match=r"wrote no (repghost-run|decode\.o)"):
        build_runner(X86_64)


UNITS = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bundle/json.h"
#include "bundle/sha256.h"
int main(int count, char **arguments) {
  static char text[1 << 22];
  size_t size = fread(text, 1, sizeof text - 1, stdin);
  if (count > 1 && !strcmp(arguments[1], "sha256")) {
    char hex[SHA256_HEX + 1];
    sha256_hex((const unsigned char *)text, size, hex);
    puts(hex);
    return 0;
  }
  const char *error = NULL;
  struct json *value = json_parse(text, size, &error);
  if (!value) { puts(error ? error : "no message"); return 1; }
  const struct json *a = json_member(value, "a");
  if (a && a->kind == JSON_STRING) puts(a->string);
  if (a && a->kind == JSON_NUMBER) printf("%.17g\\n", a->number);
  return 0;
}
"""


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory, host: Target) -> Path:
    folder = tmp_path_factory.mktemp("units")
    (folder / "units.c").write_text(UNITS)
    sources = [str(folder / "units.c"), *(str(RUNNER_SOURCES / name) for name in ("bundle/json.c", "bundle/sha256.c"))]
    # The sanitizer zig has at hand turns undefined behaviour into a crash that the tests see.
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O1", f"-I{RUNNER_SOURCES}"]
    flags += ["-fsanitize=undefined", "-fsanitize-trap=undefined"]
    run_zig(["cc", "-target", host.zig_triple, *flags, *sources, "-lm", "-o", str(folder / "units")])
    return folder / "units"


def feed(program: Path, data: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(program), *arguments], input=data, capture_output=True, timeout=20, check=False)


@pytest.mark.parametrize("size", [0, 1, 3, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000, 1 << 20])
def test_sha256_equals_the_standard_library(units: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert feed(units, data, "sha256").stdout.decode().strip() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": "x"}', "x"),
        ('{"a": "\\u00e4\\ud83d\\ude00\\n"}', "ä😀\n"),
        ('{"b": [1, {"a": 2}], "a": -1.5e3}', "-1500"),
        (' \n{"a"\t:\r0}\n', "0"),
        ('{"a": "ä"}', "ä"),
        ('{"a": "\\"\\\\\\/\\b\\f\\r\\t"}', '"\\/\b\f\r\t'),
    ],
)
def test_json_reader_accepts(units: Path, text: str, expected: str) -> None:
    done = feed(units, text.encode())
    assert done.returncode == 0, done.stdout
    assert done.stdout.decode() == expected + "\n"


REFUSED = {
    "empty": "",
    "space": " ",
    "two values": "{} {}",
    "duplicate key": '{"a": 1, "a": 2}',
    "duplicate key, escaped": '{"b": 0, "a": 1, "c": 3, "\\u0061": 2}',
    "trailing comma": '{"a": 1,}',
    "trailing comma in array": "[1,]",
    "no colon": '{"a" 1}',
    "no value": '{"a":}',
    "open object": '{"a": 1',
    "open array": "[1",
    "open string": '{"a": "x',
    "bare key": "{a: 1}",
    "single quotes": "{'a': 1}",
    "comment": '{"a": 1} // x',
    "word": "nul",
    "not a number": "NaN",
    "infinity": '{"a": Infinity}',
    "overflow": '{"a": 1e999}',
    "plus": "+1",
    "leading zero": '{"a": 01}',
    "point without digits": '{"a": 1.}',
    "exponent without digits": '{"a": 1e}',
    "hexadecimal": '{"a": 0x10}',
    "long number": '{"a": ' + "1" * 100 + "}",
    "raw newline in string": '{"a": "x\ny"}',
    "wrong escape": '{"a": "\\x41"}',
    "escape at the end": '"\\',
    "short unicode escape": '{"a": "\\u12"}',
    "lone surrogate": '{"a": "\\ud800"}',
    "wrong surrogate pair": '{"a": "\\ud800\\u0041"}',
    "zero character": '{"a": "\\u0000"}',
    "depth bomb": "[" * 100000,
    "object bomb": '{"a":' * 100000,
    "closed deep": "[" * 40 + "]" * 40,
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_json_reader_refuses(units: Path, text: str) -> None:
    done = feed(units, text.encode())
    assert done.returncode == 1, f"code {done.returncode}: {done.stdout!r}"
    assert done.stdout.strip()


def test_json_reader_takes_a_large_manifest_at_once(units: Path) -> None:
    # One megabyte, the most that a manifest may have: many keys, which all begin alike, and many short strings.
    keys = ",".join(f'"{"k" * 8}{index}":""' for index in range(55_000))
    for text in ("{" + keys + "}", '{"a":[' + ",".join(['""'] * 340_000) + "]}"):
        assert 1_000_000 < len(text) < 1 << 20
        command = ["sh", "-c", 'ulimit -v 100000; ulimit -t 5; exec "$0"', str(units)]
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, b""), done.stderr
    done = feed(units, b"{" + keys.encode() + b',"kkkkkkkk7":""}')
    assert (done.returncode, done.stdout) == (1, b"a key stands twice in one object\n")


def test_json_reader_survives_mutations(units: Path) -> None:
    base = b'{"files": {"model.so": {"sha256": "00ff", "size": 12}}, "a": ["\\u00e4", -1.5e3, true, null]}'
    chance = random.Random(3)
    for _ in range(150):
        data = bytearray(base)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        assert feed(units, bytes(data[: chance.randrange(len(data) + 1)])).returncode in (0, 1)


def test_emulator_names_its_version(emulator: Emulator) -> None:
    assert "qemu" in emulator.version()
    assert "cortex-a53" in emulator.command("cortex-a53")
