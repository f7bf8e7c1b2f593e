"""The facts of a board, read by one script before anything is copied."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compile.deploy.ssh.connection import Connection
from compile.targets.table import ALIASES, TARGETS
from repghost.errors import DeviceUnreachableError
from repghost.terminal import escape
from repghost.untrusted import parse_int

LARGEST = 10**15  # of a number in the answer of a board
VALUE_LIMIT = 4096  # characters of one value; the flags of an x86-64 core take about 1600
GLIBC = re.compile(r"(?:glibc|GLIBC|GNU libc)\D*([0-9]{1,4})\.([0-9]{1,4})")
LIBC = re.compile(r"glibc|GNU libc|musl|uClibc|bionic", re.IGNORECASE)  # anything else is a message of the shell
ARM_MAKER = "0x41"
ARM_PARTS = {
    "0xb76": "ARM1176",
    "0xc05": "Cortex-A5",
    "0xc07": "Cortex-A7",
    "0xc08": "Cortex-A8",
    "0xc09": "Cortex-A9",
    "0xc0e": "Cortex-A17",
    "0xc0f": "Cortex-A15",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd49": "Neoverse N2",
    "0xd4b": "Cortex-A78C",
    "0xd4d": "Cortex-A715",
}
SLOWER_CLOCK = 0.9  # of the clock before: below it the board throttled
DIGEST_TOOLS = ("sha256sum", "shasum", "openssl")


@dataclass(frozen=True)
class BoardFacts:
    """What the probe found; None or an empty text where the board does not say."""

    machine: str  # as `uname -m` says, e.g. "aarch64"
    system: str  # e.g. "Linux 6.6.20"
    bits: int | None  # of its programs: 32 on a 64-bit kernel with a 32-bit system
    libc: str  # e.g. "glibc 2.36"
    loaders: tuple[str, ...] | None  # the files that start programs of its C libraries
    cores: int | None
    features: frozenset[str]  # of /proc/cpuinfo
    core: str  # a name, or the numbers of its maker and part
    board: str  # of the device tree
    chip: str  # the last of the device tree's compatible names, e.g. "rockchip,rk3588"
    governor: str
    clock_khz: int | None
    top_clock_khz: int | None
    temperature_c: float | None
    free_kb: int | None
    writable: bool
    digest_tool: str  # one of DIGEST_TOOLS
    current: str  # the target of the link 'current'
    boot: str  # another one after each start

    @property
    def glibc(self) -> tuple[int, ...] | None:
        """The version of glibc, e.g. (2, 36); None where there is none or it is not known."""
        found = GLIBC.search(self.libc)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def target_name(self) -> str:
        """The row of `compile.targets.table` for such a machine and its system, or the machine itself."""
        name = ALIASES.get(self.machine, self.machine)
        return (TARGETS[name].with_32_bits or name) if name in TARGETS and self.system_bits == 32 else name

    @property
    def system_bits(self) -> int | None:
        """The bits of its programs: where it does not say, 32 if it only has files that start such ones."""
        if self.bits is not None or not self.loaders:
            return self.bits
        names = {name for target in TARGETS.values() if target.bits == 32 for name in target.loaders}
        return 32 if names.issuperset(path.rpartition("/")[2] for path in self.loaders) else None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary without the long list of features, and without what says nothing later."""
        return {key: value for key, value in vars(self).items() if key not in ("features", "boot")}


def probe(connection: Connection) -> BoardFacts:
    """Return the facts of a board; nothing is changed there.

    Raises:
        DeviceUnreachableError: when it cannot be reached, or is no Unix.
    """
    reply = connection.run("probe", {})
    facts = parse_probe(reply.lines)
    if not facts.machine:
        raise DeviceUnreachableError(
            f"{connection.address.destination} answers, but does not say what it is: {reply.problem[:200]}. It has "
            "to run Linux with uname, sed and df."
        )
    return facts


def parse_probe(lines: list[str]) -> BoardFacts:
    """Return the facts in the output of the probe; whatever does not look like one is left out."""
    values: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(" ")
        values.setdefault(name, escape(value[:VALUE_LIMIT]).strip())
    temperature = _number(values, "temperature_millicelsius")
    tool, libc = values.get("digest_tool", ""), values.get("libc", "")
    return BoardFacts(
        machine=values.get("machine", ""),
        system=values.get("system", ""),
        bits=_number(values, "bits"),
        libc=libc[:100] if LIBC.search(libc) else "",
        loaders=tuple(values["loaders"].split()) if "loaders" in values else None,
        cores=_number(values, "cores"),
        features=frozenset(values.get("features", "").split()),
        core=core_name(values.get("core", "")[:100]),
        board=values.get("board", "")[:100],
        chip=values.get("chip", "")[:100],
        governor=values.get("governor", "")[:100],
        clock_khz=_number(values, "clock_khz"),
        top_clock_khz=_number(values, "top_clock_khz"),
        temperature_c=None if temperature is None else temperature / 1000,
        free_kb=_number(values, "free_kb"),
        writable=values.get("writable") != "no",
        digest_tool=tool if tool in DIGEST_TOOLS else "",
        current=values.get("current", "")[:200],
        boot=values.get("boot", "")[:100],
    )


def core_name(text: str) -> str:
    """Return the name of a core that the kernel gives as the numbers of its maker and part."""
    maker, _, part = text.partition(" ")
    return ARM_PARTS.get(part, text) if maker == ARM_MAKER else text


def _number(values: Mapping[str, str], name: str) -> int | None:
    return parse_int(values.get(name, ""), high=LARGEST)
