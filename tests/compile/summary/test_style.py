"""The colours of the page, in the light and in the dark: WCAG 2's contrast of AA for text, and 3 for lines."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from repghost.svg_figure import INK
from tests.support import ROOT

CSS = (files("compile.summary.pages") / "page.css").read_text("utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
)
TEXTS = ("ink", "soft", "link", "orange", "blue", "green", "purple")


def luminance(colour: str) -> float:
    """Relative luminance, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_is_legible_on_its_paper(colours: dict[str, str]) -> None:
    assert all(contrast(colours[name], colours["paper"]) >= 4.5 for name in TEXTS)
    assert contrast(colours["ink"], colours["mark"]) >= 4.5


def test_text_of_a_figure_is_legible_on_white_and_on_black() -> None:
    """A figure beside a page in Markdown has one colour for both."""
    assert contrast(INK, "#ffffff") >= 4.5 and contrast(INK, "#000000") >= 4.5
    for path in sorted((ROOT / "docs").glob("**/*.svg")):
        texts = re.findall(r"<text style=\"([^\"]*)\"", path.read_text())
        assert texts or path.parent.name == "badges", path
        assert {colour for text in texts for colour in re.findall(r"fill: (#\w{6})", text)} <= {INK}, path


def test_both_schemes_name_the_same_colours_and_contrast_is_wcag_s() -> None:
    assert LIGHT.keys() == DARK.keys() and len(LIGHT) == 11
    assert contrast("#000000", "#ffffff") == pytest.approx(21) and contrast("#777777", "#ffffff") < 4.5
