"""A machine without memory, a place for temporary files, a writable checkout or a right clock: it works or says why."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from compile.codegen.kernel_compiler import KernelCompiler
from compile.storage.kernel_store import KernelStore
from compile.storage.stage_cache import StageCache
from repghost import address_space, bundled
from repghost.cli import LazyGroup, cli
from repghost.errors import is_out_of_memory
from repghost.files import write_bytes_atomically
from tests.compile.codegen.test_kernel_compiler import source
from tests.support import ROOT

CARRIED = bundled.DATA
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def python(code: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=600, check=False, cwd=cwd)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> Result:
    """Return what the command line says of an error in a command."""

    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(LazyGroup, "get_command", lambda self, context, name: command)
    return CliRunner().invoke(cli, ["export"])


# Memory.

# One process imports what a run loads; for each limit a child of it calibrates.
LIMITED = """
import os, resource, sys
import safetensors.torch, tqdm, repghost.api.quantization, repghost.commands.quantization.quantize
import calib.importer.import_module, calib.quantize, calib.ptq.search_settings
from repghost.cli import cli
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) << 10
for megabytes in sys.argv[1].split():
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(megabytes, os.O_WRONLY | os.O_CREAT), 2)
        limit = used + (int(megabytes) << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        cli.main(sys.argv[2:])
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_calibration_without_memory_ends_with_a_sentence(tmp_path: Path) -> None:
    checkpoint, output = CARRIED / "repghostnet_0_5x.safetensors", tmp_path / "m.qdq.onnx"
    command = ["quantize", checkpoint, "--data", CARRIED, "-o", output, "--images", "128"]
    limits = ("4", "30", "150")
    done = python(LIMITED, " ".join(limits), *command, cwd=tmp_path)
    assert done.stdout.split() == ["2"] * len(limits), done.stderr
    assert {path.name for path in tmp_path.iterdir()} == set(limits)  # what each said, and nothing else
    for limit in limits:
        said = (tmp_path / limit).read_text()
        last = said.strip().splitlines()[-1]
        assert "Traceback" not in said
        assert last.startswith("error: out of memory (") and "fewer pictures" in last and "'ulimit -v' allows" in last


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [1024, 3072])
def test_a_limit_below_what_libraries_take_ends_with_a_sentence(megabytes: int, tmp_path: Path) -> None:
    words = ["quantize", CARRIED / "repghostnet_0_5x.safetensors", "--data", CARRIED, "-o", "m.onnx", "--images", "8"]
    done = subprocess.run(
        ["sh", "-c", f'ulimit -v {megabytes << 10}; exec "$@"', "sh", sys.executable, "-m", "repghost.cli", *words],
        capture_output=True,
        text=True,
        env={name: value for name, value in ENVIRONMENT.items() if name != "OPENBLAS_NUM_THREADS"},
        timeout=600,
        check=False,
        cwd=tmp_path,
    )
    assert "Traceback" not in done.stderr
    # How much PyTorch takes depends on how it was built.
    assert done.returncode == 0 or (done.returncode == 2 and "error: out of memory (" in done.stderr), done.stderr


def test_a_library_that_ends_the_process_is_tried_in_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, code in (("ends_at_once", "import os\nos.kill(os.getpid(), 9)\n"), ("loads", "")):
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(address_space, "limit_bytes", lambda: 1 << 40)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    for name in ("ends_at_once", "loads"):
        monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
        monkeypatch.setattr(address_space, "LARGE", name)
        address_space.prepare()
        if name == "loads":
            assert importlib.import_module(name).__name__ == "loads"
        else:
            with pytest.raises(MemoryError, match="PyTorch cannot be loaded") as caught:
                importlib.import_module(name)
            assert "fewer pictures" not in failing(monkeypatch, caught.value).output
    assert address_space._RESERVE
    address_space.release()
    assert not address_space._RESERVE


