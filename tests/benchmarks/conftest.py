"""Bundles of the hand-written network, as the tests of `compile` build them."""

from __future__ import annotations

from tests.compile.conftest import host, host_bundle, host_files

__all__ = ["host", "host_bundle", "host_files"]
