"""A stand-in for the hub of published weights, on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import safetensors.torch
import torch

from repghost.network.model import RepGhostNet
from repghost.network.spec import WIDTHS

COMMIT = "0" * 40


@pytest.fixture(scope="module")
def mirror() -> Iterator[tuple[str, dict[str, bytes], list[str]]]:
    """A server on the loopback interface: its address, what it has by path, and the paths it was asked for."""
    files = {f"/timm/{row.timm_name}.in1k/resolve/main/model.safetensors": weights(row.multiplier) for row in WIDTHS}
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            asked.append(self.path)
            data = files.get(self.path)
            self.send_response(404 if data is None else 200)
            data = data or b""
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if with_body:
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", files, asked
    server.shutdown()
    server.server_close()
    thread.join(10)


def weights(width: float) -> bytes:
    """Return a file as timm publishes it, of a network that was never trained."""
    torch.manual_seed(0)
    return safetensors.torch.save(RepGhostNet(width).state_dict(), {"format": "pt"})
