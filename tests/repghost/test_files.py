from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repghost.files import write_bytes_atomically, write_text_atomically
from tests.support import ROOT


def test_folder_content_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "é" / "-x"
    write_bytes_atomically(path, b"\0\1", mode=0o755)
    assert path.read_bytes() == b"\0\1"
    assert path.stat().st_mode & 0o777 == 0o755
    write_text_atomically(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["-x"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "stopped"]
)
def test_a_failing_step_leaves_the_old_file(
    step: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_bytes_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_killed_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 4_000_000)
    code = (
        "import sys, itertools; from pathlib import Path; from repghost.files import write_bytes_atomically\n"
        "print('ready', flush=True)\n"
        "for letter in itertools.cycle(b'ab'): write_bytes_atomically(Path(sys.argv[1]), bytes([letter]) * 4_000_000)"
    )
    for delay in (0.001, 0.013, 0.04):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        content = path.read_bytes()
        assert len(content) == 4_000_000 and len(set(content)) == 1
