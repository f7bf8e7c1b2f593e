"""Prices of blocks: what LLVM says of them, what stands for what it does not know, and how they add up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compile.cycles import llvm as llvm_module
from compile.cycles.cores import CORES, cores_running, find_core
from compile.cycles.llvm import Llvm, fetch_llvm, find_llvm
from compile.cycles.model import RESULTS, model_cycles, price_stretch
from compile.cycles.price import Price, disassemble, price_blocks, priced_text
from compile.cycles.stretch import Stretch, read_stretches
from compile.storage.stage_cache import StageCache
from repghost.errors import RepGhostError, ToolMissingError, UsageError

ADD = "91000400"  # add x0, x0, #1
FADD_CHAIN, FADD = "4e21d400", "4e21d402"  # fadd v0.4s, v0.4s, v1.4s; fadd v2.4s, v0.4s, v1.4s
FMLA, MLA = "4e22cc20", "4ea29420"  # fmla and mla v0.4s, v1.4s, v2.4s
LDADDAL, BL, RET, UNKNOWN = "b8e00020", "94000010", "d65f03c0", "ffffffff"


@pytest.fixture(scope="module")
def llvm() -> Llvm:
    found = find_llvm()
    if found is None:
        pytest.skip("llvm-mca of this release is not installed")
    return found


def price(block: str, core: str, llvm: Llvm, tmp_path: Path) -> Price:
    return price_blocks([block], CORES[core], llvm, StageCache(tmp_path))[block]


def test_a_word_is_disassembled_and_an_unknown_one_refused(llvm: Llvm) -> None:
    texts = disassemble([ADD, FMLA, ADD], llvm)
    assert texts[ADD].split() == ["add", "x0,", "x0,", "#1"] and texts[FMLA].startswith("fmla")
    with pytest.raises(RepGhostError, match="knows 1 of 2 instructions"):
        disassemble([ADD, UNKNOWN], llvm)


@pytest.mark.parametrize("core", CORES)
def test_instructions_that_wait_for_each_other_take_longer_than_their_bound(
    core: str, llvm: Llvm, tmp_path: Path
) -> None:
    chain, free = price(FADD_CHAIN, core, llvm, tmp_path), price(FADD, core, llvm, tmp_path)
    assert chain.cycles >= 1.9  # no core adds floats in one cycle
    assert free.bound == chain.bound and free.cycles < 0.75 * chain.cycles
    assert free.cycles >= free.bound * 0.99


def test_floats_of_128_bits_take_both_pipes_of_a_cortex_a55(llvm: Llvm, tmp_path: Path) -> None:
    assert price(FMLA, "cortex-a55", llvm, tmp_path) == price(MLA, "cortex-a55", llvm, tmp_path)


def test_calls_and_atomic_operations_are_cheap_and_known(llvm: Llvm, tmp_path: Path) -> None:
    for core in CORES:
        assert price(ADD + LDADDAL + BL, core, llvm, tmp_path).cycles < 20
        assert price(RET, core, llvm, tmp_path).cycles < 20


def test_what_stands_for_an_instruction() -> None:
    a55, a53 = CORES["cortex-a55"], CORES["cortex-a53"]
    assert priced_text("fmla\tv0.4s, v1.4s, v2.s[1]", a55) == "mla\tv0.4s, v1.4s, v2.s[1]"
    assert priced_text("fmla\tv0.2s, v1.2s, v2.2s", a55) == "fmla\tv0.2s, v1.2s, v2.2s"  # 64 bits fit in one pipe
    assert priced_text("fmla\tv0.4s, v1.4s, v2.4s", a53) == "fmla\tv0.4s, v1.4s, v2.4s"
    assert priced_text("blr\tx8", a53) == "b\t#8" == priced_text("ret", a53)
    assert priced_text("swpal\tw1, w0, [x2]", a53) == "ldr\tw0, [x2]"
    assert priced_text("b.ne\t#-40", a53) == "b.ne\t#-40"


def test_prices_are_kept(llvm: Llvm, tmp_path: Path) -> None:
    first = price_blocks([ADD, FADD], CORES["cortex-a72"], llvm, StageCache(tmp_path))
    nowhere = Llvm(Path("/nowhere/llvm-mc"), Path("/nowhere/llvm-mca"))
    assert price_blocks([FADD, ADD], CORES["cortex-a72"], nowhere, StageCache(tmp_path)) == first
    with pytest.raises(ToolMissingError, match="cannot start /nowhere/llvm-mc"):
        price_blocks([FADD], CORES["cortex-a72"], nowhere, StageCache(tmp_path))


def test_a_stretch_is_the_sum_of_its_blocks() -> None:
    prices = {"a": Price(4.0, 3.0, "V"), "b": Price(2.0, 2.5, "issue")}  # rounding may put a bound above the cycles
    cycles = price_stretch(Stretch({"vector": 1}, ((10, "a"), (3, "b"))), prices)
    assert cycles.total == 46
    assert cycles.spent_on == {"V": 30.0, "issue": 6.0, RESULTS: 10.0}
    assert cycles.to_dict() == {"cycles": 46.0, "spent_on": {"V": 30.0, RESULTS: 10.0, "issue": 6.0}}


def test_cycles_are_modelled_for_the_cores_that_run_the_code(llvm: Llvm, tmp_path: Path) -> None:
    stretches = [Stretch({}, ((5, ADD),)), Stretch({}, ((5, ADD), (1, FADD_CHAIN)))]
    for code in ("cortex-a72", "cortex-a76", "max", None):
        first, second = model_cycles(stretches, code, llvm, StageCache(tmp_path))
        assert list(first) == [core.name for core in cores_running(code)]
        assert all(second[core].total > first[core].total for core in first)
    assert not cores_running("cortex-m4") and len(cores_running(None)) == len(CORES)


def test_stretches_are_read_with_words_that_stand_once() -> None:
    lines = [
        {"mark": 0, "blocks": [], "instructions": {"integer": 0}, "misses": {"16384": 7}},
        {
            "mark": 1,
            "blocks": [[0, 3, ADD], [2, 1, FADD + ADD]],
            "instructions": {"integer": 4},
            "misses": {"16384": 2},
        },
        {"mark": 2, "blocks": [[2, 9]], "instructions": {"integer": 9}, "misses": {"16384": 0}},
    ]
    found = read_stretches(json.dumps(line) for line in lines)
    assert found[1] == Stretch({"integer": 4}, ((3, ADD), (1, FADD + ADD)), {16384: 2}) and found[1].total == 4
    assert found[2].blocks == ((9, FADD + ADD),)


def test_an_unknown_core_is_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean 'cortex-a55'"):
        find_core("cortex-a555")


def test_llvm_is_found_where_it_was_unpacked_and_named_where_it_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ToolMissingError, match="apt install llvm-19") as caught:
        fetch_llvm(tmp_path)
    assert caught.value.exit_code == 4
    programs = tmp_path / llvm_module.FOLDER / "usr/lib/llvm-19/bin"
    libraries = tmp_path / llvm_module.FOLDER / "usr/lib/x86_64-linux-gnu"
    for folder in (programs, libraries):
        folder.mkdir(parents=True)
    (libraries / "libLLVM.so.19.1").write_bytes(b"")
    (programs / "llvm-mca").write_text('#!/bin/sh\necho "$LD_LIBRARY_PATH $1"\n')
    (programs / "llvm-mca").chmod(0o755)
    found = find_llvm(tmp_path)
    assert found is not None and found.run(found.analyzer, ["said"]) == f"{libraries} said\n"
    (programs / "llvm-mca").write_text("#!/bin/sh\necho oh >&2; exit 3\n")
    with pytest.raises(RepGhostError, match="llvm-mca ended with code 3: oh"):
        found.run(found.analyzer, [])
