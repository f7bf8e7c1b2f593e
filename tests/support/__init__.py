"""Helpers of the tests: stand-ins, oracles, files made for a test, and where the repository lies."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"  # images and checkpoints beside the repository; tests that use them skip without
