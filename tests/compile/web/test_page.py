"""The page of `repghost demo` in a real browser. Images of it are kept in build/screenshots, to be looked at."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import repghost
from benchmarks.shared.browser import INSTALL_HINT, Browser, find_browser
from benchmarks.shared.page import ISOLATED, Page, opened, served
from compile.bundle.manifest import Bundle
from compile.storage.files import sha256
from compile.storage.strict_json import canonical_json
from compile.summary.collect import collect
from compile.targets.forms import WASM
from compile.web.demo import PAGE, write_demo
from repghost.data.images.decode import decode_image
from repghost.errors import UsageError
from repghost.network.spec import WIDTHS
from tests.support import ROOT
from tests.support.fake_bundle import PREPROCESS
from tests.support.fake_network import expected_logits
from tests.support.image_files import encoded, scene
from tests.support.web_bundles import run_in_node, write_web_bundle

SCREENSHOTS = ROOT / "build" / "screenshots"
SCREENS = {"desktop": (1280, 900), "phone": (390, 844)}
TEXT = "document.getElementById('{}').textContent"
PRESS = "document.getElementById('{}').click()"
SCORES = "document.getElementById('scores')"
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
WIDTH = "repghostnet_0_5x"


@pytest.fixture(scope="module")
def browser() -> Browser:
    found = find_browser()
    if found is None:
        pytest.skip(f"no Chromium: {INSTALL_HINT}, or: python -m tests.support.fetch")
    return found


@dataclass(frozen=True)
class Demo:
    folder: Path
    address: str
    page: Page


@pytest.fixture(scope="module")
def demo(browser: Browser, web_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    model = {"name": WIDTH, "width": 0.5, "weights": {"kind": "random"}}
    random = write_web_bundle(folder / "random", model=model)
    write_demo([web_bundle.path, random.path], folder / "demo")
    with served(folder) as address, opened(browser, folder / "profile", *CAMERA) as page:
        yield Demo(folder / "demo", f"{address}demo/", page)


@pytest.fixture
def page(demo: Demo) -> Iterator[Page]:
    """The page, opened anew; a message on its console fails the test."""
    demo.page.console.clear()
    demo.page.open(demo.address)
    demo.page.until("!document.getElementById('start').disabled")
    yield demo.page
    assert demo.page.console == []


def choose(page: Page, folder: Path, content: bytes) -> None:
    file = folder / "image"
    file.write_bytes(content)
    page.run("document.getElementById('state').textContent = ''")
    page.choose_files("#file", file)
    page.until(f"!/^(Fetching|$)/.test({TEXT.format('state')})")


@pytest.mark.slow
def test_vectors_are_equal_to_the_bit_in_the_browser(page: Page) -> None:
    script = "import('./networks/fake-8-int8/repghost.js').then((it) => it.load()).then((model) => model.verify())"
    assert page.run(script) == {"pictures": 12, "mismatches": 0, "largest": 0, "tolerance": 0}


@pytest.mark.slow
def test_threads_of_an_isolated_page_give_the_same_bits(browser: Browser, web_bundle: Bundle, tmp_path: Path) -> None:
    script = """(async () => {
      const { load } = await import('./repghost.js');
      const model = await load(undefined, { threads: 3 }), found = await model.verify();
      model.close();
      return [crossOriginIsolated, model.threads, found.pictures, found.mismatches];
    })()"""
    for headers, threads in ((ISOLATED, 3), ({}, 1)):
        folder = shutil.copytree(web_bundle.path, tmp_path / str(threads))
        (folder / "page.html").write_text("<!doctype html>")
        with served(folder, headers) as address, opened(browser, tmp_path / f"profile{threads}") as page:
            page.open(f"{address}page.html")
            assert page.run(script) == [threads > 1, threads, 12, 0]


@pytest.mark.slow
def test_a_picture_is_shown_with_the_scores_of_the_reference(page: Page, tmp_path: Path) -> None:
    content = encoded(scene(), "JPEG")
    choose(page, tmp_path, content)
    logits = expected_logits(PREPROCESS.apply(decode_image(content, "image"))[None])[0]
    rows = page.run(f"[...{SCORES}.tBodies[0].rows].map((row) => [...row.cells].map((it) => it.textContent))")
    best = np.argsort(-logits, kind="stable")[:5]
    assert [(name, score) for name, _, score in rows] == [(f"class {index}", f"{logits[index]:.3f}") for index in best]


def test_every_kind_of_image_of_a_page_gives_the_same_scores(page: Page, tmp_path: Path) -> None:
    choose(page, tmp_path, encoded(scene(), "PNG"))
    script = """(async () => {
      const { load } = await import('./library/repghost.js');
      const model = await load('networks/fake-8-int8'), image = document.getElementById('image');
      const file = document.getElementById('file').files[0], bitmap = await createImageBitmap(file);
      const canvas = new OffscreenCanvas(bitmap.width, bitmap.height), context = canvas.getContext('2d');
      context.drawImage(bitmap, 0, 0);
      const data = context.getImageData(0, 0, bitmap.width, bitmap.height);
      await image.decode();
      const scores = [];
      const frame = new VideoFrame(bitmap, { timestamp: 0 });
      const given = [file, await file.arrayBuffer(), bitmap, canvas, data, image, frame];
      for (const it of given) scores.push((await model.predict(it)).logits.join());
      return [scores.length, new Set(scores).size];
    })()"""
    assert page.run(script) == [7, 1]


@pytest.mark.parametrize(
    ("content", "said"), [(b"no picture", "no picture"), (b"\xff\xd8\xff" + bytes(99), "no picture")]
)
def test_what_is_no_picture_gets_a_sentence(page: Page, tmp_path: Path, content: bytes, said: str) -> None:
    choose(page, tmp_path, content)
    assert said in page.run(TEXT.format("state"))
    assert page.run("document.getElementById('scores').hidden")


def test_every_network_is_measured_and_report_takes_the_json(page: Page, tmp_path: Path) -> None:
    save = """(async () => {
      const kept = URL.createObjectURL;
      let blob;
      URL.createObjectURL = (it) => { blob = it; return kept.call(URL, it); };
      HTMLAnchorElement.prototype.click = () => {};
      document.getElementById('save').click();
      return blob.text();
    })()"""
    assert "2 networks" in page.run(TEXT.format("start")) and "MB" in page.run(TEXT.format("start"))
    page.run(PRESS.format("start"))
    page.until("!document.getElementById('save').disabled")
    assert page.run(TEXT.format("progress-label")) == "Done: 2 of 2 measured."
    assert "speed only" in page.run(TEXT.format("times"))
    assert page.run("document.getElementById('figure').hidden"), "what was published is not of inputs of 8 pixels"
    file = tmp_path / "repghost-browser.json"
    file.write_text(page.run(save))
    speeds = {speed.model: speed for speed in collect([file]).speeds}
    assert set(speeds) == {"fake", WIDTH}
    assert speeds[WIDTH].weights == "random" and "Chromium" in speeds[WIDTH].machine
    shown = page.run("document.getElementById('times').tBodies[0].rows[0].cells[2].textContent")
    assert f"{speeds['fake'].value:.2f}" == shown


def test_the_figure_sets_published_accuracy_against_latency(page: Page) -> None:
    script = """import('./chart.js').then(({ chart }) => {
      const network = { width: 0.5, precision: 'int8' };
      const of = (label, top1, more) => ({ median_ms: 2, network: { ...network, label, top1 }, ...more });
      const place = document.getElementById('chart');
      const drawn = chart(place, [of('0.5x', 66.9), of('own', null), of('1x', 74.2, { hidden: true })]);
      return [drawn, place.firstChild.getAttribute('aria-label'), chart(place, [of('own', null)])];
    })"""
    said = "Published top-1 against latency here. 0.5x int8: 66.9 % at 2.00 ms"
    assert page.run(script) == [True, said, False]


def test_a_hidden_tab_marks_the_run(page: Page, tmp_path: Path) -> None:
    page.run("Object.defineProperty(document, 'hidden', { get: () => true })")
    page.run(PRESS.format("start"))
    page.until("!document.getElementById('save').disabled")
    assert "marked" in page.run(TEXT.format("times"))
    assert not page.run("document.getElementById('marked').hidden")
    assert page.run("document.getElementById('figure').hidden")


def test_a_measurement_can_be_cancelled(page: Page) -> None:
    page.run(PRESS.format("start"))
    page.run(PRESS.format("cancel"))
    page.until("!document.getElementById('start').disabled")
    assert page.run(TEXT.format("progress-label")) == "Cancelled; 0 measured."


def test_a_changed_network_is_named_and_the_others_are_measured(page: Page, demo: Demo) -> None:
    """And it is fetched anew when it is whole again, though the browser keeps the changed one."""
    folder = demo.folder / "networks" / "fake-8-int8"
    kept = {folder / name: (folder / name).read_bytes() for name in WASM.models}  # one of them is fetched
    for file, content in kept.items():
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        page.run(PRESS.format("start"))
        page.until("!document.getElementById('save').disabled")
    finally:
        for file, content in kept.items():
            file.write_bytes(content)
    assert "digest differs" in page.run(TEXT.format("times"))
    assert page.run(TEXT.format("progress-label")) == "Done: 1 of 2 measured."
    page.run(PRESS.format("start"))
    page.until("!document.getElementById('save').disabled")
    assert page.run(TEXT.format("progress-label")) == "Done: 2 of 2 measured."


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("NotAllowedError", "it was refused"),
        ("NotFoundError", "this device has none"),
        ("NotReadableError", "another program"),
    ],
)
def test_a_camera_that_is_refused_is_named(page: Page, error: str, said: str) -> None:
    page.run(f"navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', '{error}'))")
    page.run(PRESS.format("camera"))
    page.until(f"{TEXT.format('state')}.includes('No camera')")
    assert said in page.run(TEXT.format("state"))


def test_a_camera_classifies_and_its_loss_is_named(page: Page) -> None:
    page.run(PRESS.format("camera"))
    page.until(f"{TEXT.format('state')}.startsWith('class ')")
    assert page.run("document.getElementById('camera').getAttribute('aria-pressed')") == "true"
    page.run("document.getElementById('video').srcObject.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
    page.until(f"{TEXT.format('state')} === 'The camera is gone.'")
    assert page.run("document.getElementById('video').srcObject === null")


def test_nothing_can_leave_the_page(demo: Demo, page: Page) -> None:
    ask = "fetch('http://127.0.0.2:9/').then(() => 'left', (error) => error.name)"
    worker = f"""new Promise((resolve) => {{
      const url = URL.createObjectURL(new Blob([`{ask}.then(postMessage)`], {{ type: 'text/javascript' }}));
      new Worker(url).onmessage = (event) => resolve(event.data);
    }})"""
    assert page.run(ask) == "TypeError" and any("violates" in it for it in page.console)
    assert page.run(worker) == "TypeError"
    page.console.clear()


CONTRASTS = """(() => {
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = numbers(colour).map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (it) => {
    for (; it; it = it.parentElement) {
      const colour = getComputedStyle(it).backgroundColor, [, , , alpha = 1] = numbers(colour);
      if (alpha === 1) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const own = (it) => [...it.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  const texts = [...document.querySelectorAll('body *')].filter((it) => own(it) && it.getClientRects().length);
  return texts.map((it) => {
    const [a, b] = [getComputedStyle(it).color, behind(it)].map(luminance).sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  });
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_it_fits_the_screen_and_can_be_read(page: Page, tmp_path: Path, screen: str, scheme: str) -> None:
    page.show_as(*SCREENS[screen], scheme)
    choose(page, tmp_path, encoded(scene(), "JPEG"))
    page.run(PRESS.format("start"))
    page.until("!document.getElementById('save').disabled")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    table = (
        "(({ scrollWidth, clientWidth }) => scrollWidth <= clientWidth)(document.getElementById('times').parentElement)"
    )
    assert page.run(table)
    contrasts = page.run(CONTRASTS)
    assert len(contrasts) > 30 and min(contrasts) >= 4.5  # AA of WCAG 2
    page.screenshot(SCREENSHOTS / f"demo-{screen}-{scheme}.png")


def test_everything_that_can_be_pressed_has_a_name(page: Page) -> None:
    script = """[...document.querySelectorAll('button, input, select, progress, video, img, [tabindex]')].map((it) =>
      it.ariaLabel || it.alt || it.textContent.trim() || it.labels?.[0]?.textContent.trim() || it.outerHTML)"""
    assert all(not name.startswith("<") for name in page.run(script))
    live = page.run("[...document.querySelectorAll('[role=status], [role=alert]')].map((it) => it.id)")
    assert live == ["problem", "state", "announce"]


@pytest.mark.slow
def test_it_opens_again_without_a_network(browser: Browser, web_bundle: Bundle, tmp_path: Path) -> None:
    write_demo([web_bundle.path], tmp_path / "demo")
    with opened(browser, tmp_path / "profile") as page:
        with served(tmp_path / "demo") as address:
            page.open(address)
            page.run("navigator.serviceWorker.ready.then(() => true)")
            page.until("navigator.serviceWorker.controller !== null")
            choose(page, tmp_path, encoded(scene(), "JPEG"))
            first = page.run(TEXT.format("scores"))
        page.run("location.reload()")
        kind = "performance.getEntriesByType('navigation')[0].type"
        page.until(f"document.readyState === 'complete' && {kind} === 'reload'")
        page.until("!document.getElementById('start').disabled")
        choose(page, tmp_path, encoded(scene(), "JPEG"))
        assert page.run(TEXT.format("scores")) == first


def test_a_folder_that_is_no_demo_is_not_replaced(web_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(UsageError, match="not replaced"):
        write_demo([web_bundle.path], tmp_path / "mine")
    with pytest.raises(UsageError, match="twice"):
        write_demo([web_bundle.path, web_bundle.path], tmp_path / "demo")
    with pytest.raises(UsageError, match="demo of what"):
        write_demo([], tmp_path / "demo")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


def test_a_folder_of_runs_stands_for_its_bundles_for_browsers(web_bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(web_bundle.path, tmp_path / "build" / "net-8px" / "web" / "int8")
    made = repghost.demo(tmp_path / "build", output=tmp_path / "demo")
    assert [network.folder for network in made.networks] == ["networks/fake-8-int8"]
    assert made.to_dict()["networks"][0]["weights"] == "unnamed" and "python -m http.server" in repr(made)
    with pytest.raises(UsageError, match="browsers run what was compiled for web"):
        host = tmp_path / "host"
        manifest = {**web_bundle.manifest, "target": {"name": "jetson", "triple": "aarch64-linux-gnu"}}
        shutil.copytree(web_bundle.path, host)
        (host / "build.sh").write_bytes(b"#!/bin/sh")
        (host / "check.sh").write_bytes(b"#!/bin/sh")
        entry = {"size": 9, "sha256": sha256(b"#!/bin/sh")}
        files = {**manifest["files"], "build.sh": entry, "check.sh": entry}
        (host / "manifest.json").write_bytes(canonical_json({**manifest, "files": files}))
        repghost.demo(host, output=tmp_path / "demo")


DEVICES = {
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/143.0.0.0 Mobile Safari/537.36":
        "Chrome 143 on Android (8 cores)",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1) AppleWebKit/605.1.15 Version/18.1 Mobile/15E148 Safari/604.1":
        "Safari 18 on iOS (8 cores)",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0": "Firefox 140 on Linux (8 cores)",
    "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/143.0.0.0 Safari/537.36 Edg/143.0.0.0":
        "Edge 143 on Windows (8 cores)",
    "<script>alert(1)</script>": "a browser on an unknown system (8 cores)",
}  # fmt: skip


@pytest.mark.parametrize("agent", DEVICES)
def test_a_device_is_called_by_its_browser_and_system(agent: str) -> None:
    script = "return library.deviceName({ userAgent: args[0], hardwareConcurrency: 8 });"
    assert run_in_node(PAGE, script, agent, module="device.js") == DEVICES[agent]


@pytest.mark.slow
def test_sizes_are_said_before_anything_is_fetched(web_bundle: Bundle, tmp_path: Path) -> None:
    (shown,) = write_demo([web_bundle.path], tmp_path / "demo")
    folder = tmp_path / "demo" / shown.folder
    model = max((folder / name).stat().st_size for name in WASM.models)
    assert shown.bytes == model + sum((folder / name).stat().st_size for name in ("labels.txt", "manifest.json"))
    assert json.loads((tmp_path / "demo" / "demo.json").read_text())["networks"][0]["bytes"] == shown.bytes


@pytest.mark.slow
def test_make_demo_knows_every_width() -> None:
    (line,) = re.findall(
        r"^DEMO_WIDTHS = .*\$\(WIDTHS\)\),([0-9. ]+)\)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert [float(width) for width in line.split()] == [row.multiplier for row in WIDTHS]
