"""Compile kernels on several threads, each kernel once; what an earlier run compiled is taken from the store."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import tvm
from tvm import ir

from compile.ir import build_object
from compile.storage.kernel_store import KernelStore, user_store


@dataclass(frozen=True)
class KernelSource:
    """Functions that become one object file."""

    functions: tuple[tuple[str, Any], ...]  # symbol, tvm.tirx.PrimFunc
    target: dict[str, Any]  # what `tvm.target.Target` takes

    def key(self) -> str:
        """Return a name made of everything the object depends on."""
        digest = hashlib.sha256(json.dumps([_tools(), self.target], sort_keys=True).encode())
        for symbol, function in self.functions:
            digest.update(f"\0{symbol}\0{function.script()}".encode())
        return digest.hexdigest()

    def module(self) -> Any:
        """Return TVM's module, see `build_object`."""
        functions = {ir.GlobalVar(symbol): function for symbol, function in self.functions}
        return build_object.build_object(functions, self.target)


@cache
def _tools() -> list[str]:
    """Return what turns functions into objects: TVM, its LLVM, and how `compile.ir.build_object` calls them."""
    llvm = tvm.get_global_func("target.llvm_version_major")()
    return [tvm.__version__, f"LLVM {llvm}", hashlib.sha256(inspect.getsource(build_object).encode()).hexdigest()]


def object_of(module: Any) -> bytes:
    """Return the relocatable object of a module."""
    with tempfile.TemporaryDirectory(prefix="repghost-kernel-") as folder:
        path = Path(folder) / "kernel.o"
        module.write_to_file(str(path), "o")
        return path.read_bytes()


class KernelCompiler:
    """Threads that compile; TVM and LLVM work without Python's lock.

    Args:
        jobs: how many threads; one per core where it is not given.
        store: kernels of earlier runs; the user's where it is not given.
    """

    def __init__(self, jobs: int | None = None, store: KernelStore | None = None) -> None:
        self.store = user_store() if store is None else store
        self.made = self.found = 0  # objects compiled here, and taken from the store
        self.seconds = 0.0  # processor time of all threads together, in TVM and LLVM
        self._pool = ThreadPoolExecutor(jobs or os.cpu_count() or 1)
        self._futures: dict[str, Future[bytes]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> KernelCompiler:
        """Return the compiler itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the kernels that are being compiled; after an error those that have not begun are dropped."""
        self._pool.shutdown(cancel_futures=error is not None)
        if self.made:
            self.store.shrink(self._futures)

    def submit(self, source: KernelSource) -> Future[bytes]:
        """Start to compile a source and return its future object."""
        return self._pool.submit(self._object, source)

    def _object(self, source: KernelSource) -> bytes:
        key = source.key()
        with self._lock:
            known = self._futures.get(key)
            mine: Future[bytes] = Future()
            if known is None:
                self._futures[key] = mine
        if known is not None:
            return known.result()
        try:
            content = self._find_or_make(key, source)
        except BaseException as error:
            mine.set_exception(error)
            raise
        mine.set_result(content)
        return content

    def _find_or_make(self, key: str, source: KernelSource) -> bytes:
        found = self.store.get(key)
        if found is not None:
            with self._lock:
                self.found += 1
            return found
        started = time.thread_time()
        content = object_of(source.module())
        with self._lock:
            self.made, self.seconds = self.made + 1, self.seconds + time.thread_time() - started
        self.store.put(key, content)
        return content
