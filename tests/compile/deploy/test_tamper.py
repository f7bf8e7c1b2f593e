"""Nothing of a bundle is loaded, started or sent before every digest was checked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compile.bundle.manifest import MANIFEST, Bundle, check_bundle
from compile.link.zig import run_zig
from compile.storage.files import sha256
from compile.storage.strict_json import canonical_json, parse_strict
from compile.targets.table import Target
from repghost.errors import IntegrityError
from tests.support.damaged_bundles import FILE_CHANGES, MANIFEST_CHANGES, PYTHON_ONLY, RAW_MANIFESTS, edit

# What a process does to run foreign code, as audit events name it; the hook says when one happens, and when the last
# file of the bundle was opened.
WATCHED = """
import os, sys
bundle, place = sys.argv[1], sys.argv[2]
RUNS = {"ctypes.dlopen", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork",
        "os.forkpty", "marshal.loads.bundle", "pickle.find_class", "socket.connect"}
import compile.machine.replay, compile.bundle.host_model, compile.deploy.install, compile.deploy.ssh.connection
import repghost, ctypes, subprocess
events, opened = [], set()
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(bundle):
        opened.add(os.path.basename(arguments[0]))
    if event in RUNS and "ldconfig" not in str(arguments):
        events.append((event, str(arguments)[:200], sorted(opened)))
sys.addaudithook(hook)
from repghost.errors import RepGhostError
try:
    if place == "load":
        repghost.load(bundle)
    elif place == "verify":
        compile.machine.replay.verify_bundle(bundle)
    else:
        from compile.deploy.ssh.address import parse_address
        connection = compile.deploy.ssh.connection.Connection(parse_address("board.invalid"))
        compile.deploy.install.deploy(bundle, connection)
    print("done")
except RepGhostError as error:
    print(f"code {error.exit_code}")
for event in events:
    print("event", *event)
"""
FILES = ["labels.txt", MANIFEST, "model.so", "repghost-run", "repghost.h", "vectors.bin"]
PLACES = ["load", "verify", "deploy"]


def watched(bundle: Path, place: str) -> list[str]:
    command = [sys.executable, "-c", WATCHED, str(bundle), place]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_the_first_thing_that_runs_comes_after_the_last_digest(versions: list[Bundle], place: str) -> None:
    lines = watched(versions[0].path, place)
    events = [line for line in lines if line.startswith("event")]
    assert events, lines  # the hook sees what is loaded, started or connected to
    assert events[0].endswith(str(sorted(FILES)))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", PLACES)
def test_nothing_runs_when_a_byte_differs(versions: list[Bundle], tmp_path: Path, place: str, name: str) -> None:
    path = Path(shutil.copytree(versions[0].path, tmp_path / "bundle"))
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 0x10
    (path / name).write_bytes(bytes(data))
    assert watched(path, place) == ["code 6"]


@pytest.mark.slow
def test_the_runner_loads_nothing_before_its_digest(
    versions: list[Bundle], host: Target, host_files: dict[str, bytes], tmp_path: Path
) -> None:
    source, library = tmp_path / "evil.c", tmp_path / "evil.so"
    mark = tmp_path / "ran"
    source.write_text(
        "#include <fcntl.h>\n__attribute__((constructor)) static void run(void)"
        f' {{ open("{mark}", O_CREAT | O_WRONLY, 0600); }}\n'
    )
    flags = ["-target", host.zig_triple, "-O2", "-fno-sanitize=all", "-shared", "-fPIC"]
    run_zig(["cc", *flags, "-o", str(library), str(source)])
    path = Path(shutil.copytree(versions[0].path, tmp_path / "bundle"))
    (path / "model.so").write_bytes(library.read_bytes())
    done = subprocess.run([path / "repghost-run", "--verify"], capture_output=True, text=True, check=False)
    assert done.returncode == 6 and "model.so" in done.stderr and not mark.exists()
    manifest = parse_strict((path / MANIFEST).read_bytes(), MANIFEST)
    manifest["files"]["model.so"] = {"size": library.stat().st_size, "sha256": sha256(library.read_bytes())}
    (path / MANIFEST).write_bytes(canonical_json(manifest))
    subprocess.run([path / "repghost-run", "--verify"], capture_output=True, check=False)
    assert mark.exists()  # the same library runs once its digest is vouched for: the mark can tell
    mark.unlink()
    assert "event" not in watched(path, "load")[0] and watched(path, "verify") == ["code 6"]
    assert not mark.exists()


def hard_link(path: Path) -> None:
    (path.parent / "other").write_bytes(b"another file")
    (path / "model.so").unlink()
    os.link(path.parent / "other", path / "model.so")


def on_model(change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: change(path / "model.so")


def edited(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], object]:
    return lambda path: edit(path, change)


def written(text: bytes) -> Callable[[Path], object]:
    return lambda path: (path / MANIFEST).write_bytes(text)


KINDS: dict[str, Callable[[Path], object]] = {
    **{f"manifest: {name}": edited(change) for name, change in MANIFEST_CHANGES.items()},
    **{f"section: {name}": edited(change) for name, change in PYTHON_ONLY.items()},
    **{f"files: {value}": edited(lambda m, value=value: m.update(files=value)) for value in (1, None, "x", True)},
    **{f"text: {name}": written(text) for name, text in RAW_MANIFESTS.items()},
    **{f"model.so {name}": on_model(change) for name, change in FILE_CHANGES.items()},
    "model.so a hard link to another file": hard_link,
    "manifest a symbolic link": lambda path: (
        shutil.move(path / MANIFEST, path.parent / "m"),
        (path / MANIFEST).symlink_to(path.parent / "m"),
    ),
    "manifest a pipe": lambda path: ((path / MANIFEST).unlink(), os.mkfifo(path / MANIFEST)),
    "a file more": lambda path: (path / "more").write_bytes(b""),
    "a folder more": lambda path: (path / "more").mkdir(),
    "a file in a folder": lambda path: ((path / "..more").mkdir(), (path / "..more" / "x").write_bytes(b"")),
    "runner and model swapped": lambda path: (
        (path / "model.so").rename(path / "x"),
        (path / "repghost-run").rename(path / "model.so"),
        (path / "x").rename(path / "repghost-run"),
    ),
}


def test_there_are_enough_kinds() -> None:
    manifests = [name for name in KINDS if name.startswith(("manifest: ", "section: ", "text: "))]
    assert len(manifests) >= 27 and len(KINDS) - len(manifests) >= 15


@pytest.mark.parametrize("change", KINDS.values(), ids=KINDS.keys())
def test_a_tampered_bundle_is_refused(versions: list[Bundle], tmp_path: Path, change: Callable[[Path], object]) -> None:
    path = Path(shutil.copytree(versions[0].path, tmp_path / "bundle"))
    change(path)
    with pytest.raises(IntegrityError, match=r".{20}"):
        check_bundle(path)


def test_a_hard_link_is_read_as_it_is_at_that_moment(versions: list[Bundle], tmp_path: Path) -> None:
    path = Path(shutil.copytree(versions[0].path, tmp_path / "bundle"))
    os.link(path / "model.so", tmp_path / "elsewhere")
    bundle = check_bundle(path)
    (tmp_path / "elsewhere").write_bytes(b"changed through the other name")
    with pytest.raises(IntegrityError, match="was changed"):
        bundle.read("model.so")
