"""Frames from programs in other languages, over a Unix socket or the loopback.

A message is one line of JSON, at most 4096 bytes, and the bytes of a frame without anything between its rows, e.g.

    {"width": 640, "height": 480, "order": "bgr", "top": 3}

a line feed, and 640 * 480 * 3 bytes; with order "nv12" half as many.

The answer is one line of JSON: {"top": [{"class", "label", "logit", "probability"}, ...], "variant", "prepare_ms",
"infer_ms"} or {"error"}; of a detector "boxes" stands for "top": [{"class", "label", "score", "box"}, ...], a box as
left, top, right and bottom in pixels of the frame.

A connection takes any number of messages; after one that cannot be understood it is closed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import stat
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from repghost_runtime.errors import RepGhostError, UsageError
from repghost_runtime.find_boxes import find_boxes
from repghost_runtime.frames import ORDERS, bytes_of_pixel
from repghost_runtime.model import Model, Prediction

LINE_LIMIT = 4096  # bytes of the line that begins a message
USUAL_PIXELS, MOST_PIXELS = 1 << 24, 89_478_485  # of a frame, as in repghost-run
MESSAGE_LIMIT_S = 10.0  # from the first byte of a message to its last, and for an answer
IDLE_LIMIT_S = 60.0  # between two messages
CONNECTIONS = 8  # at once
LOOPBACK = ("127.0.0.1", "::1", "localhost")
KEYS = {"width", "height", "order", "top"}


class _Closed(Exception):  # noqa: N818 - nothing went wrong here
    """The other side is done, or too slow, or sends what cannot be understood."""


class Server:
    """Answers on a socket until it is closed; `run` is called once."""

    def __init__(self, model: Model, address: str, *, max_pixels: int = USUAL_PIXELS) -> None:
        """Begin to listen.

        Args:
            model: what answers.
            address: the path of a Unix socket, which only this account may use, or 127.0.0.1:PORT, [::1]:PORT or
                localhost:PORT; port 0 is any that is free.
            max_pixels: of a frame.

        Raises:
            UsageError: when the address is public, taken or wrong.
        """
        if not 1 <= max_pixels <= MOST_PIXELS:
            raise UsageError(f"a frame may have 1 to {MOST_PIXELS} pixels, not {max_pixels}.")
        self.model, self.max_pixels = model, max_pixels
        self.message_limit_s, self.idle_limit_s = MESSAGE_LIMIT_S, IDLE_LIMIT_S
        self._socket, self.address, self._path = _listen(address)
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        self._closed = False

    def run(self) -> None:
        """Answer until `close` is called in another thread, or an exception of a signal ends it."""
        try:
            while not self._closed:
                try:
                    connection, _ = self._socket.accept()
                except socket.timeout:
                    continue
                except OSError:
                    if self._closed:
                        return
                    time.sleep(0.1)  # e.g. no free descriptors: the connection waits
                    continue
                self._start(connection)
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening and remove the socket's file; connections end when their message is answered."""
        if self._closed:
            return
        self._closed = True
        self._socket.close()
        if self._path is not None:
            with contextlib.suppress(OSError):  # where somebody removed it already
                self._path.unlink()

    def _start(self, connection: socket.socket) -> None:
        if not self._free.acquire(blocking=False):
            with connection:
                connection.settimeout(1.0)
                _try_send(connection, {"error": f"{CONNECTIONS} connections are open; try again later."})
            return
        threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection:
                waiting = _Reader(connection)
                while not self._closed:
                    _send(connection, self._answer(waiting), self.message_limit_s)
        except (_Closed, OSError) as end:
            del end  # the other side has been told, or is gone
        finally:
            self._free.release()

    def _answer(self, reader: _Reader) -> dict[str, Any]:
        """Return the answer to the next message; one that cannot be understood is answered here, and ends it."""
        try:
            line = reader.line(self.idle_limit_s, self.message_limit_s)
            asked = _parse(line, self.max_pixels)
            body = reader.exactly(_frame_bytes(asked, self.model.shape[2]))
        except UsageError as error:
            _try_send(reader.connection, {"error": str(error)})
            raise _Closed from error
        try:
            return _infer(self.model, asked, body)
        except RepGhostError as error:
            return {"error": str(error)}


