"""The committed page in a real browser, loaded once. Images of it are kept in build/screenshots, to be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.shared.browser import INSTALL_HINT, find_browser
from benchmarks.shared.page import Page, opened, served
from repghost.network.spec import WIDTHS
from tests.support import ROOT

FOLDER = ROOT / "docs" / "widths"
SCREENSHOTS = ROOT / "build" / "screenshots"
PROBE = Path(__file__).with_name("page_probe.js").read_text()
SCREENS = {"desktop": (1280, 720), "phone": (390, 844)}
SHOWN = [(device, scheme) for device in SCREENS for scheme in ("light", "dark")]
ROWS = "[...table.tBodies[0].rows].map(row => row.cells[0].textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    browser = find_browser()
    if browser is None:
        pytest.skip(f"no Chromium: {INSTALL_HINT}, or: python -m tests.support.fetch")
    profile = tmp_path_factory.mktemp("browser")
    with served(FOLDER) as address, opened(browser, profile) as found:
        found.open(f"{address}report.html")
        yield found


@pytest.fixture(scope="module")
def probes(page: Page) -> dict[tuple[str, str], dict[str, Any]]:
    """What is asked of the page on each screen, and its image."""
    found = {}
    for device, scheme in SHOWN:
        page.show_as(*SCREENS[device], scheme)
        found[device, scheme] = page.run(PROBE)
        page.screenshot(SCREENSHOTS / f"report-{device}-{scheme}.png")
    return found


@pytest.mark.parametrize(("device", "scheme"), SHOWN)
def test_text_is_legible_and_nothing_collides(
    probes: dict[tuple[str, str], dict[str, Any]], device: str, scheme: str
) -> None:
    probe = probes[device, scheme]
    assert probe["texts"] > 120
    assert (probe["faint"], probe["small"], probe["overlaps"], probe["wide"]) == ([], [], [], 0)


def test_the_answer_is_on_the_first_screen_and_the_page_is_short(
    probes: dict[tuple[str, str], dict[str, Any]],
) -> None:
    for (device, _), probe in probes.items():
        assert probe["chartEnds"] <= SCREENS[device][1]
    assert probes["desktop", "light"]["height"] <= 8 * SCREENS["desktop"][1]


def test_each_pick_shows_the_answer_of_the_table(page: Page) -> None:
    script = """
    [...document.querySelectorAll("#devices tbody tr")].flatMap((row) => [10, 30, 100].map((ms, index) => {
      const [board, limit] = document.querySelectorAll("#pick select");
      const label = row.cells[0].textContent;
      board.value = [...board.options].find((option) => option.textContent.startsWith(label)).value;
      limit.value = ms;
      board.dispatchEvent(new Event("change", { bubbles: true }));
      const take = [...document.querySelectorAll(".take")].filter((it) => it.checkVisibility());
      const bold = [...document.querySelectorAll(".take-it th")].filter((it) => it.checkVisibility());
      return [row.cells[2 + index].textContent.split(", ")[0], take.map((it) => it.textContent),
              bold.map((it) => it.textContent)];
    }))"""
    picks = page.run(script)
    assert len(picks) >= 3 * 13
    for taken, said, bold in picks:
        assert (said, bold) == (([f"Take {taken}"], [taken]) if taken != "-" else (said, []))
        assert len(said) == 1 and (taken != "-" or said[0].startswith("Nothing stays below"))


def test_repghostnet_comes_first_in_every_table(page: Page) -> None:
    script = f"""[...document.querySelectorAll("table.data")].filter((table) =>
        table.tHead.textContent.startsWith("network")).map((table) => {ROWS})"""
    tables = page.run(script)
    assert len(tables) >= 4
    for names in tables:
        own = [name.startswith("RepGhostNet") for name in names]
        assert own == sorted(own, reverse=True) and own[0]


def test_a_table_sorts_by_a_press_on_its_head(page: Page) -> None:
    script = f"""(() => {{ const table = document.querySelector("#widths table");
        const head = table.tHead.rows[0].cells[3].querySelector("button");
        head.click(); head.click(); return {ROWS}; }})()"""
    expected = [f"{width.multiplier:g}x" for width in sorted(WIDTHS, key=lambda row: -row.top1)]
    assert page.run(script) == expected


def test_what_is_folded_is_legible_too_and_a_fault_is_seen(page: Page) -> None:
    fault = "<p id=fault style='color: #888; font-size: 10px; margin-bottom: -1rem'>pale</p>"
    try:
        page.run("for (const fold of document.querySelectorAll('details')) fold.open = true")
        page.show_as(*SCREENS["phone"], "light")
        probe = page.run(PROBE)
        assert (probe["faint"], probe["small"], probe["wide"]) == ([], [], 0) and probe["texts"] > 5000
        page.run(f"document.querySelector('h1').insertAdjacentHTML('beforebegin', `{fault}`)")
        page.run("for (const fold of document.querySelectorAll('details')) fold.open = false")
        probe = page.run(PROBE)
        assert (probe["faint"], probe["small"]) == (["pale"], ["pale"])
        assert [pair.split(" | ")[0] for pair in probe["overlaps"]] == ["pale"]
    finally:
        page.run("document.getElementById('fault')?.remove()")


@pytest.mark.slow
def test_a_link_of_the_contents_opens_its_section(page: Page) -> None:
    page.run("""document.querySelector('nav a[href="#sizes"]').click()""")
    page.until("document.getElementById('sizes').open")
    assert page.run("document.querySelectorAll('details[open]').length") == 1


@pytest.mark.slow
def test_without_a_script_one_answer_and_the_table_of_all_boards_are_there(page: Page) -> None:
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    address = page.run("location.href.split('#')[0]")
    page.open(f"{address}?plain")
    visible = """["#pick", "#devices table", "#on-raspberry-pi-4 .take", "#on-raspberry-pi-5"].map((name) =>
        [...document.querySelectorAll(name)].filter((it) => it.checkVisibility()).length)"""
    assert page.run(visible) == [0, 1, 1, 0]
    assert page.console == []
