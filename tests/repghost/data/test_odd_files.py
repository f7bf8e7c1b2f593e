"""What is no regular file among the pictures is named and skipped, and nothing waits for it."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

from repghost.data import notes_on, open_dataset, prepare
from repghost.data.images.preprocess import Preprocess


def test_pipes_devices_and_loops_are_named_and_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "test" / "cat"
    folder.mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(folder / "good.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "folder.png").mkdir()
    Image.new("RGB", (9, 9)).save(folder / "folder.png" / "inside.png")
    dataset = open_dataset(tmp_path, "test")
    prepared = prepare(dataset, Preprocess(size=8, resize=8))
    said = "\n".join([*prepared.broken, *notes_on(dataset)])
    assert len(prepared.labels) == 1
    assert all(name in said for name in ("pipe.png", "zero.png", "loop.png", "folder.png"))
