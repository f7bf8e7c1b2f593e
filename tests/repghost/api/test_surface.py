from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path

import repghost
from benchmarks.pages.api import render_api
from benchmarks.shared.surface import surface
from tests.support import ROOT

RECORDED = Path(__file__).with_name("surface.txt")
WRITE = "REPGHOST_SURFACE"  # write: record what is there now, after a change that CHANGELOG.md tells


def test_the_surface_is_the_recorded_one() -> None:
    found = surface()
    if os.environ.get(WRITE) == "write":
        RECORDED.write_text("\n".join(found) + "\n")
    assert found == RECORDED.read_text().splitlines()


def test_no_argument_is_hidden_behind_others() -> None:
    assert [line for line in surface() if "**" in line and "Unpack[" not in line] == []


def test_the_page_is_made_from_the_docstrings() -> None:
    assert (ROOT / "docs" / "api.md").read_text() == render_api(), "python -m benchmarks.api writes it again"


def test_no_module_takes_the_place_of_a_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(repghost.__path__)}
    assert modules.isdisjoint(repghost.__all__)
    for module in (
        "commands.network.fuse",
        "commands.network.export",
        "commands.bundles.report",
        "commands.bundles.compile",
    ):
        importlib.import_module(f"repghost.{module}")
    for name in ("fuse", "export", "report", "compile", "quantize", "deploy", "load"):
        assert callable(getattr(repghost, name)), name
