"""Kernels are compiled once, kept, found again, and give the same bytes either way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compile.codegen import kernel_compiler as module
from compile.codegen.kernel_compiler import KernelCompiler, KernelSource
from compile.codegen.program_to_objects import compile_program
from compile.ir import tir
from compile.ir.tir import Kernel
from compile.storage.kernel_store import KernelStore
from compile.targets.table import ARM64
from tests.support.archives import archive_members
from tests.support.shapes import small_program

TARGET = ARM64.tvm_target(ARM64.variants[0])


def source(value: int = 1, symbol: str = "kernel", **changes: Any) -> KernelSource:
    kernel = Kernel("kernel")
    pointer = kernel.pointer("p", "int8")
    kernel.store(pointer, 0, tir.const(value, "int8"))
    return KernelSource(((symbol, kernel.finish()),), {**TARGET, **changes})


def test_the_key_holds_everything_the_object_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [source().key(), source(2).key(), source(symbol="other").key(), source(mattr=["+neon", "+dotprod"]).key()]
    keys.append(source(**{"opt-level": 2}).key())
    keys.append(replace(source(), functions=(*source().functions, *source(symbol="second").functions)).key())
    assert source().key() == keys[0]
    monkeypatch.setattr(module, "_tools", lambda: ["another TVM"])
    keys.append(source().key())
    assert len(set(keys)) == len(keys)


def test_a_kernel_is_compiled_once(tmp_path: Path) -> None:
    with KernelCompiler(2, KernelStore(tmp_path)) as first:
        objects = [first.submit(source(value)) for value in (1, 2, 1, 1, 2)]
        contents = [future.result() for future in objects]
    assert (first.made, first.found) == (2, 0)
    assert first.seconds > 0
    assert contents[0] == contents[2] == contents[3] != contents[1] == contents[4]
    with KernelCompiler(2, KernelStore(tmp_path)) as second:
        assert second.submit(source(1)).result() == contents[0]
        assert second.submit(source(3)).result() not in contents
    assert (second.made, second.found) == (1, 1)


def test_a_kernel_that_cannot_be_compiled_says_why_to_everyone(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="nothing"), KernelCompiler(1, KernelStore(tmp_path)) as compiler:
        futures = [compiler.submit(source(mtriple="nothing-known-at-all")) for _ in range(2)]
        assert futures[1].exception() is not None
        futures[0].result()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_warm_store_gives_the_bytes_of_a_cold_one(tmp_path: Path) -> None:
    """Also where one kernel was damaged, and where there is no store."""
    target = replace(ARM64, variants=ARM64.variants[:2])
    networks = []
    for folder, damaged in ((tmp_path, 0), (tmp_path, 0), (tmp_path, 1), (None, 0)):
        for path in sorted(tmp_path.iterdir())[:damaged]:
            path.write_bytes(path.read_bytes()[:-1])
        with KernelCompiler(2, KernelStore(folder)) as compiler:
            networks.append((compile_program(small_program(), target, compiler), compiler.made, compiler.found))
    cold, made, found = networks[0]
    assert found == 0
    assert made == len({name for variant in cold.variants for name in archive_members(variant.object_bytes)})
    assert [counts for _, *counts in networks[1:]] == [[0, made], [1, made - 1], [made, 0]]
    assert all(network == cold for network, *_ in networks)
