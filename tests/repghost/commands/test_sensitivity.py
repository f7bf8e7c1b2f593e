"""`repghost sensitivity`: table, JSON, figure, and the price of float."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from calib.analysis.sensitivity import Sensitivity
from calib.analysis.sensitivity_page import float_prices, make_rows, to_svg, to_table
from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.cli import cli
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError
from tests.support.lively_network import CLASSES, SIZE, lively_model

SVG = "{http://www.w3.org/2000/svg}"
ENTRIES = (Sensitivity("a", 0.1, None), Sensitivity("b<&>", 0.2, 0.5), Sensitivity("c", None, 0.2))


def profile(precision: str, **times: float) -> dict[str, Any]:
    layers = [{"name": name, "min_us": time} for name, time in times.items()]
    return {"format": "repghost-profile", "precision": precision, "model": "m", "size": 64, "layers": layers}


def test_rows_are_sorted_and_share_the_whole() -> None:
    rows = make_rows(ENTRIES, {"a": 0.25}, {"c": 3.5})
    assert [row.name for row in rows] == ["b<&>", "c", "a"]
    assert [row.share for row in rows] == pytest.approx([0.7, 0.2, 0.1])
    table = to_table(rows)
    assert table.columns[-1].title == "float costs, us" and [row[-1].text for row in table.rows] == ["", "+3.5", ""]
    assert table.columns[4].title == "of the work" and [row[4].text for row in table.rows] == ["", "", "25.0%"]
    assert len(to_table(make_rows(ENTRIES, {})).columns) == 5  # no column for what nobody measured


def bar_widths(svg: str, part: str) -> list[float]:
    """Return the width of each row's bar, the top row first; a bar is a path around it."""
    groups = {group.get("id", ""): group for group in ElementTree.fromstring(svg).iter(f"{SVG}g")}
    paths = [groups[f"{part}-{row}"].find(f"{SVG}path") for row in range(len(ENTRIES))]
    corners = [[float(x) for x in re.findall(r"[ML] ([-\d.]+)", path.get("d"))] for path in paths]
    return [max(xs) - min(xs) for xs in corners]


def test_the_figure_is_an_svg_whose_bars_are_in_proportion() -> None:
    rows = make_rows(ENTRIES, {})
    svg = to_svg(rows, "t < u")
    outputs, weights = bar_widths(svg, "output"), bar_widths(svg, "weights")
    scale = outputs[0] / 0.2
    assert scale > 100.0  # pixels per nat; the longest bar has 0.7 nats
    assert outputs == pytest.approx([0.2 * scale, 0.0, 0.1 * scale], abs=0.01)
    assert weights == pytest.approx([0.5 * scale, 0.2 * scale, 0.0], abs=0.01)
    texts = {text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")}
    assert texts >= {"t < u", "b<&>", "a", "c", "output in int8", "weights in int8", "7.0e-01 nats, 70%"}
    assert to_svg(rows, "t < u") == svg


def test_nothing_sensitive_still_has_a_figure() -> None:
    assert "nan" not in to_svg(make_rows([Sensitivity("a", 0.0, 0.0)], {}), "none").lower()


def test_the_price_of_float_is_the_difference_of_two_profiles() -> None:
    prices = float_prices(profile("int8", a=2.0, b=1.0, only8=5.0), profile("fp32", a=7.5, b=0.5, only32=9.0))
    assert prices == {"a": 5.5, "b": -0.5}


@pytest.mark.parametrize(
    ("integer", "real", "message"),
    [
        (profile("fp32"), profile("fp32"), "profile of the int8 bundle is needed"),
        (profile("int8"), profile("int8"), "profile of the fp32 bundle is needed"),
        ({"format": "x"}, profile("fp32"), "--per-layer"),
        (profile("int8"), profile("fp32") | {"size": 224}, "different sizes: 64 and 224"),
    ],
)
def test_other_profiles_are_refused(integer: dict[str, Any], real: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        float_prices(integer, real)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("sensitivity")
    preprocess = Preprocess(size=SIZE, resize=SIZE, interpolation="bilinear")
    write_checkpoint(root / "m.safetensors", lively_model(), preprocess.to_dict(), tuple("abcde"))
    coarse = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    for index, image in enumerate(coarse.repeat(8, axis=1).repeat(8, axis=2)):
        place = root / "train" / "abcde"[index % CLASSES]
        place.mkdir(parents=True)
        Image.fromarray(image).save(place / "0.png")
    return ["sensitivity", str(root / "m.safetensors"), "--data", str(root)]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_json_and_a_figure(arguments: list[str], tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("int8.json", "fp32.json")]
    for path, precision, time in zip(paths, ("int8", "fp32"), (1.0, 4.0), strict=True):
        path.write_text(json.dumps(profile(precision, conv_stem=time)))
    profiles = [item for path in paths for item in ("--profile", str(path))]
    out, figure = tmp_path / "s.json", tmp_path / "s.svg"
    result = run(*arguments, *profiles, "--json", str(out), "--svg", str(figure), "--all")
    assert result.exit_code == 0, result.output
    assert "float costs, us" in result.output and "mean over 5 pictures" in result.output
    record = json.loads(out.read_text())
    assert record["format"] == "repghost-sensitivity" and record["pictures"] == 5
    by_name = {layer["name"]: layer for layer in record["layers"]}
    assert by_name["conv_stem"]["price_us"] == 3.0 and by_name["classifier"]["activation"] is None
    assert sum(layer["share"] for layer in record["layers"]) == pytest.approx(1.0)
    assert all(f"\n{name} " in result.output or name in result.output.splitlines()[1] for name in by_name)
    ElementTree.fromstring(figure.read_text())


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not JSON"), ("[]", "is not a profile"), ('{"layers": [{"name": "a"}]}', "is not a profile")],
)
def test_a_damaged_profile_exits_with_2(content: str, message: str, arguments: list[str], tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(content)
    result = run(*arguments, "--profile", str(path), "--profile", str(path))
    assert result.exit_code == 2 and message in result.output


def test_one_profile_is_not_enough(arguments: list[str], tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text("{}")
    result = run(*arguments, "--profile", str(path))
    assert result.exit_code == 2 and "given twice" in result.output
