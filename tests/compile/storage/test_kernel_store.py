"""The store of kernels: damage counts as absent, what was used longest ago goes first, and nothing here fails a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compile.storage.kernel_store import DIGEST_BYTES, FOLDER_VARIABLE, KernelStore, user_store

KEY, OTHER = "a" * 64, "b" * 64


def entry(store: KernelStore, key: str = KEY) -> Path:
    assert store.folder is not None
    return store.folder / f"{key}.kernel"


def test_what_was_put_is_found_again(tmp_path: Path) -> None:
    store = KernelStore(tmp_path / "new" / "kernels")
    assert store.get(KEY) is None
    store.put(KEY, b"code")
    assert store.get(KEY) == b"code"
    assert store.get(OTHER) is None
    assert [path.name for path in (tmp_path / "new" / "kernels").iterdir()] == [entry(store).name]


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "link", "pipe", "folder"])
def test_a_damaged_kernel_counts_as_absent(tmp_path: Path, damage: str) -> None:
    store = KernelStore(tmp_path)
    store.put(KEY, b"code")
    path = entry(store)
    data = path.read_bytes()
    path.unlink()
    if damage == "link":
        (tmp_path / "target").write_bytes(data)
        path.symlink_to(tmp_path / "target")
    elif damage == "pipe":
        os.mkfifo(path)
    elif damage == "folder":
        path.mkdir()
    else:
        changed = data[:-1] + bytes([data[-1] ^ 1])
        path.write_bytes({"flipped": changed, "cut": data[: DIGEST_BYTES - 1], "empty": b""}[damage])
    assert store.get(KEY) is None
    store.put(KEY, b"again")
    assert damage == "folder" or store.get(KEY) == b"again"


def test_the_kernels_used_longest_ago_are_thrown_away(tmp_path: Path) -> None:
    store = KernelStore(tmp_path, limit_bytes=3 * (DIGEST_BYTES + 100))
    keys = [letter * 64 for letter in "abcde"]
    for age, key in enumerate(keys):
        store.put(key, bytes(100))
        os.utime(entry(store, key), (age, age))
    assert store.get(keys[0]) is not None  # used just now
    store.shrink()
    assert [key for key in keys if store.get(key) is not None] == [keys[0], keys[3], keys[4]]
    store.shrink()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_clock_that_was_set_back_makes_no_run_delete_its_own_kernels(tmp_path: Path) -> None:
    store = KernelStore(tmp_path, limit_bytes=2 * (DIGEST_BYTES + 100))
    keys = [letter * 64 for letter in "abcd"]
    for age, key in enumerate(keys):  # those of this run seem to be the oldest
        store.put(key, bytes(100))
        os.utime(entry(store, key), (age, age))
    store.shrink(used=keys[:2])
    assert [key for key in keys if store.get(key) is not None] == keys[:2]


def test_a_folder_that_cannot_be_written_keeps_nothing_and_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for store in (KernelStore(tmp_path / "file"), KernelStore(None)):
        store.put(KEY, b"code")
        assert store.get(KEY) is None
        store.shrink()


def test_where_the_store_of_a_user_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, expected in (("", tmp_path / ".cache"), ("relative", tmp_path / ".cache"), ("/xdg", Path("/xdg"))):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert user_store().folder == expected / "repghost" / "kernels"
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "mine"))
    assert user_store().folder == tmp_path / "mine" / "kernels"
    monkeypatch.setenv(FOLDER_VARIABLE, "off")
    assert user_store().folder is None
