from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from repghost.api.accepted.images import Reader
from repghost.errors import UsageError
from tests.support.small_classifier import PREPROCESS, image

BYTES = np.stack([image("red", seed) for seed in range(5)])
READER = Reader(PREPROCESS)


def all_of(data: object, limit: int | None = None) -> tuple[np.ndarray, list[int] | None]:
    batches = list(READER.read(data, limit))
    labels = [batch.labels for batch in batches]
    joined = None if labels[0] is None else np.concatenate(labels).tolist()
    return np.concatenate([batch.images for batch in batches]), joined


def loader(**options: object) -> torch.utils.data.DataLoader:
    tensors = torch.from_numpy(PREPROCESS.normalize(BYTES)), torch.arange(5)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=2, **options)  # type: ignore[arg-type]


class ByIndex:
    """A dataset of the oldest kind: a length and items, and no iterator."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict[str, object]:
        return {"image": Image.fromarray(BYTES[index]), "label": index}


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (BYTES, None),
        (list(BYTES), None),
        ([Image.fromarray(pixels) for pixels in BYTES], None),
        ((BYTES, np.arange(5)), [0, 1, 2, 3, 4]),
        ((torch.from_numpy(BYTES).permute(0, 3, 1, 2), [4, 3, 2, 1, 0]), [4, 3, 2, 1, 0]),
        ([(pixels, 2) for pixels in BYTES], [2] * 5),
        (loader(), [0, 1, 2, 3, 4]),
        (ByIndex(), [0, 1, 2, 3, 4]),
    ],
)
def test_every_form_gives_the_same_images(data: object, labels: list[int] | None) -> None:
    images, found = all_of(data)
    assert np.array_equal(images, BYTES) and found == labels


def test_no_more_is_read_than_was_asked_for() -> None:
    def endless() -> Iterator[np.ndarray]:
        while True:
            yield BYTES[:2]

    images, _ = all_of(endless(), 3)
    assert np.array_equal(images, BYTES[[0, 1, 0]])


def test_files_are_decoded_and_a_broken_one_is_named(tmp_path: Path) -> None:
    Image.fromarray(BYTES[0]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    (batch,) = READER.read([tmp_path / "a.png", str(tmp_path / "b.png")])
    assert np.array_equal(batch.images[0], BYTES[0]) and batch.names == (str(tmp_path / "a.png"),)
    assert len(batch.broken) == 1 and "b.png" in batch.broken[0]


def test_images_of_another_size_are_prepared() -> None:
    large = image("red", 1, 40)
    expected = PREPROCESS.apply(Image.fromarray(large))
    for given in (large, torch.from_numpy(large).permute(2, 0, 1), Image.fromarray(large)):
        assert np.array_equal(READER.one_or_many(given)[0], expected)


def test_grey_and_colours_become_what_the_network_takes() -> None:
    grey = Reader(PREPROCESS.__class__(size=16, resize=16, mean=(0.5,), std=(0.5,)))
    expected = grey.preprocess.apply(Image.fromarray(BYTES[0]))
    assert np.array_equal(grey.one_or_many(BYTES[0])[0], expected)
    assert np.array_equal(READER.one_or_many(expected)[0], expected.repeat(3, 2))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ((BYTES, np.arange(4)), "5 images and 4 labels"),
        ((BYTES, np.eye(5).argmax(1).astype(float)), r"float64 \[5\]; give labels.astype\('int64'\)"),
        ((BYTES, np.eye(5, dtype=np.uint8)), r"labels.argmax\(1\)"),  # of bytes, which could be an image
        ((BYTES, np.arange(5)[:, None]), r"labels.reshape\(-1\)"),
        ((BYTES, np.array(list("abcde"))), r"classes.index\(name\)"),
        (b"\x89PNG", "from bytes; give the path"),
        ([(BYTES[0], 1), BYTES[1]], "some of the images have labels"),
        ([(BYTES[0], [0.5, 0.5])], "one-hot"),
        ([(BYTES[0], 1, 2)], "not 3 values"),
        ([{"pixels": BYTES[0]}], "holds no image"),
        ([object()], "not object"),
        (7, "not int"),
    ],
)
def test_what_is_no_image_is_refused(data: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        all_of(data)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # timm does not close its files
def test_datasets_of_timm_are_read_as_they_are(tmp_path: Path) -> None:
    from timm.data import ImageDataset

    for place, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        Image.fromarray(BYTES[place]).save(tmp_path / name / "0.png")
    images, labels = all_of(ImageDataset(str(tmp_path)))
    assert np.array_equal(images, BYTES[:2]) and labels == [0, 1]
