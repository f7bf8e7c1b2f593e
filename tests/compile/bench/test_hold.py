"""Runtimes held to AVX2: what is changed in their machine code, what is not, and where the copy comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from compile.bench.compare_page import fastest_other
from compile.bench.peers.hold import held_packages, hold

XGETBV, ANSWER = b"\x0f\x01\xd0", b"\xb0\x07\x90"
XOR_ECX, ZERO_TO_ECX = b"\x31\xc9", b"\x31\xf6\x89\xf1"


@pytest.mark.parametrize(
    ("code", "held"),
    [
        (XOR_ECX + XGETBV, XOR_ECX + ANSWER),
        (b"\x90" + ZERO_TO_ECX + XGETBV + b"\xc3", b"\x90" + ZERO_TO_ECX + ANSWER + b"\xc3"),
        (XOR_ECX + b"\x90" + XGETBV, None),  # something lies between
        (b"\x83\xe0" + XGETBV, None),  # and eax, 15; add eax, edx
        (b"", None),
    ],
)
def test_only_the_question_itself_is_answered(code: bytes, held: bytes | None) -> None:
    assert hold(code) == (code if held is None else held, int(held is not None))
    assert hold(code * 3)[1] == 3 * (held is not None)


def package(folder: Path, code: bytes) -> None:
    (folder / "runtime" / "inner").mkdir(parents=True)
    (folder / "runtime" / "__init__.py").write_text("")
    (folder / "runtime" / "inner" / "engine.so").write_bytes(code)
    (folder / "runtime.libs").mkdir()
    (folder / "runtime.libs" / "threads.so.1").write_bytes(b"nothing is asked here")


def test_the_copy_links_what_does_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = b"before" + XOR_ECX + XGETBV + b"after"
    package(tmp_path / "site", code)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    folder = held_packages(("runtime", "runtime.libs"), tmp_path / "held")
    engine = folder / "runtime" / "inner" / "engine.so"
    assert engine.read_bytes() == b"before" + XOR_ECX + ANSWER + b"after" and not engine.is_symlink()
    assert (folder / "runtime" / "__init__.py").is_symlink()
    assert (folder / "runtime.libs" / "threads.so.1").resolve() == tmp_path / "site" / "runtime.libs" / "threads.so.1"
    assert (tmp_path / "site" / "runtime" / "inner" / "engine.so").read_bytes() == code
    written = engine.stat().st_mtime_ns
    assert held_packages(("runtime",), folder) == folder and engine.stat().st_mtime_ns == written


def test_a_runtime_that_asks_nothing_is_not_called_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path / "site", b"no question")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(RuntimeError, match="cannot be held to AVX2"):
        held_packages(("runtime",), tmp_path / "held")
    with pytest.raises(ModuleNotFoundError):
        held_packages(("no_such_runtime",), tmp_path / "other")


def test_a_build_for_avx2_is_compared_with_runtimes_held_to_it() -> None:
    def row(name: str, variant: str, ms: float) -> dict[str, object]:
        return {"name": name, "variant": variant, "ours": False, "precision": "int8", "rounds_ms": [ms]}

    run = {"results": [row("free", "", 1.0), row("held", "avx2", 2.0)]}
    assert [fastest_other(run, variant=it)["name"] for it in ("avx2", "vnni", "")] == ["held", "free", "free"]  # type: ignore[index]
    alone = {"results": [row("free", "", 1.0)]}
    assert fastest_other(alone, variant="avx2")["name"] == "free"  # type: ignore[index]
