"""Files that torch wrote before 1.6."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from repghost.checkpoints.legacy_file import MAGIC, is_legacy
from repghost.checkpoints.weight_files import parse_weights
from repghost.errors import UsageError

PATH = Path("old.pth")


def legacy(content: object) -> bytes:
    """Return what torch 1.5 wrote."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def test_an_old_state_dict_is_read() -> None:
    shared = torch.arange(6.0)
    weights = {"a.weight": shared.view(2, 3), "b.weight": shared, "steps": torch.tensor(7)}
    data = legacy(OrderedDict(weights))
    assert is_legacy(data)
    found = parse_weights(data, PATH).tensors
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_weights_inside_an_old_training_file_are_found() -> None:
    found = parse_weights(legacy({"epoch": 3, "state_dict": {"a": torch.ones(2)}}), PATH)
    assert found.notes["epoch"] == 3 and torch.equal(found.tensors["a"], torch.ones(2))


class Evil:
    """Runs a command when it is loaded without care."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


class Stored:
    """Stands for a storage whose size is a lie."""


def lying(numbers: int) -> bytes:
    """Return a file that asks for a storage of so many numbers."""

    class Pickler(pickle.Pickler):
        """Writes the reference that torch writes."""

        def persistent_id(self, value: object) -> object:
            if isinstance(value, Stored):
                return ("storage", torch.FloatStorage, "0", "cpu", numbers, None)
            return None

    file = io.BytesIO(legacy({"a": torch.ones(1)}))
    parts = io.BytesIO()
    for _ in range(3):
        start = file.tell()
        pickle.load(file)
        parts.write(file.getvalue()[start : file.tell()])
    Pickler(parts, 2).dump({"a": Stored()})
    pickle.dump(["0"], parts, 2)
    return parts.getvalue() + b"\1" + bytes(7) + bytes(4)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (legacy({"a": torch.ones(2), "b": Evil()}), "asks for"),
        (lying(1 << 40), "more than the file has bytes"),
        (MAGIC, "damaged"),
        (legacy({"a": torch.ones(2)})[:-4], "damaged"),
        (legacy({"a": torch.ones(2)})[:40], "damaged"),
    ],
)
def test_what_is_unsafe_or_damaged_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_weights(data, PATH)


def test_a_file_that_is_a_tar_archive_as_well_is_refused() -> None:
    header = bytearray(MAGIC.ljust(512, b"\0"))
    header[124:136] = b"00000000000\0"
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    with pytest.raises(UsageError, match="archive of another kind"):
        parse_weights(bytes(header) + bytes(1024), PATH)
