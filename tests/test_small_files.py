"""Small files that promise much: each is refused with a sentence by a process that has a gigabyte to spare."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.support import ROOT
from tests.support.networks import network
from tests.support.weight_bytes import torch_bytes

PROMISED = 6 << 30
# Everything is imported before the limit is set: torch alone maps 2 GB. All files are read by one process.
CHILD = """
import json, resource, sys
import torch, numpy, PIL.Image, tqdm
from click.testing import CliRunner
import repghost.checkpoints.checkpoint, repghost.validation.validate, repghost.data
from repghost.cli import cli
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + (1 << 30),) * 2)
for name, arguments in json.loads(sys.argv[1]).items():
    result = CliRunner().invoke(cli, arguments)
    print(json.dumps([name, result.exit_code, result.output, repr(result.exception)]), flush=True)
"""


class Calls:
    """A pickle that calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def zipped(start: bytes, repeated: bytes, times: int) -> bytes:
    """Return a gzip file of `start` and then the same megabytes again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(repeated) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + first + block * times + packer.flush() + bytes(8)


def header(kind: bytes, size: int) -> bytes:
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def many_tensors() -> bytes:
    entry = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    text = ("{" + ",".join(entry % number for number in range(70_000)) + "}").encode()
    return struct.pack("<Q", len(text)) + text


def numpy_array(shape: tuple[int, ...]) -> object:
    """A pickled array that begins as large as it likes, before its values come."""
    return Calls(torch.tensor(0).numpy().__reduce__()[0], type(torch.tensor(0).numpy()), shape, b"b")


ZEROS = bytes(16 << 20)
IMAGES = b"\0\0\x08\x03" + struct.pack(">III", 1, 28, 28) + bytes(784)
CHECKPOINTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "bytearray": (lambda: torch_bytes({"a": Calls(bytearray, PROMISED)}), "asks for '__builtin__.bytearray'"),
    "storage": (lambda: torch_bytes({"a": Calls(torch.FloatStorage, PROMISED // 4)}), "asks for 'torch.FloatStorage'"),
    "tensors": (many_tensors, "holds 70000 entries"),
}
SETS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "memo": ("test_batch", lambda: b"\x80\x02Nr" + struct.pack("<I", 0x18000000) + b".", "at place 402653184"),
    "array": ("test_batch", lambda: pickle.dumps({b"data": numpy_array((PROMISED,))}, 2), "not a batch of CIFAR-10"),
    "long name": ("a.tar.gz", lambda: zipped(header(tarfile.GNUTYPE_LONGNAME, PROMISED), ZEROS, 100), "a header of"),
    "PAX name": ("a.tar.gz", lambda: zipped(header(tarfile.XHDTYPE, PROMISED), ZEROS, 100), "a header of"),
    "stored tar": ("a.tar", lambda: header(tarfile.GNUTYPE_LONGNAME, PROMISED), "a header of"),
    "members": ("a.tar.gz", lambda: zipped(b"", tarfile.TarInfo("test/c/a.png").tobuf() * 8192, 200), "members in"),
    "headers": ("a.tar", lambda: (header(tarfile.GNUTYPE_LONGNAME, 1) + bytes(512)) * 5000, "RecursionError"),
    "images": ("t10k-images-idx3-ubyte.gz", lambda: zipped(IMAGES, ZEROS, 100), "the file holds more"),
    "many images": (
        "t10k-images-idx3-ubyte.gz",
        lambda: zipped(b"\0\0\x08\x03" + struct.pack(">III", 3 << 20, 28, 28), ZEROS, 100),
        "the header promises",
    ),
    "labels": (
        "t10k-labels-idx1-ubyte.gz",
        lambda: zipped(b"\0\0\x08\x01" + struct.pack(">I", 1 << 28), ZEROS, 16),
        "the header promises",
    ),
}
ROWS = {name: row[-1] for name, row in {**CHECKPOINTS, **SETS}.items()}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    folder = tmp_path_factory.mktemp("small")
    good = folder / "good.pth"
    good.write_bytes(torch_bytes(network(num_classes=10).state_dict()))
    commands = {}
    for name, (make, _) in CHECKPOINTS.items():
        (folder / name).write_bytes(make())
        commands[name] = ["fuse", str(folder / name), str(folder / "out.safetensors")]
    for name, (file, make, _) in SETS.items():
        place = folder / f"set of {name}"
        place.mkdir()
        for other in ("images-idx3", "labels-idx1"):
            if file.startswith("t10k"):
                (place / f"t10k-{other}-ubyte.gz").write_bytes(gzip.compress(IMAGES))
        (place / file).write_bytes(make())
        assert (place / file).stat().st_size < 6 << 20
        data = place / file if ".tar" in file else place
        commands[name] = ["validate", str(good), "--data", str(data), "--split", "test"]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(commands)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: (code, f"{output}{problem}") for name, code, output, problem in rows}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_a_small_file_does_not_fill_the_memory(name: str, answers: dict[str, tuple[int, str]]) -> None:
    code, output = answers[name]
    assert code == 2 and "error: " in output and ROWS[name] in output, output
