from __future__ import annotations

from pathlib import Path


def fake_trtexec_path() -> Path:
    """Return the stand-in for trtexec, a program."""
    return Path(__file__).with_name("fake_trtexec.py")
