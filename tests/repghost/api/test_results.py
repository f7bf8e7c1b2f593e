"""What functions return says what it is: a repr, the same for a notebook, and JSON values."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

import repghost
from compile.deploy.ssh.address import BoardAddress
from repghost.api.networks.opened import known_labels, preprocess_of
from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.errors import UsageError
from repghost.terminal import Shown
from tests.support.small_classifier import image, small_classifier

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


def test_what_was_returned_is_taken_where_a_path_is(tmp_path: Path) -> None:
    q = repghost.quantize(small_classifier(), np.stack([image("red", seed) for seed in range(4)]))
    file = q.save(tmp_path / "net.qdq.onnx")
    shown, of_file = repghost.explain(q), repghost.explain(file)
    assert shown.layers == of_file.layers and shown.digest == q.digest and shown.source == q.name
    found = repghost.lint(q, runtime="tensorrt", as_float=True)
    assert found.result == repghost.lint(file, runtime="tensorrt", as_float=True).result and found.file == Path(q.name)
    with pytest.raises(UsageError, match="not Sequential"):
        repghost.explain(small_classifier())  # type: ignore[arg-type]


def test_a_weight_file_keeps_how_its_images_are_prepared(tmp_path: Path) -> None:
    preprocess = repghost.Preprocess(size=32, resize=40)
    net = repghost.RepGhostNet(0.1, 3).eval()
    write_checkpoint(tmp_path / "net.safetensors", net, preprocess.to_dict(), ("a", "b", "c"), {})
    found = repghost.load_model(tmp_path / "net.safetensors")
    assert preprocess_of(found) == preprocess and known_labels(found, 3) == ("a", "b", "c")
