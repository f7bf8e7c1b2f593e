"""Prices of executed blocks: each goes through LLVM's machine code analyzer, repeated as a loop would repeat it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compile.cycles.cores import Core
from compile.cycles.llvm import RELEASE, Llvm
from compile.storage.files import sha256
from compile.storage.stage_cache import StageCache
from repghost.errors import RepGhostError

# Cycles of one turn are those of this many, divided: the first turn's wait for its own results is shared by all.
TURNS = 50
WORD = 8  # hexadecimal digits of an instruction
TRIPLE = "aarch64"
FEATURES = "-mattr=+all"
# The analyzer takes a call for a hundred cycles. Calls and returns are jumps; what they lead to is counted by itself.
JUMP = (r"^(bl|blr|br|ret)\b.*", "b\t#8")
# Atomic operations on memory, which the models of older cores lack: locks of a runtime, a handful in an inference.
ATOMIC = (r"^(?:ld(?:add|clr|eor|set|[su]max|[su]min)|swp|cas)\w*\t\w+, (\w+, \[\w+\])$", r"ldr\t\1")
UNIT = re.compile(r"^\w*?Unit_?")  # what LLVM puts before the name of a unit: "A53UnitLdSt"


@dataclass(frozen=True)
class Price:
    """What one execution of a block costs on a core.

    Attributes:
        cycles: with the waiting for results.
        bound: at least, from the busiest unit and from how many instructions are issued in a cycle.
        unit: what sets the bound: LLVM's name of the unit, or "issue".
    """

    cycles: float
    bound: float
    unit: str


def price_blocks(blocks: Collection[str], core: Core, llvm: Llvm, cache: StageCache) -> dict[str, Price]:
    """Return the price of every block on a core.

    Args:
        blocks: the words of each in hexadecimal, 8 digits an instruction.
        core: whose scheduling model prices them.
        llvm: from `compile.cycles.llvm.fetch_llvm`.
        cache: keeps the prices of the same blocks.

    Raises:
        RepGhostError: when LLVM does not know an instruction.
    """
    ordered = sorted(set(blocks))
    digest = sha256("\n".join(ordered).encode("ascii"))
    key = {"blocks": digest, "core": asdict(core), "llvm": RELEASE, "turns": TURNS}

    def make() -> dict[str, bytes]:
        prices = _analyze(ordered, core, llvm) if ordered else []
        return {"prices.json": json.dumps([[it.cycles, it.bound, it.unit] for it in prices]).encode("ascii")}

    files, _ = cache.get("cycles", key, make)
    return {block: Price(*row) for block, row in zip(ordered, json.loads(files["prices.json"]), strict=True)}


def words_of(block: str) -> list[str]:
    """Return the instructions of a block, 8 hexadecimal digits each."""
    return [block[at : at + WORD] for at in range(0, len(block), WORD)]


def disassemble(words: Iterable[str], llvm: Llvm) -> dict[str, str]:
    """Return the assembly text of every instruction.

    Raises:
        RepGhostError: when one is unknown.
    """
    ordered = sorted(set(words))
    lines = [" ".join(f"0x{word[at : at + 2]}" for at in (6, 4, 2, 0)) for word in ordered]  # as bytes in memory
    with tempfile.TemporaryDirectory(prefix="repghost-mc-") as name:
        file = Path(name) / "words.txt"
        file.write_text("\n".join(lines) + "\n")
        said = llvm.run(llvm.disassembler, ["-disassemble", f"-triple={TRIPLE}", FEATURES, str(file)])
    texts = [line.strip() for line in said.splitlines() if line.startswith("\t") and not line.startswith("\t.")]
    if len(texts) != len(ordered):
        raise RepGhostError(f"LLVM {RELEASE} knows {len(texts)} of {len(ordered)} instructions of this code.")
    return dict(zip(ordered, texts, strict=True))


def _analyze(blocks: Sequence[str], core: Core, llvm: Llvm) -> list[Price]:
    texts = disassemble((word for block in blocks for word in words_of(block)), llvm)
    with tempfile.TemporaryDirectory(prefix="repghost-mca-") as name:
        file = Path(name) / "blocks.s"
        file.write_text("".join(_region(number, block, texts, core) for number, block in enumerate(blocks)))
        views = ["-json", "-instruction-info=false", f"-iterations={TURNS}"]
        said = llvm.run(llvm.analyzer, [f"-mtriple={TRIPLE}", f"-mcpu={core.mcpu}", FEATURES, *views, str(file)])
    result = json.loads(said)
    units = [UNIT.sub("", str(unit).split(".")[0]) for unit in result["TargetInfo"]["Resources"]]
    regions = {region["Name"]: region for region in result["CodeRegions"]}
    missing = [number for number in range(len(blocks)) if str(number) not in regions]
    if missing:
        raise RepGhostError(f"llvm-mca priced {len(regions)} of {len(blocks)} blocks for {core.label}.")
    return [_price(regions[str(number)], units) for number in range(len(blocks))]


def _region(number: int, block: str, texts: Mapping[str, str], core: Core) -> str:
    """Return a block as a region of the analyzer's input."""
    lines = (priced_text(texts[word], core) for word in words_of(block))
    return "\n".join([f"# LLVM-MCA-BEGIN {number}", *lines, f"# LLVM-MCA-END {number}", ""])


def priced_text(text: str, core: Core) -> str:
    """Return the instruction whose price stands for this one on a core; most stand for themselves."""
    for pattern, replacement in (JUMP, ATOMIC, *core.priced_as):
        text = re.sub(pattern, replacement, text)
    return text


def _price(region: Mapping[str, Any], units: Sequence[str]) -> Price:
    summary = region["SummaryView"]
    turns = int(summary["Iterations"])
    issue = summary["TotaluOps"] / turns / summary["DispatchWidth"]
    total = len(region["Instructions"])  # the index that the sums over a turn have
    pressure = [
        (float(entry["ResourceUsage"]), units[entry["ResourceIndex"]])
        for entry in region["ResourcePressureView"]["ResourcePressureInfo"]
        if entry["InstructionIndex"] == total
    ]
    bound, unit = max([(issue, "issue"), *pressure])
    return Price(summary["TotalCycles"] / turns, bound, unit)
