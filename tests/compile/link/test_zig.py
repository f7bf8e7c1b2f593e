"""zig runs wherever HOME and TMPDIR point to, and never for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compile.link import toolchain, zig
from compile.link.stored_runner import stored_runner
from compile.link.toolchain import link_model
from compile.link.zig import CACHE_VARIABLE, global_cache, run_zig
from compile.storage.kernel_store import KernelStore
from compile.storage.stage_cache import StageCache
from compile.targets.table import Target
from repghost.errors import ToolMissingError, UsageError
from repghost.processes import TimeLimitError
from tests.support.fake_bundle import fake_info
from tests.support.fake_network import fake_network

VARIABLES = (CACHE_VARIABLE, "XDG_CACHE_HOME", "HOME")


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The place of last resort, with none of the usual ones named."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(zig, "PLACES", (str(tmp_path / "absent"), str(tmp_path)))
    (tmp_path / "absent").write_bytes(b"")  # nothing can be made below it
    return tmp_path


def test_the_cache_lies_where_zig_would_keep_it(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, rest in zip(reversed(VARIABLES), (".cache/zig", "zig", ""), strict=True):
        monkeypatch.setenv(variable, str(places / variable))
        assert global_cache() == places / variable / rest
        assert global_cache().stat().st_mode & 0o077 == 0


# With /proc for a home, zig itself looks for a folder for ever.
UNUSABLE = [
    "/proc",
    "/dev/null",
    "",
    "relative",
    "{}/a b",
    "{}/50%",
    "{}/a,b",
    "{}/a=b",
    "{}/new\nline",
]


@pytest.mark.parametrize("home", UNUSABLE)
def test_a_home_that_cannot_be_used_is_left_alone(places: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, home.format(places))
    assert global_cache() == places / f"repghost-zig-{os.getuid()}"
    assert global_cache().stat().st_mode & 0o777 == 0o700


def test_a_folder_of_somebody_else_is_not_taken(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = places / f"repghost-zig-{os.getuid()}"
    own.mkdir()
    own.chmod(0o777)
    with pytest.raises(ToolMissingError, match=f"no folder for its cache.*{CACHE_VARIABLE}=FOLDER"):
        global_cache()
    own.rmdir()
    own.symlink_to(places)
    with pytest.raises(ToolMissingError):
        global_cache()


def test_zig_compiles_where_no_folder_has_a_plain_path(
    places: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    odd = tmp_path / "a b%20c,d=e"
    odd.mkdir()
    (odd / "a.c").write_text("int a(void) { return 0; }\n")
    (odd / "b.S").write_text(".globl b\nb:\n")  # makes a temporary file
    monkeypatch.setenv("TMPDIR", str(odd))
    monkeypatch.setenv("HOME", "/proc")
    run_zig(["cc", "-shared", "-nostdlib", "-fPIC", "a.c", "b.S", "-o", "ab.so"], cwd=odd)
    assert (odd / "ab.so").read_bytes()[:4] == b"\x7fELF"


def installed(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a package whose program is a script be found in place of zig's."""
    package = folder / "ziglang"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "zig").write_text(f"#!/bin/sh\n{script}\n")
    (package / "zig").chmod(0o755)
    monkeypatch.syspath_prepend(folder)


def test_a_compiler_that_is_killed_leaves_nothing_and_no_lock(
    host: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "kill -9 $$", monkeypatch)
    with pytest.raises(UsageError, match=r"zig cc was killed .* memory runs out; nothing was written.*fewer jobs="):
        run_zig(["cc"])
    cache, store = StageCache(tmp_path / "cache"), KernelStore(tmp_path / "kernels")
    with pytest.raises(UsageError, match="was killed"):
        cache.get("link", {}, lambda: {"model.so": link_model(fake_network(host), host, fake_info())})
    toolchain._decoder_object.cache_clear()
    with pytest.raises(UsageError, match="was killed"):
        stored_runner(host, store)
    assert not [*(tmp_path / "cache").iterdir(), *(tmp_path / "kernels").iterdir()]
    assert cache.get("link", {}, lambda: {"model.so": b"made"}) == ({"model.so": b"made"}, False)


def test_zig_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "exec sleep 100", monkeypatch)
    with pytest.raises(TimeLimitError, match=f"zig did not end within 0.5 s and was stopped.*{CACHE_VARIABLE}"):
        run_zig(["cc"], limit_s=0.5)
