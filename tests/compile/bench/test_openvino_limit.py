"""OpenVINO's switch for an instruction set: a version that does not obey it is not measured as if it did."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


def compiled(*kernels: str) -> Any:
    """Return what OpenVINO says of a compiled network with these kernels."""
    values = [SimpleNamespace(astype=lambda _, name=name: name) for name in kernels]
    ops = [SimpleNamespace(get_rt_info=lambda value=value: {"primitiveType": value}) for value in values]
    return SimpleNamespace(get_runtime_model=lambda: SimpleNamespace(get_ordered_ops=lambda: ops))


def test_kernels_wider_than_the_switch_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake: Any = ModuleType("openvino")
    fake.CompiledModel = object
    monkeypatch.setitem(sys.modules, "openvino", fake)
    name = "compile.bench.peers.openvino"
    monkeypatch.delitem(sys.modules, name, raising=False)
    peer = importlib.import_module(name)
    del sys.modules[name]  # it knows the fake
    wide = compiled("brgconv_avx512_f32", "ref_any_f32")
    peer._check_limit(wide)
    monkeypatch.setenv(peer.SWITCH, "AVX2")
    peer._check_limit(compiled("brgconv_avx2_f32", "gemm_mlas_f32"))
    with pytest.raises(RuntimeError, match="AVX2 did not keep OpenVINO from brgconv_avx512_f32"):
        peer._check_limit(wide)
    monkeypatch.setenv(peer.SWITCH, "AVX512_CORE_VNNI")
    peer._check_limit(wide)
