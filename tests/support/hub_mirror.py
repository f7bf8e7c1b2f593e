"""A stand-in for the hub of published weights, on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import safetensors.torch
import torch

from repghost.network.model import RepGhostNet
from repghost.network.spec import WIDTHS
from tests.support.hub_server import FakeHub, serving


@pytest.fixture(scope="module")
def mirror() -> Iterator[FakeHub]:
    """A hub with timm's weights of every width."""
    hub = FakeHub()
    for row in WIDTHS:
        hub.repositories[f"timm/{row.timm_name}.in1k"] = {"model.safetensors": weights(row.multiplier)}
    with serving(hub):
        yield hub


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """An empty hub, which the hub's own client in this process talks to, with an empty cache and its token."""
    from huggingface_hub import constants, file_download

    from repghost.hub import download

    with serving(FakeHub()) as found:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HF_TOKEN", found.token)
        monkeypatch.setattr(constants, "ENDPOINT", found.address)
        template = found.address + "/{repo_id}/resolve/{revision}/{filename}"
        for place in (constants, file_download):
            if hasattr(place, "HUGGINGFACE_CO_URL_TEMPLATE"):
                monkeypatch.setattr(place, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        download._fetched.cache_clear()
        yield found
    download._fetched.cache_clear()


def weights(width: float) -> bytes:
    """Return a file as timm publishes it, of a network that was never trained."""
    torch.manual_seed(0)
    return safetensors.torch.save(RepGhostNet(width).state_dict(), {"format": "pt"})
