"""What functions return says what it is: a repr, the same for a notebook, and JSON values."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

import pytest

import repghost
from compile.deploy.ssh.address import BoardAddress
from repghost.terminal import Shown

SETTINGS = {"LayerSettings", "Preprocess", "QuantConfig"}  # what is given, not what is returned
RESULTS = sorted(
    name
    for name in set(repghost.__all__) - SETTINGS
    if isinstance(getattr(repghost, name), type) and hasattr(getattr(repghost, name), "to_dict")
)


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_shows_itself(name: str) -> None:
    kind = getattr(repghost, name)
    shown = {"_repr_html_", "_repr_markdown_"} & set(dir(kind))
    assert shown and kind.__repr__ is not object.__repr__
    if dataclasses.is_dataclass(kind):
        written = kind.__repr__.__qualname__
        assert "__create_fn__" not in written and "dataclass" not in written, "the repr of its fields"
    assert kind.to_dict.__doc__


def test_there_are_results() -> None:
    assert len(RESULTS) > 20 and {"Inventory", "Trained", "Verification", "Comparison"} <= set(RESULTS)


@pytest.mark.parametrize("name", [name for name in repghost.__all__ if name.islower() and not name.startswith("_")])
def test_a_function_says_what_it_returns(name: str) -> None:
    returned = getattr(repghost, name).__annotations__["return"]
    assert "Any" not in str(returned)
    assert (getattr(repghost, name).__doc__ or "").count("Raises:") == 1 or name == "list_models"


def test_a_notebook_shows_foreign_text_as_text() -> None:
    version = repghost.rollback.__globals__["older_version"].Version("d" * 64, 0, "<b>net</b>", "arm64", "int8")
    found = repghost.Rollback(version, BoardAddress("board"))
    assert repr(found) == "current on board:repghost: dddddddddddd (<b>net</b> arm64 int8)"
    assert found._repr_html_() == f"<pre>{repr(found).replace('<', '&lt;').replace('>', '&gt;')}</pre>"
    assert isinstance(found, Shown) and found.to_dict()["model"] == "<b>net</b>"
    assert get_type_hints(Shown._repr_html_)["return"] is str
