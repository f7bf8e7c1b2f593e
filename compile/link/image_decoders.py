"""The runner's decoders of JPEG and PNG for browsers, so that a file has the same pixels there as on a board."""

from __future__ import annotations

import tempfile
from pathlib import Path

from compile.link.toolchain import RUNNER_SOURCES
from compile.link.zig import run_zig
from compile.storage.code_key import files_digest
from compile.storage.kernel_store import KernelStore, user_store
from compile.storage.stage_cache import key_digest, versions

SOURCES = ("images/decode.c", "images/orientation.c")
EXPORTED = ("decode", "decode_bands", "malloc")
# Without an entry and without imports: pixels are all it gives.
FLAGS = (
    "-target", "wasm32-wasi", "-mexec-model=reactor", "-Os", "-g0", "-std=c11", "-ffunction-sections",
    "-fdata-sections", "-Wl,--gc-sections", "-Wl,--strip-all",
)  # fmt: skip


def decoders(store: KernelStore | None = None) -> bytes:
    """Return images.wasm, linked when these sources and this linker never were before.

    Args:
        store: where it is kept; the user's store where it is not given.

    Raises:
        ToolMissingError, UsageError: when zig is missing or fails.
    """
    store = user_store() if store is None else store
    folders = ("images", "third_party/wuffs")
    sources = sorted(path for folder in folders for path in (RUNNER_SOURCES / folder).iterdir())
    parts = {"flags": [*FLAGS, *EXPORTED], "sources": files_digest(sources), "tools": versions("ziglang")}
    key = key_digest({"images.wasm": parts})
    found = store.get(key)
    if found is None:
        found = _linked()
        store.put(key, found)
    return found


def _linked() -> bytes:
    with tempfile.TemporaryDirectory(prefix="repghost-link-") as folder:
        sources = [str(RUNNER_SOURCES / name) for name in SOURCES]
        exports = [f"-Wl,--export={name}" for name in EXPORTED]
        run_zig(["cc", *FLAGS, f"-I{RUNNER_SOURCES}", *sources, *exports, "-o", "images.wasm"], cwd=Path(folder))
        return (Path(folder) / "images.wasm").read_bytes()
