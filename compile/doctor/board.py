"""What deployment needs, on this machine and on a board, with the command that installs what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from compile.bundle.signing import EXTRA, is_installed
from compile.deploy.fit import expected_variant, static_hint
from compile.deploy.probe import BoardFacts, probe
from compile.deploy.ssh.connection import Connection
from compile.doctor.findings import ABSENT, MISSING, OK, Finding
from compile.targets.features import FEATURES
from compile.targets.table import COUNTED, REFUSED, TARGETS
from repghost.errors import DeviceUnreachableError, UsageError, command, install_command
from repghost.processes import TOOL_LIMIT_S, TimeLimitError, run_limited

SMALLEST_ROOM_KB = 32 * 1024  # three versions of the largest network
WARM_C = 70.0
AGENT_LIMIT_S = 10.0


def diagnose_here() -> Iterator[Finding]:
    """Look for what a deployment needs on this machine."""
    ssh = shutil.which("ssh")
    if ssh is None:
        yield Finding("ssh", ABSENT, "boards cannot be reached", "apt install openssh-client")
    else:
        try:
            done = run_limited([ssh, "-V"], TOOL_LIMIT_S, name=ssh, advice="Install it again.")
            yield Finding("ssh", OK, (done.stderr or done.stdout).strip().partition(",")[0] or ssh)
        except TimeLimitError as error:
            yield Finding("ssh", ABSENT, str(error), "apt install --reinstall openssh-client")
        yield _key()
    signing = is_installed()
    found = "model-signing" if signing else "bundles are neither signed nor checked for a signature"
    yield Finding("signing", OK if signing else ABSENT, found, "" if signing else install_command(EXTRA))


def _key() -> Finding:
    agent = shutil.which("ssh-add")
    if agent is not None:
        try:
            listed = run_limited(
                [agent, "-l"], AGENT_LIMIT_S, name=agent, advice="End the agent that hangs: ssh-agent -k"
            )
        except TimeLimitError as error:
            return Finding("ssh key", ABSENT, str(error), "unset SSH_AUTH_SOCK, or start an agent again")
        if listed.returncode == 0:
            return Finding("ssh key", OK, f"{len(listed.stdout.splitlines())} in the agent")
    try:
        keys = sorted(path.name for path in (Path.home() / ".ssh").glob("id_*.pub"))
    except (OSError, RuntimeError):  # no home, or one that cannot be read
        keys = []
    if keys:
        return Finding("ssh key", OK, ", ".join(keys))
    return Finding("ssh key", ABSENT, "neither in ~/.ssh nor in an agent", "ssh-keygen -t ed25519")


def diagnose_board(connection: Connection) -> list[Finding]:
    """Look for what a board needs; nothing is changed there."""
    try:
        facts = probe(connection)
    except DeviceUnreachableError as error:
        return [Finding("board", MISSING, str(error))]
    except UsageError as error:
        return [Finding("account", MISSING, str(error))]
    return list(board_findings(facts))


def board_findings(facts: BoardFacts) -> Iterator[Finding]:
    """Return what there is to say about a board."""
    yield _machine(facts)
    yield _libc(facts)
    yield _instructions(facts)
    room = facts.free_kb
    if room is None:
        yield Finding("room", OK, "not reported")
    else:
        small = room < SMALLEST_ROOM_KB
        remedy = "free some space, or name another folder: user@board:folder" if small else ""
        yield Finding("room", ABSENT if small else OK, f"{room / 1024:.0f} MiB free", remedy)
    if not facts.writable:
        yield Finding("folder", MISSING, "the account cannot write it", "name another one: user@board:folder")
    tool = facts.digest_tool
    found = tool or "no sha256sum: the runner is read back over ssh and checks the rest"
    yield Finding("digests", OK if tool else ABSENT, found, "" if tool else "apt install coreutils")
    yield _governor(facts)
    if facts.temperature_c is not None:
        warm = facts.temperature_c >= WARM_C
        remedy = "it may throttle: cool it before measuring" if warm else ""
        yield Finding("temperature", ABSENT if warm else OK, f"{facts.temperature_c:.0f} degrees Celsius", remedy)


def _machine(facts: BoardFacts) -> Finding:
    target = TARGETS.get(facts.target_name)
    name = " ".join(word for word in (facts.board or facts.core, facts.machine, facts.system) if word)
    if target and facts.bits not in (None, target.bits):
        return Finding("machine", MISSING, f"{name}, {facts.bits}-bit system", "install the board's 64-bit system")
    if target is None or not facts.system.startswith("Linux"):
        remedy = REFUSED.get(facts.machine, f"bundles are made for Linux on {', '.join(TARGETS)}")
        return Finding("machine", MISSING, name, remedy)
    system = f", 32-bit system: {command('compile', target=target.name)}" if target.bits == 32 else ""
    return Finding("machine", OK, name + system)


def _instructions(facts: BoardFacts) -> Finding:
    target = TARGETS.get(facts.target_name)
    if target and not expected_variant(target, [variant.name for variant in target.variants], facts):
        lacking = ", ".join(feature.name for feature in target.variants[0].requires)
        return Finding("instructions", MISSING, f"no {lacking}", f"every bundle for {target.name} needs {lacking}")
    features = sorted(feature.name for feature in FEATURES if feature.is_on(facts.features))
    return Finding("instructions", OK, ", ".join(features) or "the plainest of its kind")


def _libc(facts: BoardFacts) -> Finding:
    oldest = TARGETS.get(facts.target_name, COUNTED).oldest_glibc
    if "musl" in facts.libc or (facts.glibc is not None and facts.glibc < oldest):
        needed = ".".join(str(part) for part in oldest)
        remedy = f"the usual runner needs glibc {needed} or newer.{static_hint(facts.target_name)}"
        return Finding("libc", ABSENT, facts.libc, remedy)
    if facts.loaders == ():
        remedy = f"a static runner needs none.{static_hint(facts.target_name)}"
        return Finding("libc", ABSENT, "none that programs could be started with", remedy)
    return Finding("libc", OK, facts.libc or "not reported")


def _governor(facts: BoardFacts) -> Finding:
    if not facts.governor:
        return Finding("governor", OK, "not reported by the kernel")
    steady = facts.governor == "performance"
    remedy = (
        ""
        if steady
        else (
            "latency will vary; for a measurement: echo performance | sudo tee "
            "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        )
    )
    return Finding("governor", OK if steady else ABSENT, facts.governor, remedy)
