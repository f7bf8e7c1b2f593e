from __future__ import annotations

from pathlib import Path

import pytest

from compile.bundle.manifest import Bundle
from tests.support.web_bundles import write_web_bundle


@pytest.fixture(scope="session")
def web_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle for browsers of the network written by hand; not to be changed."""
    folder: Path = tmp_path_factory.mktemp("web") / "bundle"
    return write_web_bundle(folder)
