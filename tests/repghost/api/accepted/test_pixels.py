from __future__ import annotations

import numpy as np
import pytest
import torch

from repghost.api.accepted.pixels import to_bytes
from repghost.errors import UsageError
from tests.support.small_classifier import PREPROCESS, image

BYTES = np.stack([image("red", 1), image("dark", 2)])
CHANNELS_FIRST = torch.from_numpy(BYTES).permute(0, 3, 1, 2)
NORMALIZED = torch.from_numpy(PREPROCESS.normalize(BYTES))


@pytest.mark.parametrize(
    ("images", "pixels"),
    [
        (BYTES, None),
        (CHANNELS_FIRST, None),
        (NORMALIZED, None),  # some are below 0, which nothing else is
        (NORMALIZED, "normalized"),
        (NORMALIZED.numpy().transpose(0, 2, 3, 1), None),
        (BYTES / 255, "0..1"),
        (BYTES.astype(np.float32), None),  # some are far above 1
        (BYTES.astype(np.float64), "0..255"),
        (CHANNELS_FIRST.half() / 255, "0..1"),
        (CHANNELS_FIRST.bfloat16(), "0..255"),
    ],
)
def test_every_form_gives_the_same_bytes(images: object, pixels: str | None) -> None:
    found = to_bytes(images, PREPROCESS, pixels)  # type: ignore[arg-type]
    assert found.dtype == np.uint8
    exact = not (isinstance(images, torch.Tensor) and images.dtype == torch.bfloat16)  # 8 bits hold 0 to 256 exactly
    assert np.abs(found.astype(int) - BYTES).max() <= (0 if exact else 1)


def test_one_image_becomes_a_batch() -> None:
    for one in (BYTES[0], CHANNELS_FIRST[0], BYTES[0] / 255):
        assert to_bytes(one, PREPROCESS, "0..1").shape == (1, 16, 16, 3)
    assert to_bytes(BYTES[0, :, :, 0], PREPROCESS, None).shape == (1, 16, 16, 1)
    assert to_bytes(BYTES[..., 0].repeat(4, 0), PREPROCESS, None).shape == (8, 16, 16, 1)


@pytest.mark.parametrize(
    ("images", "pixels", "said"),
    [
        (BYTES / 255, None, "pixels='0..1'"),  # a range that several things have
        (BYTES / 255, "0..255", "Give pixels='0..1'"),  # nothing but black
        (np.linspace(-1, 1, 48, dtype=np.float32).reshape(1, 4, 4, 3), None, "mean and std 0.5"),
        (BYTES / 128.0, "0..1", "allows 0 to 1"),
        (BYTES.astype(float) * 2, "0..255", "allows 0 to 255"),
        (NORMALIZED * 3, "normalized", "allows -2 to 2"),
        (NORMALIZED[:, :, :8], None, "these have 8 x 16 pixels, and the network's preprocess gives 16 x 16"),
        (np.full((1, 4, 4, 3), np.nan), "0..1", "not finite"),
        (BYTES.astype(np.int32), None, "astype('uint8')"),
        (BYTES.transpose(0, 3, 1, 2), None, "images.transpose(0, 2, 3, 1)"),
        (BYTES[0].transpose(2, 0, 1), None, "images.transpose(1, 2, 0)"),
        (torch.from_numpy(BYTES), None, "images.permute(0, 3, 1, 2)"),
        (torch.zeros(2, 5, 4, 4), None, "C 1 or 3"),
        (np.zeros((2, 2), np.float32)[None, None, None], "0..1", "C 1 or 3"),
        (torch.empty(1, 3, 4, 4, device="meta"), None, "device 'meta'"),
    ],
)
def test_what_is_ambiguous_or_wrong_is_refused_with_the_line_that_mends_it(
    images: object, pixels: str | None, said: str
) -> None:
    with pytest.raises(UsageError) as raised:
        to_bytes(images, PREPROCESS, pixels)  # type: ignore[arg-type]
    assert said in str(raised.value) and "\n" not in str(raised.value)
