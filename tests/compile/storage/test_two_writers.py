"""Several processes on one folder and one cache: every reader finds a whole entry, and each is made once."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from compile.storage import files
from compile.storage.files import write_folder_atomically
from compile.storage.stage_cache import StageCache
from tests.support.kills import leftovers

FORK = multiprocessing.get_context("fork")
PROCESSES, ROUNDS = 4, 25


def write_and_read(path: Path, number: int) -> None:
    for _ in range(ROUNDS):
        write_folder_atomically(path, {"a": bytes([number]) * 1000})
        if files._exchange is not never:  # without an exchange there is a moment without a folder
            assert len(set((path / "a").read_bytes())) == 1


def never(first: Path, second: Path) -> bool:
    return False


def take(folder: Path, number: int) -> None:
    cache = StageCache(folder / "cache")

    def make() -> dict[str, bytes]:
        with (folder / "made").open("a") as file:
            file.write("x")
        return {"a": b"content"}

    for index in range(ROUNDS):
        assert cache.get("stage", {"index": index}, make)[0] == {"a": b"content"}


def run_all(function: object, place: Path) -> list[int | None]:
    processes = [FORK.Process(target=function, args=(place, number), daemon=True) for number in range(PROCESSES)]  # type: ignore[arg-type]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "no exchange"])
def test_processes_that_write_one_folder(exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchange:
        monkeypatch.setattr(files, "_exchange", never)
    path = tmp_path / "place"
    write_folder_atomically(path, {"a": b"first"})
    assert run_all(write_and_read, path) == [0] * PROCESSES
    assert len((path / "a").read_bytes()) == 1000 and not leftovers(tmp_path)


def test_processes_that_use_one_cache_make_each_entry_once(tmp_path: Path) -> None:
    assert run_all(take, tmp_path) == [0] * PROCESSES
    assert (tmp_path / "made").read_text() == "x" * ROUNDS
    assert not leftovers(tmp_path)
