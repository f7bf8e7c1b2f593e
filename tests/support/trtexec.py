"""Where the stand-in for trtexec lies."""

from __future__ import annotations

from pathlib import Path

from tests.support import ROOT


def fake_trtexec_path() -> Path:
    """Return the stand-in for trtexec, a program."""
    return ROOT / "tests/support/fake_trtexec.py"
