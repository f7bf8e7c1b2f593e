"""The server of repghost-runtime: frames of other programs, within limits of size and time."""

from __future__ import annotations

import json
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from repghost_runtime import Model, Server, UsageError
from repghost_runtime.server import CONNECTIONS, LINE_LIMIT, LOOPBACK
from tests.support.fake_network import CLASSES
from tests.support.nv12 import nv12

BLACK = {"width": 8, "height": 8}


@pytest.fixture(scope="module")
def model(host_bundle: Path) -> Model:
    return Model(host_bundle)


@contextmanager
def serving(model: Model, address: str, **limits: float) -> Iterator[Server]:
    server = Server(model, address, max_pixels=4096)
    for name, value in limits.items():
        setattr(server, name, value)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(10)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def server(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(model, str(tmp_path_factory.mktemp("s") / "socket")) as server:
        yield server


class Client:
    def __init__(self, server: Server) -> None:
        host, _, port = server.address.rpartition(":")
        unix = server.address.startswith("/")
        self.socket = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.socket.settimeout(20)
        self.socket.connect(server.address if unix else (host, int(port)))
        self.answers = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.answers.close()
        self.socket.close()

    def ask(self, header: dict[str, Any] | bytes, body: bytes = b"") -> dict[str, Any] | None:
        line = header if isinstance(header, bytes) else json.dumps(header).encode()
        self.socket.sendall(line + b"\n" + body)
        return self.answer()

    def answer(self) -> dict[str, Any] | None:
        line = self.answers.readline()
        return json.loads(line) if line else None


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server) as made:
        yield made


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)


def of(answer: dict[str, Any] | None) -> dict[int, float]:
    assert answer is not None, "the connection was closed"
    return {entry["class"]: entry["logit"] for entry in answer["top"]}


def test_frames_on_one_connection(client: Client, model: Model) -> None:
    frame = noise(20, 31)
    expected = model(frame)
    got = client.ask({"width": 31, "height": 20, "top": CLASSES}, frame.tobytes())
    assert of(got) == dict(enumerate(expected.logits.tolist()))
    assert got is not None and got["variant"] == model.variant and got["infer_ms"] >= 0
    assert got["top"][0]["label"] == expected.label
    assert got["top"][0]["probability"] == pytest.approx(expected.probability)
    swapped = np.ascontiguousarray(frame[:, :, ::-1])
    got = client.ask({"width": 31, "height": 20, "order": "bgr", "top": 1}, swapped.tobytes())
    assert of(got) == {expected.index: expected.logits[expected.index]}
    planes = nv12(20, 14)
    got = client.ask({"width": 20, "height": 14, "order": "nv12"}, b"".join(plane.tobytes() for plane in planes))
    assert of(got).items() <= dict(enumerate(model(planes, "nv12").logits.tolist())).items()
    assert len(of(got)) == 5


def test_a_message_that_comes_in_pieces(client: Client, model: Model) -> None:
    frame = noise(9, 9)
    message = json.dumps({"width": 9, "height": 9, "top": CLASSES}).encode() + b"\n" + frame.tobytes()
    for start in range(0, 2 * len(message), 50):
        client.socket.sendall((message * 2)[start : start + 50])
    for _ in range(2):
        assert of(client.answer()) == dict(enumerate(model(frame).logits.tolist()))


def test_an_image_that_cannot_be_resized_leaves_the_connection_open(client: Client, model: Model) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("too long and thin")

    with (
        pytest.MonkeyPatch.context() as patch
    ):  # one that is too thin has more pixels than the server of this test takes
        patch.setattr(model, "prepare", refuse)
        assert client.ask(BLACK, bytes(192)) == {"error": "too long and thin"}
    assert "top" in (client.ask(BLACK, bytes(192)) or {})


