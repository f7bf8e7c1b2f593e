from __future__ import annotations

import shlex
import tomllib

import pytest
from packaging.requirements import Requirement

from repghost import errors
from repghost.errors import install_command, unknown_value
from tests.support import ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", [name for name in EXTRAS if name != "dev"])
def test_an_extra_is_installed_by_the_names_of_its_packages(extra: str) -> None:
    words = shlex.split(install_command(extra))
    assert words[:2] == ["pip", "install"]
    # Which order the parts of a version have is for the tool that installs to say.
    assert {*map(Requirement, words[2:])} == {Requirement(it.partition(";")[0]) for it in EXTRAS[extra]}


def test_a_checkout_that_is_not_installed_is_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "DISTRIBUTION", "no-such-distribution")
    assert install_command("signing") == "pip install '.[signing]'"


def test_nobody_is_sent_to_an_index_for_this_project() -> None:
    for folder in ("repghost", "calib", "compile", "benchmarks", "docs"):
        for path in (ROOT / folder).rglob("*.*"):
            if path.suffix in (".py", ".md", ".sh"):
                assert "repghost-deploy[" not in path.read_text(), path


def test_of_a_long_table_the_nearest_entries_are_shown() -> None:
    names = [f"network_{number:04}" for number in range(1300)]
    message = str(unknown_value("network", "network_0107x", names))
    assert "Did you mean 'network_0107'?" in message and "1295 more" in message and len(message) < 200
    assert "allowed: " + ", ".join(names[:5]) in str(unknown_value("network", "?", names))
    assert all(name in str(unknown_value("network", "?", names[:100])) for name in names[:100])


def test_a_package_is_named_with_the_versions_that_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ["torch>=2.10", "onnx>=1.21", "onnxruntime>=1.20; extra == 'peers'"]
    monkeypatch.setattr(errors, "requires", lambda name: listed)
    assert [errors.requirement(name) for name in ("torch", "onnx", "onnxruntime", "tor")] == [
        "torch>=2.10", "onnx>=1.21", "onnxruntime", "tor",
    ]  # fmt: skip
