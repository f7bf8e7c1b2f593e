"""A folder served on this machine, and what Chromium says of a page in it: for benchmarks and tests."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.shared.browser import Browser
from repghost.errors import RepGhostError
from repghost.processes import kill

LIMIT_S = 30.0  # of one wait
# What gives a page its fine clock, of 5 us: nothing of other origins is in it.
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
# The browser reads commands from file descriptor 3 and writes to 4.
START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, wanted in zip(ends, (3, 4)):
    os.dup2(end, wanted)
os.execv(sys.argv[3], sys.argv[3:])
"""


class PageError(RepGhostError):
    """A page that fails, or a browser that hangs."""


class _Quiet(SimpleHTTPRequestHandler):
    headers_of_all: Mapping[str, str] = {}

    def end_headers(self) -> None:
        """Add the headers that every answer has."""
        for name, value in self.headers_of_all.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path, headers: Mapping[str, str] = {}) -> Iterator[str]:
    """Serve a folder, each answer with these headers, and yield its address."""
    handler = type("Handler", (_Quiet,), {"headers_of_all": headers})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join(LIMIT_S)


class Page:
    """A page of a running browser, driven by Chrome's DevTools protocol over two pipes."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self.limit_s = to, back, LIMIT_S
        self._number, self._rest, self._session = 0, b"", ""
        self.console: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Page", "Log", "DOM"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command, and return its result; what the console says meanwhile is kept."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": params, **session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + self.limit_s
        while True:
            answer = self._read(end)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise PageError(f"the browser refuses {method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise PageError(f"the browser did not answer within {self.limit_s:g} s; it said {self.console}")
            more = os.read(self._back, 1 << 20)
            if not more:
                raise PageError(f"the browser ended; it said {self.console}")
            self._rest += more
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        params = message.get("params", {})
        if message.get("method") == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.console.append(str(params["exceptionDetails"]))
        return message

    def open(self, address: str) -> None:
        """Go to an address and wait until its scripts have run."""
        self.send("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """Return the JSON value of an expression, awaited where it is a promise."""
        answer = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise PageError(str(details.get("exception", {}).get("description", details["text"])))
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + self.limit_s
        while not self._is(condition):
            if time.monotonic() > end:
                text = self.run("document.body.innerText")
                raise PageError(f"it never came true: {condition}; the browser said {self.console}; {text}")
            time.sleep(0.02)

    def _is(self, condition: str) -> bool:
        try:
            return bool(self.run(condition))
        except PageError as error:
            if "navigated" in str(error):  # the page goes while it is asked
                return False
            raise

    def show_as(self, width: int, height: int, scheme: str = "light") -> None:
        """Be a screen of this size, light or dark."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **screen)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        """Keep an image of the whole page."""
        path.parent.mkdir(parents=True, exist_ok=True)
        image = self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(image))

    def choose_files(self, selector: str, *files: Path) -> None:
        """Give files to an input of the page, as a visitor does."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])


@contextmanager
def opened(browser: Browser, profile: Path, *flags: str) -> Iterator[Page]:
    """Start a browser, and yield a page of it."""
    read_there, to = os.pipe()
    back, write_there = os.pipe()
    command = browser.command(["--remote-debugging-pipe", *flags, "about:blank"], profile)
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(read_there), str(write_there), *command],
        env=browser.environment(), pass_fds=(read_there, write_there), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        os.close(read_there)
        os.close(write_there)
        yield Page(to, back)
    finally:
        kill(process)
        os.close(to)
        os.close(back)