WORDS = {  # of PyTorch on a CPU and on a GPU, C++, oneDNN, the dynamic loader, numpy, the system
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"): True,
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."): True,
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."): True,
    RuntimeError("std::bad_alloc"): True,
    RuntimeError("could not create a primitive"): True,
    ImportError("libtorch.so: failed to map segment from shared object"): True,
    MemoryError("Unable to allocate 512. KiB"): True,
    OSError(12, "Cannot allocate memory"): True,
    OSError("out of memory error when reading image file"): True,
    zlib.error("Error -4 while decompressing data"): True,
    zlib.error("Error -3 while decompressing data: invalid block type"): False,
    OSError(28, "No space left on device"): False,
    OSError(2, "No such file", "out of memory.png"): False,
    RuntimeError("could not create a primitive descriptor for a convolution"): False,
    ValueError("x"): False,
}


@pytest.mark.parametrize(("error", "is_memory"), WORDS.items(), ids=[str(error)[:30] for error in WORDS])
def test_libraries_that_have_no_memory_are_understood(
    error: Exception, is_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_out_of_memory(error) == is_memory
    result = failing(monkeypatch, error)
    assert (result.exit_code == 2 and "error: out of memory (" in result.output) == is_memory


# Temporary files.


def test_a_folder_for_temporary_files_that_is_not_there_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with KernelCompiler(1, KernelStore(None)) as compiler:
        assert compiler.submit(source()).result()[:4] == b"\x7fELF"


def test_without_any_folder_for_temporary_files_the_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "absent")])
    with pytest.raises(FileNotFoundError) as caught, KernelCompiler(1, KernelStore(None)) as compiler:
        compiler.submit(source()).result()
    result = failing(monkeypatch, caught.value)
    assert result.exit_code == 2
    assert "No usable temporary directory found in" in result.output and "TMPDIR=FOLDER" in result.output
    # What is written for the user lies beside its place, and needs no other folder.
    write_bytes_atomically(tmp_path / "file", b"content")
    assert StageCache(tmp_path / "cache").get("stage", {}, lambda: {"a": b"b"}) == ({"a": b"b"}, False)


# A checkout that cannot be written, e.g. of another user, or in the image of a container.

READ_ONLY = """
import errno, os, sys
tree = sys.argv[1] + "/"
kept = tree + ".pytest_cache"  # where tests keep kernels, which a user has elsewhere
CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate"}

def hook(event, arguments):
    if event == "open":
        writes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    else:
        writes = event in CHANGES
    for path in map(str, arguments[:2]) if writes else ():
        if path.startswith(tree) and not path.startswith(kept):
            raise OSError(errno.EROFS, "Read-only file system", path)

sys.addaudithook(hook)
try:
    open(tree + "build.txt", "w")
except OSError as error:
    assert error.errno == errno.EROFS
else:
    sys.exit("the hook is blind")
from repghost.cli import cli
cli.main(sys.argv[2:])
"""


@pytest.mark.slow
def test_everything_up_to_the_bundle_works_from_a_checkout_that_cannot_be_written(tmp_path: Path) -> None:
    build = ["compile", "--target", "host", "--weights", "random", "--width", "0.1", "--size", "32", "--no-fetch"]
    done = python(READ_ONLY, ROOT, *build, "--precision", "int8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "build" / "repghostnet_0_1x-32px-random" / "report.json").is_file()


# A clock that goes back.


@pytest.mark.parametrize("seconds", [1, 1 << 33], ids=["1970", "2242"])
def test_what_is_kept_is_found_by_what_it_is_and_not_by_its_time(seconds: int, tmp_path: Path) -> None:
    cache, store = StageCache(tmp_path / "cache"), KernelStore(tmp_path / "kernels")
    cache.get("stage", {"x": 1}, lambda: {"a": b"content"})
    store.put("a" * 64, b"code")
    for path in tmp_path.rglob("*"):
        os.utime(path, (seconds, seconds))
    assert cache.get("stage", {"x": 1}, lambda: {"a": b"other"}) == ({"a": b"content"}, True)
    store.shrink()
    assert store.get("a" * 64) == b"code"