class _Reader:
    """What a connection sends, each message within a time limit."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._rest = b""
        self._deadline = 0.0

    def line(self, idle_s: float, limit_s: float) -> bytes:
        """Return the next line; its message has `limit_s` seconds from its first byte."""
        if not self._rest:
            self._deadline = time.monotonic() + idle_s
            self._rest = self._some(LINE_LIMIT)
        self._deadline = time.monotonic() + limit_s
        while b"\n" not in self._rest[:LINE_LIMIT]:
            if len(self._rest) >= LINE_LIMIT:
                raise UsageError(f"a message begins with a line of at most {LINE_LIMIT} bytes.")
            self._rest += self._some(LINE_LIMIT)
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def exactly(self, size: int) -> bytearray:
        """Return the next bytes of the message."""
        data = bytearray(self._rest[:size])
        self._rest = self._rest[size:]
        while len(data) < size:
            data += self._some(min(size - len(data), 1 << 16))
        return data

    def _some(self, most: int) -> bytes:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise _Closed
        self.connection.settimeout(left)
        found = self.connection.recv(most)
        if not found:
            raise _Closed
        return found


def _parse(line: bytes, max_pixels: int) -> dict[str, Any]:
    """Return what a message asks for, with the values that it leaves out."""
    try:
        asked = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError("a message begins with one line of JSON.") from error
    if not isinstance(asked, dict) or not set(asked) <= KEYS or not {"width", "height"} <= set(asked):
        raise UsageError("a message has width and height, and may have order and top.")
    asked = {"order": "rgb", "top": 5, **asked}
    if not isinstance(asked["order"], str) or asked["order"] not in ORDERS:
        raise UsageError(f"the order of a message is one of {', '.join(ORDERS)}.")
    if not all(type(asked[key]) is int and 1 <= asked[key] <= MOST_PIXELS for key in ("width", "height", "top")):
        raise UsageError(f"width, height and top of a message are whole numbers from 1 to {MOST_PIXELS}.")
    if asked["width"] * asked["height"] > max_pixels:
        raise UsageError(f"a frame has at most {max_pixels} pixels; --max-pixels allows more.")
    if asked["order"] not in ("rgb", "bgr") and (asked["width"] % 2 or asked["height"] % 2):
        raise UsageError("a frame in NV12 has an even width and height.")
    return asked


def _frame_bytes(asked: dict[str, Any], channels: int) -> int:
    pixels = int(asked["width"] * asked["height"])
    return pixels * bytes_of_pixel(channels) if asked["order"] in ("rgb", "bgr") else pixels * 3 // 2


def _infer(model: Model, asked: dict[str, Any], body: bytearray) -> dict[str, Any]:
    height, width = asked["height"], asked["width"]
    shape = (
        (height, width, bytes_of_pixel(model.shape[2]))
        if asked["order"] in ("rgb", "bgr")
        else (height * 3 // 2, width)
    )
    frame = np.frombuffer(body, np.uint8).reshape(shape)
    begun = time.perf_counter()
    prepared = model.prepare(frame, asked["order"])
    ready = time.perf_counter()
    numbers = model.logits(prepared[None])[0]
    rule = model.bundle.rule
    found = (
        {"top": top(model, model.prediction(numbers), asked["top"])}
        if rule is None
        else {"boxes": find_boxes(rule, numbers).listed(model.labels, width, height)}
    )
    done = time.perf_counter()
    return {
        **found,
        "variant": model.variant,
        "prepare_ms": round((ready - begun) * 1e3, 3),
        "infer_ms": round((done - ready) * 1e3, 3),
    }


def top(model: Model, prediction: Prediction, count: int) -> list[dict[str, Any]]:
    """Return the best classes as the runner's `--classify` gives them."""
    scores = prediction.logits.astype(np.float64)
    exponentials = np.exp(scores - scores.max())
    parts = exponentials / exponentials.sum()
    return [
        {"class": i, "label": model.labels[i], "logit": _finite(scores[i]), "probability": _finite(parts[i])}
        for i in prediction.top(count)
    ]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _send(connection: socket.socket, answer: dict[str, Any], limit_s: float) -> None:
    connection.settimeout(limit_s)
    connection.sendall(json.dumps(answer).encode("ascii") + b"\n")


def _try_send(connection: socket.socket, answer: dict[str, Any]) -> None:
    """Tell the other side once more, if it still listens."""
    with contextlib.suppress(OSError):
        _send(connection, answer, 1.0)


def _listen(address: str) -> tuple[socket.socket, str, Path | None]:
    """Return a listening socket, where it is as others write it, and the file of a Unix socket."""
    host, colon, port = address.rpartition(":")
    if "/" not in address and (colon or address.isdecimal() or address in LOOPBACK):
        if not (colon and port.isascii() and port.isdecimal()):
            raise UsageError(f"{address!r} has no port; write e.g. 127.0.0.1:9000, or ./{address} for a Unix socket.")
        return _listen_on_loopback(host.strip("[]"), int(port))
    path = Path(address)
    _remove_stale(path)
    found = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)  # the socket is for this account alone
    try:
        _bind(found, str(path), address)
    finally:
        os.umask(before)
    return found, str(path), path


def _listen_on_loopback(host: str, port: int) -> tuple[socket.socket, str, None]:
    if host not in LOOPBACK:
        raise UsageError(
            f"{host!r} is not the loopback; allowed are {', '.join(LOOPBACK)} and the path of a Unix socket. Who may "
            "connect is not asked, so this never listens to other machines: put a server of your own before it."
        )
    if port > 65535:
        raise UsageError(f"{port} is no port; allowed are 0 to 65535.")
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    host = "127.0.0.1" if host == "localhost" else host  # whatever a file of hosts says
    _bind(found, (host, port), f"{host}:{port}")
    return found, f"{f'[{host}]' if ':' in host else host}:{found.getsockname()[1]}", None


def _bind(found: socket.socket, place: str | tuple[str, int], address: str) -> None:
    try:
        found.bind(place)
        found.listen(CONNECTIONS)
        found.settimeout(0.5)  # so that `close` is seen
    except OSError as error:
        found.close()
        raise UsageError(f"cannot listen on {address}: {error.strerror or error}.") from error


def _remove_stale(path: Path) -> None:
    """Remove the socket of a server that is gone; anything else at the path is refused."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise UsageError(f"{path} is there already and is no socket; choose another path.")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise UsageError(f"{path} cannot be used: {error.strerror or error}.") from error
    raise UsageError(f"another server answers on {path}; end it, or choose another path.")
