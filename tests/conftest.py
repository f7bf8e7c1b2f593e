"""Compiled kernels are kept beside the tests' own cache, not in the user's: a second run of the tests finds them."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("REPGHOST_CACHE", str(Path(__file__).parents[1] / ".pytest_cache" / "repghost"))