WRONG = {
    "a request of HTTP": (b"POST / HTTP/1.1", "one line of JSON"),
    "no object": (b"[1]", "width and height"),
    "nested": (b"[" * 4000, "one line of JSON"),
    "no width": ({"height": 8}, "width and height"),
    "an unknown key": ({"width": 8, "height": 8, "stride": 24}, "width and height"),
    "no size": ({"width": 0, "height": 8}, "whole numbers from 1"),
    "a yes": ({"width": True, "height": 8}, "whole numbers"),
    "a fraction": ({"width": 8.0, "height": 8}, "whole numbers"),
    "a text": ({"width": "8", "height": 8}, "whole numbers"),
    "a huge number": (b'{"width": 1' + b"0" * 3000 + b', "height": 8}', "whole numbers"),
    "too many pixels": ({"width": 65, "height": 64}, "at most 4096 pixels"),
    "no classes": ({"width": 8, "height": 8, "top": 0}, "whole numbers"),
    "an order": ({"width": 8, "height": 8, "order": "yuyv"}, "one of rgb, bgr"),
    "an order that is none": ({"width": 8, "height": 8, "order": ["rgb"]}, "one of rgb, bgr"),
    "odd nv12": ({"width": 9, "height": 8, "order": "nv12"}, "even width"),
    "a long line": (b" " * (LINE_LIMIT + 1), "a line of at most 4096"),
    "not UTF-8": (b'{"width\xff": 8}', "one line of JSON"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_understood_is_said_and_ends_the_connection(client: Client, name: str) -> None:
    header, message = WRONG[name]
    answer = client.ask(header)
    assert answer is not None and message in answer["error"]
    with suppress(ConnectionResetError):  # where more was sent than was read
        assert client.answer() is None


def test_a_slow_message_and_a_silent_connection_are_ended(model: Model, tmp_path: Path) -> None:
    with (
        serving(model, str(tmp_path / "s"), message_limit_s=0.3, idle_limit_s=0.6) as server,
        Client(server) as slow,
        Client(server) as silent,
    ):
        begun = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(200):
                slow.socket.sendall(b"{")
                time.sleep(0.02)
        assert silent.answer() is None
        assert time.monotonic() - begun < 10


def test_no_more_connections_than_allowed(server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            assert stack.enter_context(Client(server)).ask(BLACK, bytes(192))
        more = stack.enter_context(Client(server))
        answer = more.answer()
        assert answer is not None and "connections are open" in answer["error"]
        assert more.answer() is None


def test_the_socket_is_for_its_owner_and_goes_with_the_server(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with serving(model, str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(UsageError, match="another server answers"):
            Server(model, str(path))
    assert not path.exists()


def test_what_a_server_that_was_killed_left_is_replaced(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with serving(model, str(path)) as server, Client(server) as client:
        assert client.ask(BLACK, bytes(192))
    path.write_text("precious")
    with pytest.raises(UsageError, match="is no socket"):
        Server(model, str(path))
    assert path.read_text() == "precious"


def test_the_loopback(model: Model) -> None:
    with serving(model, "127.0.0.1:0") as server, Client(server) as client:
        assert client.ask(BLACK, bytes(192))
        with pytest.raises(UsageError, match="cannot listen on"):
            Server(model, server.address)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("0.0.0.0:9000", "is not the loopback"), (":9000", "is not the loopback"), ("[::]:9000", "is not the loopback"),
        ("192.168.1.5:80", "is not the loopback"), ("example.org:80", "is not the loopback"),
        ("127.0.0.1:65536", "is no port"), ("/nonexistent/folder/socket", "cannot listen on"),
        ("x" * 200, "cannot listen on"), ("9000", "has no port"), ("127.0.0.1", "has no port"),
        ("127.0.0.1:http", "has no port"), ("127.0.0.1:\N{SUPERSCRIPT TWO}", "has no port"),
    ],
)  # fmt: skip
def test_no_public_address(model: Model, address: str, message: str) -> None:
    assert not set(LOOPBACK) & {"0.0.0.0", "::", ""}
    with pytest.raises(UsageError, match=message):
        Server(model, address)


def test_a_limit_of_pixels_is_a_number_of_them(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 to 89478485 pixels"):
        Server(model, str(tmp_path / "s"), max_pixels=1 << 40)
    assert not [*tmp_path.iterdir()]
