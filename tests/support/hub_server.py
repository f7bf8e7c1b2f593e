"""A stand-in for the Hugging Face hub on this machine, which speaks as much of its HTTP API as its own client uses."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

LARGE = (".safetensors", ".onnx", ".so", ".bin")  # what the hub keeps as large files, by SHA-256


class FakeHub:
    """Repositories in memory, each with one branch.

    Attributes:
        address: of the server.
        repositories: content by path, by repository.
        asked: every path that was asked for.
        token: that may write; others are shown nothing but what is public.
        lies: paths whose listed digest and size are those of other content.
    """

    def __init__(self) -> None:
        self.address = ""
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        self.token = "hf_right"
        self.lies: dict[str, bytes] = {}
        self.sizes: dict[str, int] = {}
        self.uploads: dict[str, bytes] = {}

    def commit(self, repository: str) -> str:
        """The name of the newest state."""
        found = hashlib.sha1(usedforsecurity=False)
        for path, data in sorted(self.repositories[repository].items()):
            found.update(f"{len(path)} {len(data)} {path}".encode() + data)
        return found.hexdigest()

    def info(self, repository: str) -> dict[str, object]:
        """What /api/models says."""
        siblings = [self._sibling(path, data) for path, data in self.repositories[repository].items()]
        return {"id": repository, "modelId": repository, "sha": self.commit(repository), "siblings": siblings}

    def _sibling(self, path: str, data: bytes) -> dict[str, object]:
        data = self.lies.get(path, data)
        size = self.sizes.get(path, len(data))
        found: dict[str, object] = {"rfilename": path, "size": size, "blobId": blob(data)}
        if path.endswith(LARGE):
            found["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": size, "pointerSize": 130}
        return found

    def put(self, repository: str, lines: list[dict[str, object]]) -> None:
        """Take a commit in the form of /api/models/REPOSITORY/commit."""
        for line in lines:
            value = line["value"]
            assert isinstance(value, dict)
            if line["key"] == "file":
                self.repositories[repository][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.repositories[repository][value["path"]] = self.uploads[value["oid"]]


def blob(data: bytes) -> str:
    """Git's name of a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve a hub on the loopback interface until the block ends."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def do_HEAD(self) -> None:
        self._file(with_body=False)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/api/whoami-v2":
            right = self.headers.get("authorization") == f"Bearer {self.hub.token}"
            self._json({"name": "me", "type": "user"} if right else {"error": "no token"}, 200 if right else 401)
        elif path.startswith("/api/models/"):
            self.hub.asked.append(path)
            repository, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            self._info(repository, unquote(revision) or "main")
        else:
            self._file(with_body=True)

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path, self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.asked.append(path)
        if self.headers.get("authorization") != f"Bearer {self.hub.token}":
            self._json({"error": "not allowed"}, 403)
        elif path == "/api/validate-yaml":
            head = yaml.safe_load(json.loads(body)["content"].split("---\n")[1])
            self._json({"warnings": [], "errors": [] if isinstance(head, dict) else [{"message": "no head"}]})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.hub.repositories.setdefault(name, {})
            self._json({"url": f"{self.hub.address}/{name}"})
        elif "/preupload/" in path:
            files = [{**it, "uploadMode": "lfs" if it["path"].endswith(LARGE) else "regular", "shouldIgnore": False}
                     for it in json.loads(body)["files"]]  # fmt: skip
            self._json({"files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [{**it, "actions": {"upload": {"href": f"{self.hub.address}/lfs/{it['oid']}"}}}
                       for it in json.loads(body)["objects"]]  # fmt: skip
            self._json({"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            repository = path.removeprefix("/api/models/").partition("/commit/")[0]
            self.hub.put(repository, [json.loads(line) for line in body.splitlines()])
            oid = self.hub.commit(repository)
            self._json({"commitUrl": f"{self.hub.address}/{repository}/commit/{oid}", "commitOid": oid})
        else:
            self._json({"error": "unknown"}, 404)

    def do_PUT(self) -> None:
        length = self.headers.get("Content-Length")
        data = self.rfile.read(int(length)) if length else self._chunks()
        self.hub.uploads[self.path.rpartition("/")[2]] = data
        self._json({})

    def _chunks(self) -> bytes:
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _info(self, repository: str, revision: str) -> None:
        if repository not in self.hub.repositories:
            self._json({"error": "Repository not found"}, 404, "RepoNotFound")
        elif revision not in ("main", self.hub.commit(repository)):
            self._json({"error": "Invalid rev id"}, 404, "RevisionNotFound")
        else:
            self._json(self.hub.info(repository))

    def _file(self, with_body: bool) -> None:
        self.hub.asked.append(self.path)
        repository, _, rest = unquote(urlsplit(self.path).path).lstrip("/").partition("/resolve/")
        data = self.hub.repositories.get(repository, {}).get(rest.partition("/")[2])
        if data is None:
            self._json({"error": "Entry not found"}, 404, "EntryNotFound")
            return
        large = rest.endswith(LARGE)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest() if large else blob(data)}"')
        self.send_header("X-Repo-Commit", self.hub.commit(repository))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def _json(self, value: object, status: int = 200, code: str = "") -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
