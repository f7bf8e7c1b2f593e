"""Options of `repghost compile` that could change nothing are refused, before anything slow is imported."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from repghost.cli import cli
from repghost.commands.options.compile_options import refuse_without_effect
from repghost.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jetpack", "5"], "--jetpack"),
        (["--depthwise", "float"], "target jetson"),
        (["--weights", "random", "--data", "d"], "random weights"),
        (["--weights", "random", "--images", "512"], "--images"),
        (["--weights", "random", "--preprocess", "p.json"], "--preprocess"),
        (["--weights", "n.qdq.onnx", "--config", "c.json"], "--config"),
        (["--weights", "n.qdq.onnx", "--images", "3"], "--images"),
        (["--weights", "n.qdq.onnx", "--test-images", "3"], "--test-images"),
        (["--weights", "n.qdq.onnx", "--class-order", "natural"], "--class-order"),
        (["--weights", "random", "--class-map", "map.txt"], "--class-map"),
    ],
)
def test_what_would_be_ignored_is_refused(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, ["compile", "--target", "host", *arguments])
    assert result.exit_code == 2 and message in result.output and "leave it out" in result.output


@pytest.mark.parametrize(
    ("given", "for_jetson", "weights", "data"),
    [
        ({"images", "test_images", "data", "config"}, False, "net.safetensors", True),
        ({"jetpack", "via", "depthwise", "squeeze_excite", "images"}, True, None, False),
        ({"data", "test_images", "preprocess"}, False, "net.onnx", True),
        ({"config", "seed", "size", "width"}, False, "random", False),
    ],
)
def test_what_has_an_effect_is_taken(given: set[str], for_jetson: bool, weights: str | None, data: bool) -> None:
    refuse_without_effect(given, for_jetson, weights, data)


def test_the_first_of_several_is_named() -> None:
    with pytest.raises(UsageError, match="jetpack= has no effect here"):
        refuse_without_effect({"images", "jetpack"}, False, "random", False)
