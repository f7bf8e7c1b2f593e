from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch

from repghost.checkpoints import timm_hub
from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.errors import RepGhostError, UsageError
from tests.support.networks import network


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Replace the download by a file as timm publishes it, and record what was asked for."""
    asked = []

    def download(repository: str, name: str) -> str:
        asked.append((repository, name))
        path = tmp_path / name
        path.write_bytes(safetensors.torch.save(network().state_dict(), {"format": "pt"}))
        return str(path)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", download)
    return asked


def test_published_weights_come_with_their_preprocessing(hub: list[tuple[str, str]]) -> None:
    checkpoint = timm_hub.open_checkpoint("timm", 0.5)
    assert hub == [("timm/repghostnet_050.in1k", "model.safetensors")]
    assert checkpoint.spec.width == 0.5
    assert checkpoint.preprocess is not None
    assert [checkpoint.preprocess[key] for key in ("size", "resize", "interpolation")] == [224, 256, "bicubic"]
    assert checkpoint.metadata["source"] == "timm/repghostnet_050.in1k"


def test_the_answer_is_checked(hub: list[tuple[str, str]]) -> None:
    with pytest.raises(UsageError, match=r"width 0\.5, not 1"):
        timm_hub.fetch(1.0)


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", ask)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(RepGhostError, match=r"no route to host.*network"):
        timm_hub.fetch(0.5)


def test_widths_without_published_weights() -> None:
    with pytest.raises(UsageError, match=r"width 0\.7.* 0\.5, "):
        timm_hub.open_checkpoint("timm", 0.7)
    with pytest.raises(UsageError, match=r"width='0\.5'"):
        timm_hub.open_checkpoint("timm")


def test_a_path_is_read_as_a_path(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, network())
    assert timm_hub.open_checkpoint(path).spec.num_classes == 7
    assert timm_hub.open_checkpoint(str(path), 0.5).spec.width == 0.5
