"""Running zig, the C compiler and linker."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from compile.storage.plain_folders import PLACES, can_write, is_plain, plain_temporary_folder
from repghost.errors import ToolMissingError, UsageError, option
from repghost.processes import TOOL_LIMIT_S, run_limited

LIMIT_S = 900.0  # of one call; with an empty cache, zig compiles the C library's start files first
CACHE_VARIABLE = "ZIG_GLOBAL_CACHE_DIR"
ADVICE = f"If that happens again, name another folder for its cache: {CACHE_VARIABLE}=FOLDER."


def run_zig(arguments: Sequence[str], cwd: Path | None = None, limit_s: float = LIMIT_S) -> str:
    """Run zig from the `ziglang` package and return what it printed.

    Raises:
        ToolMissingError: when the package is not installed, or there is no folder for its cache.
        UsageError: when zig reports an error; the message holds its last lines.
        TimeLimitError: when it does not end within `limit_s` seconds.
    """
    command = [str(zig_program()), *arguments]
    cache = global_cache()
    with plain_temporary_folder("repghost-zig-") as folder:
        local = str(folder or cache)  # where its clang makes temporary files, too, and takes % for a digit to choose
        places = {CACHE_VARIABLE: str(cache), "ZIG_LOCAL_CACHE_DIR": local, "TMPDIR": local}
        done = run_limited(
            command, limit_s, name="zig", advice=ADVICE, folder=cwd, environment={**os.environ, **places}
        )
    if done.returncode == 0:
        return done.stdout
    if done.returncode == -signal.SIGKILL:
        raise UsageError(
            f"zig {arguments[0]} was killed before it was done, as the system does where memory runs out; nothing was "
            f"written. Free some memory, or compile with fewer {option('jobs')}, and run the same command again."
        )
    tail = (done.stderr or done.stdout).strip().splitlines()[-20:]
    raise UsageError(f"zig {arguments[0]} failed with exit code {done.returncode}:", *tail)


def zig_program() -> Path:
    """Return the program that the `ziglang` package holds: `python -m ziglang` only starts it.

    Raises:
        ToolMissingError: when the package is not installed.
    """
    found = importlib.util.find_spec("ziglang")
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (program := Path(folder) / "zig").is_file():
            return program
    raise ToolMissingError("the linker is not installed; it comes from PyPI: pip install ziglang")


def global_cache() -> Path:
    """Return the folder where zig keeps what it compiles of the C library, which is writable and has a plain path.

    Left to itself, zig never ends where the user's home cannot hold a folder, and takes commas in its path apart.

    Raises:
        ToolMissingError: when there is no such folder.
    """
    for folder in _usual_caches():
        if is_plain(folder) and can_write(folder):
            return folder
    for place in PLACES:
        folder = Path(place) / f"repghost-zig-{os.getuid()}"
        if can_write(folder) and _is_own(folder):
            return folder
    raise ToolMissingError(
        f"zig has no folder for its cache: none of yours can be written and has a plain path, nor {', '.join(PLACES)}."
        f" Name one without spaces, commas and %: {CACHE_VARIABLE}=FOLDER."
    )


def _usual_caches() -> Iterator[Path]:
    """Yield where zig itself would keep it."""
    for variable, rest in ((CACHE_VARIABLE, ""), ("XDG_CACHE_HOME", "zig"), ("HOME", ".cache/zig")):
        if os.environ.get(variable):
            yield Path(os.environ[variable]) / rest


def _is_own(folder: Path) -> bool:
    """Return whether a folder in a place for everybody belongs to this account alone."""
    status = folder.lstat()
    return status.st_uid == os.getuid() and not folder.is_symlink() and not status.st_mode & 0o077


def zig_version() -> str:
    """Return the version of the linker, which belongs to everything it makes."""
    return run_zig(["version"], limit_s=TOOL_LIMIT_S).strip()
