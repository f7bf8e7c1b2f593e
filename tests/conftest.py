"""What all tests share: a cache of compiled kernels of their own, and the order they run in.

Compiled kernels are kept beside the tests' own cache, not in the user's: a second run of the tests finds them. Modules
with many slow tests run first, so that no process is left with a long one at the end.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.support import ROOT

os.environ.setdefault("REPGHOST_CACHE", str(ROOT / ".pytest_cache" / "repghost"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests by how many slow ones their module has; within a module the order stays."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
