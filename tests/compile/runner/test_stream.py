"""`--stream`: raw images of standard input, the scores of each to the bit, and nothing besides."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.support.fake_network import expected_logits, random_images


@contextmanager
def open_folder(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def stream(bundle: Path, content: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [str(bundle / "repghost-run"), "--stream", *arguments]
    return subprocess.run(command, input=content, capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_scores_of_each_image_come_back_to_the_bit(host_bundle: Path, threads: str) -> None:
    images = random_images(7)
    done = stream(host_bundle, images.tobytes(), "--threads", threads, "--warmup", "2")
    assert done.returncode == 0, done.stderr
    *answers, end = (json.loads(line) for line in done.stdout.splitlines())
    found = np.stack([np.frombuffer(bytes.fromhex(it["scores"]), ">f4") for it in answers])
    assert np.array_equal(found.astype("<f4").view(np.uint32), expected_logits(images).view(np.uint32))
    assert all(0 <= it["infer_ms"] < 1e5 for it in answers)
    assert (end["command"], end["pictures"], end["threads"]) == ("streamed", 7, int(threads))
    assert set(end["before"]) == set(end["after"]) == {"clock_khz", "temperature_c"}


def test_an_input_that_ends_within_an_image_is_named(host_bundle: Path) -> None:
    done = stream(host_bundle, random_images(2).tobytes()[:-1])
    assert done.returncode == 2 and b"ended within picture 2: 191 of its 192 bytes came" in done.stderr
    assert len(done.stdout.splitlines()) == 1
    empty = stream(host_bundle, b"")
    assert empty.returncode == 0 and json.loads(empty.stdout)["pictures"] == 0


@pytest.mark.parametrize("command", [["--stream"], ["--bench", "--turns"]])
def test_an_input_that_cannot_be_read_is_no_end(host_bundle: Path, command: list[str]) -> None:
    with open_folder(host_bundle) as unreadable:
        done = subprocess.run(
            [host_bundle / "repghost-run", *command], stdin=unreadable, capture_output=True, timeout=60, check=False
        )
    assert done.returncode == 1 and b"cannot read standard input: Is a directory" in done.stderr


def test_nothing_goes_on_when_nobody_reads_the_answers(host_bundle: Path) -> None:
    """As below systemd, which ignores SIGPIPE: so does Python, and with `restore_signals=False` its children."""
    reader, writer = os.pipe()
    os.close(reader)
    with Path("/dev/zero").open("rb") as endless, os.fdopen(writer, "wb") as broken:
        done = subprocess.run(
            [host_bundle / "repghost-run", "--stream"], stdin=endless, stdout=broken, stderr=subprocess.PIPE,
            restore_signals=False, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1 and b"cannot write the result: Broken pipe" in done.stderr
