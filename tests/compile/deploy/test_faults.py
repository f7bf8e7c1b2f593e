"""What can go wrong on the way to a board: each fault has its exit code and its sentence, and what runs goes on."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from compile.bundle.manifest import Bundle
from compile.deploy.install import DeploySettings, deploy
from compile.deploy.ssh.connection import Connection
from compile.link.zig import run_zig
from compile.storage.files import sha256
from compile.targets.table import Target
from repghost.errors import RepGhostError
from tests.support import ROOT
from tests.support.deployed_bundles import bundle_of
from tests.support.standin import Standin, free_port, run

RELAY = ROOT / "tests/support/relay.py"


@pytest.fixture
def folder(board: Standin, versions: list[Bundle]) -> str:
    """A folder of the board in which version 0 runs; deployed once, and copied from then on."""
    name, deployed = board.new_folder(), board.base / "deployed"
    if deployed.exists():
        shutil.copytree(deployed, board.home / name, symlinks=True)
        board.give(board.home / name)
    else:
        deploy(versions[0].path, board.connection(name))
        shutil.copytree(board.home / name, deployed, symlinks=True)
    return name


USUAL = DeploySettings()


def fails(bundle: Bundle, connection: Connection, code: int, words: str, settings: DeploySettings = USUAL) -> None:
    with pytest.raises(RepGhostError, match=words) as caught:
        deploy(bundle.path, connection, settings)
    assert caught.value.exit_code == code, str(caught.value)


def other_key(board: Standin) -> Path:
    path = board.base / "other_key"
    if not path.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
    return path


def changed_host_key(board: Standin) -> Path:
    known = board.base / "changed_hosts"
    known.write_text(f"[127.0.0.1]:{board.port} {other_key(board).with_suffix('.pub').read_text()}")
    return board.config("changed", UserKnownHostsFile=str(known))


CONNECTIONS: dict[str, tuple[Callable[[Standin], Path], str]] = {
    "refused": (lambda b: b.config("c", Port=str(free_port())), "no ssh server answers there.*systemctl start ssh"),
    "no such name": (lambda b: b.config("c", HostName="board.invalid"), "no such host name"),
    "no answer": (lambda b: b.config("c", ProxyCommand="sleep 60"), "does not answer in time|ssh says|closed"),
    "unknown host key": (lambda b: b.config("c", UserKnownHostsFile="/dev/null"), "host key is unknown.*fingerprint"),
    "changed host key": (changed_host_key, "not the one that is known.*ssh-keygen -R"),
    "wrong key": (lambda b: b.config("c", IdentityFile=str(other_key(b))), "accepts none of your keys.*ssh-copy-id"),
    "no such account": (lambda b: b.config("c", User="nobody"), "accepts none of your keys"),
    "wrong option": (lambda b: b.config("c", NoSuchOption="1"), "does not understand its configuration"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("config", "words"), CONNECTIONS.values(), ids=CONNECTIONS.keys())
def test_a_board_that_cannot_be_reached(
    board: Standin, versions: list[Bundle], config: Callable[[Standin], Path], words: str
) -> None:
    fails(versions[1], board.connection("app", config(board), connect_limit_s=1), 5, words)


@pytest.mark.slow
def test_an_account_without_a_shell(board: Standin, versions: list[Bundle]) -> None:
    board.profile("echo This account is currently not available. >&2; exit 1")
    fails(versions[1], board.connection("app"), 5, "ran no command.*not available.*POSIX sh")


@pytest.mark.slow
def test_a_chatty_login_shell_is_no_fault(board: Standin, versions: list[Bundle], folder: str) -> None:
    board.profile("echo Welcome; printf '{\"ok\": false}\\nproblem none\\nheld\\ncomplete'; echo noise >&2")
    deploy(versions[1].path, board.connection(folder))
    assert board.current(folder) == versions[1].digest


@pytest.mark.slow
@pytest.mark.parametrize("percent", [1, 50, 99])
def test_a_cut_upload_is_resumed(
    board: Standin, folder: str, host_files: dict[str, bytes], host: Target, tmp_path: Path, percent: int
) -> None:
    labels = "".join(f"class {index} {os.urandom(20000).hex()}\n" for index in range(10)).encode()
    large = bundle_of({**host_files, "labels.txt": labels}, host, tmp_path / "large", percent)
    running = board.current(folder)
    limit = 30_000 + len(labels) * percent // 100  # the first commands take about 20 kB
    proxy = f"{sys.executable} {RELAY} {board.port} {limit}"
    fails(
        large, board.connection(folder, board.config("cut", ProxyCommand=proxy)), 5, "broke|cut short|cannot be reached"
    )
    assert board.current(folder) == running
    said: list[str] = []
    deploy(large.path, board.connection(folder), say=said.append)
    resumed = [line for line in said if "labels.txt" in line and "were there" in line]
    assert resumed or percent == 1, said
    assert board.current(folder) == large.digest


def read_only(board: Standin, folder: str) -> None:
    (board.home / folder / "incoming").chmod(0o555)


def closed(board: Standin, folder: str) -> None:
    (board.home / folder).chmod(0o555)


def in_the_way(board: Standin, folder: str) -> None:
    (board.home / folder / "incoming").rmdir()
    (board.home / folder / "incoming").write_bytes(b"")


def profile(text: str) -> Callable[[Standin, str], None]:
    return lambda board, folder: board.profile(text)


def tool(name: str, text: str) -> Callable[[Standin, str], None]:
    return lambda board, folder: board.tool(name, text)


def without(*names: str) -> Callable[[Standin, str], None]:
    def inject(board: Standin, folder: str) -> None:
        for name in names:
            board.tool(name, None)

    return inject


DISK = "echo Filesystem 1024-blocks Used Available Capacity Mounted; echo /dev/root 1000 900 %d 90%% /"
FAULTS: dict[str, tuple[Callable[[Standin, str], None], int, str]] = {
    "disk full": (profile("BOARD_FULL=20000; export BOARD_FULL"), 5, "No space left.*Free some space"),
    "no room": (tool("df", DISK % 100), 5, "0.1 MiB free, and the bundle needs"),
    "read-only": (read_only, 5, "Permission denied.*that the account may write"),
    "closed folder": (closed, 5, "cannot be written"),
    "a file in the way": (in_the_way, 5, "could not do it"),
    "another machine": (tool("uname", "echo riscv64"), 2, "is riscv64.*--target riscv64"),
    "32-bit system": (tool("getconf", "[ $1 = LONG_BIT ] && echo 32"), 2, "32-bit system"),
    "old libc": (tool("getconf", "[ $1 = GNU_LIBC_VERSION ] && echo glibc 2.12"), 2, "glibc 2.12.*needs glibc 2.17"),
    "other libc": (tool("getconf", "[ $1 = GNU_LIBC_VERSION ] && echo musl libc"), 2, "musl libc.*needs glibc"),
    "no uname, no chmod": (without("uname", "chmod"), 2, "lacks the programs chmod uname. Install coreutils"),
    "silent uname": (tool("uname", "exit 0"), 5, "does not say what it is"),
    "old mv": (tool("mv", '[ "$1" = -T ] && exit 1; exec /bin/mv "$@"'), 2, "an mv with the option -T.*coreutils"),
    "no home": (profile("HOME=/nonexistent"), 2, "lacks a home folder.*user@board:/opt/repghost"),
    "empty home": (profile("unset HOME"), 2, "lacks a home folder"),
    "noexec": (profile("BOARD_NOEXEC=1; export BOARD_NOEXEC"), 2, "lacks the right to start programs in .*app"),
    "no links": (tool("ln", "exit 1"), 2, "lacks symbolic links in .*another file system"),
    "wrong sums": (tool("sha256sum", f"echo {'0' * 64} -"), 6, "differs from what was sent"),
    "no sums": (tool("sha256sum", "exit 3"), 5, "sha256sum cannot read"),
    "no chmod": (tool("chmod", "echo nothing >&2; exit 1"), 2, "lacks the right to start programs"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("inject", "code", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_on_the_board(
    board: Standin, versions: list[Bundle], folder: str, inject: Callable[[Standin, str], None], code: int, words: str
) -> None:
    inject(board, folder)
    fails(versions[1], board.connection(folder), code, words)
    assert board.current(folder) == versions[0].digest
    incoming = board.home / folder / "incoming"
    assert code != 2 or not any(incoming.iterdir())  # what does not fit is refused before anything is copied
    run(board.home / folder / "current/repghost-run", "--verify")


RUNNERS = {
    "hangs": ("for (;;) pause();", "did not end within 1 s and was stopped"),
    "crashes": ("*(volatile int *)0 = 1;", r"signal 11 \(a segmentation fault\)"),
    "illegal instruction": ("raise(SIGILL);", r"signal 4 \(an illegal instruction\)"),
    "prints garbage": ('puts("[1, 2\\n\\"x\\"\\n");', "printed no result"),
    "prints nothing": ("", "printed no result"),
    "lies": ('puts("{\\"ok\\": true, \\"pictures\\": 0, \\"mismatches\\": 0}");', "did not prove the bundle"),
    "finds a difference": ('fputs("repghost-run: 3 of 12 differ\\n", stderr); return 6;', "3 of 12 differ"),
    "cannot run": ('fputs("repghost-run: this core cannot\\n", stderr); return 4;', "this core cannot"),
    "endless": ('for (;;) puts("{}");', "did not end within 1 s|printed more than 64 MiB"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("body", "words"), RUNNERS.values(), ids=RUNNERS.keys())
def test_a_runner_that_proves_nothing(
    board: Standin,
    versions: list[Bundle],
    folder: str,
    host_files: dict[str, bytes],
    host: Target,
    tmp_path: Path,
    body: str,
    words: str,
) -> None:
    source = tmp_path / "runner.c"
    source.write_text(
        f"#include <signal.h>\n#include <stdio.h>\n#include <unistd.h>\nint main(void) {{ {body} return 0; }}\n"
    )
    run_zig(["cc", "-target", host.zig_triple, "-O2", "-fno-sanitize=all", "-o", str(tmp_path / "run"), str(source)])
    bundle = bundle_of({**host_files, "repghost-run": (tmp_path / "run").read_bytes()}, host, tmp_path / "bundle")
    fails(bundle, board.connection(folder), 6, words, DeploySettings(verify_limit_s=1))
    assert board.current(folder) == versions[0].digest
    assert not (board.home / folder / "bundles" / bundle.digest).exists()


def test_wrong_scores_are_found_on_the_board(
    board: Standin, versions: list[Bundle], folder: str, host_files: dict[str, bytes], host: Target, tmp_path: Path
) -> None:
    vectors = bytearray(host_files["vectors.bin"])
    vectors[-2] ^= 1
    bundle = bundle_of({**host_files, "vectors.bin": bytes(vectors)}, host, tmp_path / "bundle")
    fails(bundle, board.connection(folder), 6, "1 of 12 recorded pictures gave other scores")
    assert board.current(folder) == versions[0].digest


def test_a_board_without_a_tool_for_digests(board: Standin, versions: list[Bundle], folder: str) -> None:
    board.tool("sha256sum", None)
    deploy(versions[1].path, board.connection(folder))
    assert board.current(folder) == versions[1].digest
    runner = board.home / folder / "bundles" / versions[2].digest / "repghost-run"
    runner.parent.mkdir()
    runner.write_bytes(b"#!/bin/sh\ntouch started\n")
    board.give(runner.parent)
    fails(versions[2], board.connection(folder), 6, "repghost-run on board was changed.*Nothing of it was started")
    assert not (runner.parent / "started").exists()
    assert board.current(folder) == versions[1].digest


def test_what_a_broken_upload_left_damaged_is_sent_again(board: Standin, versions: list[Bundle], folder: str) -> None:
    left = board.home / folder / "incoming" / versions[1].digest
    left.mkdir()
    model = bytearray(versions[1].read("model.so"))
    model[100] ^= 255
    (left / "model.so").write_bytes(bytes(model))  # whole, but wrong
    (left / "vectors.bin").write_bytes(b"wrong beginning")
    (left / "labels.txt").write_bytes(bytes(100_000))  # longer than it should be
    (left / "stranger").write_bytes(b"")
    board.give(left)
    deploy(versions[1].path, board.connection(folder))
    assert {path.name: sha256(path.read_bytes()) for path in (board.home / folder / "current").iterdir()} == {
        path.name: sha256(path.read_bytes()) for path in versions[1].path.iterdir()
    }
