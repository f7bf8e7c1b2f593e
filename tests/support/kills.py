"""A writer killed at each of its steps, in child processes that kill themselves before the n-th."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from compile.storage import files

RENAMES = ("rename", "replace")
STEPS = (*RENAMES, "fsync", "unlink", "mkdir", "rmdir")  # of the module os

Content = dict[str, bytes]


def killed_at_each(write: Callable[[], object], steps: tuple[str, ...] = RENAMES) -> Iterator[int]:
    """Run `write` in a child that is killed before its n-th step, for n from 1 on, until one lives to the end.

    Args:
        write: what is run, each time in a new child.
        steps: functions of the module os; an exchange of two folders is one besides.

    Yields:
        n, after the death of the child.
    """
    for number in count(1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer Pythons warn of threads; the child starts none and writes only
            process = os.fork()
        if process == 0:
            _run_and_die(write, steps, number)
        _, status = os.waitpid(process, 0)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0, "the child failed before its death; see its traceback"
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
        yield number


def _run_and_die(write: Callable[[], object], steps: tuple[str, ...], number: int) -> None:
    left = number
    signal.alarm(60)  # one that hangs is ended too

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return step

    code = 1
    try:
        for name in steps:
            setattr(os, name, mortal(getattr(os, name)))
        files._exchange = mortal(files._exchange)
        write()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def content(folder: Path) -> Content:
    """Return the files of a folder by their path in it, those that have their own name only."""
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    visible = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return {str(name): (folder / name).read_bytes() for name in visible}


def leftovers(folder: Path) -> list[str]:
    """Return the hidden files and folders: no writer leaves one."""
    return sorted(path.name for path in folder.rglob(".*"))
