"""The parts alone: addresses, framing, what a board says, whether a bundle fits."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.bundle.manifest import Bundle
from compile.cycles.boards import BOARDS
from compile.deploy.fit import check_fit, expected_variant
from compile.deploy.history import parse_version, version_of
from compile.deploy.inventory import parse_inventory
from compile.deploy.measure import core as measured_core
from compile.deploy.measure import throttled
from compile.deploy.probe import BoardFacts, parse_probe
from compile.deploy.ssh import connection as connection_module
from compile.deploy.ssh.address import parse_address
from compile.deploy.ssh.connection import SCRIPTS, Connection, Reply, SshSettings, framed, remote_word, unframed
from compile.deploy.ssh.reasons import connection_reason
from compile.deploy.verify_on_board import read_verification
from compile.doctor.board import board_findings
from compile.report.boards import add_to_build, carry_over
from compile.targets.table import ARM64, X86_64
from repghost.errors import DeviceUnreachableError, IntegrityError, RepGhostError, UsageError

ADDRESSES = {
    "board": ("board", "", "repghost"),
    "pi@board": ("board", "pi", "repghost"),
    "pi@10.0.0.2:apps/x": ("10.0.0.2", "pi", "apps/x"),
    "board:/opt/x/": ("board", "", "/opt/x"),
    "board:~/x": ("board", "", "x"),
    "board:": ("board", "", "repghost"),
    "pi@[fe80::1%eth0]:x": ("fe80::1%eth0", "pi", "x"),
    "[::1]": ("::1", "", "repghost"),
    "board:a@b": ("board", "", "a@b"),
    "board:-x": ("board", "", "-x"),
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_addresses_are_read(text: str) -> None:
    address = parse_address(text)
    assert (address.host, address.user, address.folder) == ADDRESSES[text]
    assert parse_address(str(address)) == address
    assert address.path.startswith(("/", "./"))


def test_a_command_to_copy_is_quoted_for_both_shells() -> None:
    words = ("sh", "/opt/a b;'x/measure.sh")
    assert parse_address("pi@board").command("repghost/run", "--info") == "ssh pi@board repghost/run --info"
    here = shlex.split(parse_address("pi@board").command(*words))
    assert here[:2] == ["ssh", "pi@board"] and shlex.split(" ".join(here[2:])) == list(words)


WRONG = [
    *("", "-oProxyCommand=x", "pi@-oX", "-l@board", "a b", "a;b", "$(x)", "`x`", "a\nb", "@board", "pi@", "pi@@board"),
    *("[::1", "[::1]x", "[-x]", "board:/", "board:..", "board:a/../b", "board:a\nb", "board:\0", "board:" + "x" * 600),
    *("ssh://board", "böard", "a/b", "pi!@board"),
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_board_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no board"):
        parse_address(text)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_no_text_becomes_an_option(text: str) -> None:
    try:
        address = parse_address(text)
    except UsageError:
        return
    assert not address.destination.startswith("-") and " " not in address.destination
    assert address.path.startswith(("/", "./")) and address.path.isprintable()


TEXTS = ["it's", 'a "b"', "back\\slash\\n", "!x", "ünï\n日本", "$HOME `x` %s %d", "a\tb", "'" * 5]
SHELLS = [name for name in ("sh", "bash", "dash", "busybox", "zsh", "fish", "tcsh") if shutil.which(name)]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("shell", SHELLS)
def test_any_login_shell_passes_a_script_on(shell: str, text: str) -> None:
    script = connection_module.assignments({"text": text}) + "printf '%s' \"$text\""
    words = [shell, *(["sh"] if shell == "busybox" else []), "-c", remote_word(framed(script, "0123"))]
    done = subprocess.run(words, capture_output=True, check=True)
    assert unframed(done.stdout, "0123") == (text.encode(), 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_message_of_the_shell_begins_with_its_name_and_not_with_the_script(shell: str) -> None:
    script = framed("# a script of many lines\nnosuchprogram", "0123")
    words = [shell, *(["sh"] if shell == "busybox" else []), "-c", remote_word(script)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    problem = Reply(127, b"", done.stderr).problem
    assert "not found" in problem and "many lines" not in done.stderr and len(problem) < 60, done.stderr


def test_what_a_board_prints_is_safe_to_show() -> None:
    reply = Reply(1, b"\x1b[2Jproblem\nproblem \x1b]0;x\x07\xff\n", "")
    assert reply.problem == r"\x1b]0;x\x07" + "\ufffd" and all(line.isprintable() for line in reply.lines)
    assert Reply(1, b"", "warning\n\x1b[31mlast\r\n").problem == r"\x1b[31mlast"
    with pytest.raises(UsageError, match=r"^pi lacks a\\x1b\.$"):
        Reply(1, b"lacks a\x1b\n", "").refuse_lacks("pi")
    Reply(1, b"a program that says:\nlacks a\n", "").refuse_lacks("pi")


def test_marks_frame_the_output() -> None:
    assert unframed(b"hello\n\n<t>\na\n</t 3>\nbye", "t") == (b"a", 3)
    assert unframed(b"\n<t>\n\n<t>\nx\n</t 0>\n\n</t 1>\n", "t") == (b"\n<t>\nx\n</t 0>\n", 1)
    for output in (b"", b"\n<t>\nx", b"\n<u>\nx\n</u 0>\n", b"\n<t>\nx\n</t x>\n", b"x\n</t 0>\n"):
        assert unframed(output, "t") is None
    for status in (b"-1", b"256", "²".encode(), b"1" * 5000):
        assert unframed(b"\n<t>\nx\n</t " + status + b">\n", "t") is None


def test_the_words_of_ssh() -> None:
    connection = Connection(parse_address("pi@board"), SshSettings(Path(__file__), 2222, 3))
    words = connection.command("true")
    assert words[-3:-1] == ["--", "pi@board"]
    assert {"BatchMode=yes", "ConnectTimeout=3", "ForwardAgent=no", "2222", __file__} <= set(words)
    assert not any("StrictHostKeyChecking" in word for word in words)
    with pytest.raises(UsageError, match="is no file"):
        Connection(parse_address("board"), SshSettings(Path("/nonexistent")))


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.sh")), ids=lambda path: path.stem)
def test_scripts_are_plain_posix(script: Path) -> None:
    text = script.read_text(encoding="ascii")
    assert text.startswith("# ")
    for shell in ("dash", "bash", "busybox"):
        if shutil.which(shell):
            command = [shell, *(["sh"] if shell == "busybox" else []), "-n", str(script)]
            subprocess.run(command, check=True, capture_output=True)
    if shutil.which("shellcheck"):
        prelude = "".join((SCRIPTS / f"{name}.sh").read_text() for name in ("common", "guarded"))
        whole = "#!/bin/sh\n" + (text if script.stem in ("common", "guarded") else prelude + text)
        command = ["shellcheck", "-s", "sh", "-e", "SC2154,SC2034,SC2317,SC2329", "-"]
        done = subprocess.run(command, input=whole, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


PI = {
    "machine": "aarch64", "system": "Linux 6.6.20", "bits": "64", "libc": "glibc 2.36", "cores": "4",
    "features": "fp asimd asimdrdm asimddp", "core": "0x41 0xd0b", "board": "Raspberry Pi 5", "chip": "brcm,bcm2712",
    "governor": "ondemand", "clock_khz": "1500000", "top_clock_khz": "2400000", "temperature_millicelsius": "51250",
    "free_kb": "500000", "writable": "yes", "digest_tool": "sha256sum", "current": "",
}  # fmt: skip


def facts(**changes: str) -> BoardFacts:
    return parse_probe([f"{name} {value}" for name, value in {**PI, **changes}.items()])


def test_a_measurement_is_recognised_by_its_chip_and_its_cores() -> None:
    rock = facts(board="Radxa ROCK 5B", chip="rockchip,rk3588", core="0x41 0xd05", cores="8")
    names = [measured_core(rock), measured_core(rock, "4-7"), measured_core(rock, "0-3"), measured_core(facts())]
    assert names[2] == "Radxa ROCK 5B [rockchip,rk3588] Cortex-A55 (8 cores), cores 0-3"
    found = [[board.name for board in BOARDS.values() if board.is_machine(name)] for name in names]
    assert found == [["rk3588-big"], ["rk3588-big"], ["rk3588-little"], ["raspberry-pi-5"]]
    assert not any(board.is_machine("AMD EPYC (2 cores)") for board in BOARDS.values())


def test_a_board_is_read() -> None:
    pi = facts()
    assert pi.chip == "brcm,bcm2712"
    assert (pi.target_name, pi.glibc, pi.temperature_c, pi.cores) == ("arm64", (2, 36), 51.25, 4)
    assert (pi.core, facts(core="0x61 0x022").core, facts(core="0x41 0xfff").core) == (
        "Cortex-A76",
        "0x61 0x022",
        "0x41 0xfff",
    )
    assert expected_variant(ARM64, ["neon", "dot", "i8mm"], pi) == "dot"


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.text(max_size=40)
        | st.sampled_from(sorted(PI)).flatmap(lambda k: st.text(max_size=20).map(lambda v: f"{k} {v}"))
    )
)
def test_any_output_of_a_board_is_survived(lines: list[str]) -> None:
    found = parse_probe(lines)
    assert found.to_dict()["bits"] is None or found.bits is not None
    list(board_findings(found))
    parse_inventory(lines)
    [parse_version(line) for line in lines]


@pytest.mark.parametrize(
    ("libc", "expected"),
    [("glibc 2.17", (2, 17)), ("ldd (Debian GLIBC 2.36-9) 2.36", (2, 36)), ("ldd (GNU libc) 2.31", (2, 31)),
     ("ld.so (Debian GLIBC 2.36-9) stable release version 2.36.", (2, 36)), ("glibc 2." + "9" * 5000, (2, 9999)),
     ("glibc ².36", None), ("musl libc (aarch64)", None), ("", None)],
)  # fmt: skip
def test_versions_of_libc(libc: str, expected: tuple[int, int] | None) -> None:
    assert facts(libc=libc).glibc == expected


@pytest.mark.parametrize("text", ["sh: ldd: not found", "sh: 1: eval: ldd: not found", "--version: cannot open"])
def test_a_message_is_no_libc(text: str) -> None:
    assert facts(libc=text).libc == ""


def test_other_digits_are_no_number() -> None:
    assert facts(cores="²", free_kb="٣", clock_khz="1" * 400).cores is None
    assert facts(free_kb="٣").free_kb is None and facts(clock_khz="1" * 400).clock_khz is None
    digest = "a" * 64
    assert parse_inventory([f"bundles ² {digest}", f"incoming {'1' * 400} {digest}"]).sizes_kb == {}
    assert parse_version(f"{digest} ² a b c") is None and parse_version(f"{digest} {'9' * 400} a b c") is None


UNFIT: dict[str, tuple[dict[str, str], type[RepGhostError], str]] = {
    "x86-64": ({"machine": "x86_64"}, UsageError, "--target x86-64"),
    "32-bit kernel": ({"machine": "armv7l"}, UsageError, "is armv7l"),
    "32-bit system": ({"bits": "32"}, UsageError, "with a 32-bit system.*--target armv7, or install its 64-bit system"),
    "32-bit loaders": ({"bits": "", "loaders": "/lib/ld-linux-armhf.so.3"}, UsageError, "--target armv7"),
    "ARMv6": ({"machine": "armv6l"}, UsageError, "NEON, which ARMv6 lacks: the first Raspberry Pi"),
    "another machine": ({"machine": "mips"}, UsageError, "is mips .* made for arm64"),
    "old glibc": ({"libc": "glibc 2.16"}, UsageError, "needs glibc 2.17"),
    "musl": ({"libc": "musl libc (aarch64)"}, UsageError, "needs glibc"),
    "no loader": ({"libc": "", "loaders": ""}, UsageError, "has no /lib/ld-linux-aarch64.so.1.*--target android"),
    "a 32-bit loader": ({"loaders": "/lib/ld-linux-armhf.so.3"}, UsageError, "has no /lib/ld-linux-aarch64.so.1"),
    "full": ({"free_kb": "1000"}, DeviceUnreachableError, r"1\.0 MiB free"),
    "closed": ({"writable": "no"}, DeviceUnreachableError, "cannot be written"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "kind", "words"), UNFIT.values(), ids=UNFIT.keys())
def test_a_board_that_does_not_fit(
    arm64_version: Bundle, changes: dict[str, str], kind: type[RepGhostError], words: str
) -> None:
    assert check_fit(arm64_version, facts(), "pi") == "dot"
    assert check_fit(arm64_version, facts(loaders=" /lib/ld-linux-aarch64.so.1 /lib/ld-musl.so.1"), "pi") == "dot"
    with pytest.raises(kind, match=words):
        check_fit(arm64_version, facts(**changes), "pi")


@pytest.mark.slow
def test_a_static_runner_fits_every_c_library(android_version: Bundle) -> None:
    for libc in ("glibc 2.16", "musl libc (aarch64)", ""):
        assert check_fit(android_version, facts(libc=libc, loaders=""), "phone") == "dot"
    with pytest.raises(UsageError, match="is for android"):
        check_fit(android_version, facts(machine="x86_64"), "desktop")


@pytest.mark.slow
def test_a_32_bit_bundle_fits_a_32_bit_system_whatever_its_kernel(arm64_version: Bundle) -> None:
    named = {**arm64_version.manifest, "target": {"name": "armv7"}, "variants": ["neonv7"]}
    bundle = replace(arm64_version, manifest=named)
    kernels = {"armv7l": "half thumb vfp neon", "armv8l": "", "aarch64": "fp asimd"}
    for machine, features in kernels.items():
        assert check_fit(bundle, facts(machine=machine, bits="32", features=features), "pi") == "neonv7"
    with pytest.raises(UsageError, match=r"is for armv7, but pi is aarch64.*--target arm64$"):
        check_fit(bundle, facts(), "pi")
    with pytest.raises(UsageError, match=r"none of the instruction sets .* neonv7. It lacks NEON"):
        check_fit(bundle, facts(machine="armv7l", bits="32", features="half thumb vfpv3d16"), "tegra")


@pytest.mark.slow
def test_a_core_without_the_instructions_is_refused(versions: list[Bundle]) -> None:
    if versions[0].target_name != "x86-64":
        pytest.skip("every arm64 core has NEON")
    old = facts(machine="x86_64", features="sse4_2")
    with pytest.raises(UsageError, match="none of the instruction sets"):
        check_fit(versions[0], old, "old")
    assert check_fit(versions[0], replace(old, features=frozenset()), "old")  # it does not say: the runner will
    assert expected_variant(X86_64, ["avx2", "vnni"], facts(features="avx2 fma bmi2")) == "avx2"


@pytest.mark.parametrize(
    "result", [{}, {"ok": True}, {"ok": True, "mismatches": 0, "pictures": 0, "tolerance": 0},
               {"ok": 1, "mismatches": 0, "pictures": 3, "tolerance": 0},
               {"ok": True, "mismatches": 1, "pictures": 3, "tolerance": 0},
               {"ok": True, "mismatches": 0, "pictures": True, "tolerance": 0},
               {"ok": True, "mismatches": 0, "pictures": 3, "tolerance": "0"}],
)  # fmt: skip
def test_only_a_whole_proof_counts(result: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="did not prove"):
        read_verification(result, "pi")


def test_history_lines_survive_any_name(versions: list[Bundle]) -> None:
    version = replace(version_of(versions[0]), model="a b\n'c' é")
    line = version.line()
    assert "\n" not in line and len(line.split(" ")) == 5
    back = parse_version(line)
    assert back is not None and back.digest == versions[0].digest and back.model == "a-b--c---"
    for wrong in ("", "x", line + " x", line.replace(line[:5], "zzzzz")):
        assert parse_version(wrong) is None


def test_a_reason_is_given_for_anything_ssh_says() -> None:
    address = parse_address("pi@board")
    assert "ssh-copy-id pi@board" in connection_reason("pi@board: Permission denied (publickey).", address)
    assert connection_reason("weird\nlast words\n", address) == "ssh says 'last words'."
    assert "no reason" in connection_reason("", address)


@pytest.mark.parametrize(
    ("changes", "mark", "words"),
    [
        ({"governor": "performance"}, "ok", "performance"),
        ({}, "absent", "scaling_governor"),
        ({"libc": "musl libc"}, "absent", "--target android' has one that needs no C library"),
        ({"libc": "", "loaders": ""}, "absent", "--target android' has one that needs no C library"),
        ({"bits": "32"}, "ok", "32-bit system: repghost compile --target armv7"),
        ({"bits": "32", "machine": "x86_64"}, "missing", "64-bit system"),
        ({"machine": "armv7l", "bits": "32", "libc": "musl libc"}, "absent", "--target armv7-static' has one"),
        ({"machine": "armv7l", "bits": "32", "features": "half thumb vfpv3"}, "missing", "armv7 needs NEON"),
        ({"machine": "armv6l", "bits": "32"}, "missing", "the first Raspberry Pi"),
        ({"machine": "mips"}, "missing", "arm64"),
        ({"digest_tool": ""}, "absent", "coreutils"),
        ({"free_kb": "100"}, "absent", "free some space"),
        ({"writable": "no"}, "missing", "user@board:folder"),
        ({"temperature_millicelsius": "80000"}, "absent", "throttle"),
    ],
)
def test_the_doctor_names_what_mends_a_board(changes: dict[str, str], mark: str, words: str) -> None:
    found = [f for f in board_findings(facts(**changes)) if words in f.found + f.remedy and f.mark == mark]
    assert len(found) == 1


def test_a_falling_clock_is_throttling() -> None:
    assert throttled(facts(), facts(clock_khz="1300000")) is True
    assert throttled(facts(), facts(clock_khz="1490000")) is False
    assert throttled(facts(clock_khz=""), facts()) is None


def test_a_report_learns_what_boards_measured() -> None:
    latency = {"threads": 1, "median_ms": 2.0}
    entry = {"bundle_digest": "d", "board": "pi:repghost", "latencies": [latency]}
    build: dict[str, Any] = {"bundle_digest": "d", "latency": {"measured": False}}
    assert add_to_build(build, entry) and add_to_build(build, {**entry, "latencies": [{**latency, "median_ms": 1.0}]})
    assert build["latency"] == {"measured": True, "board": "pi:repghost", "threads": 1, "median_ms": 1.0}
    assert len(build["boards"]) == 1
    own: dict[str, Any] = {"bundle_digest": "d", "latency": {"measured": True, "median_ms": 5.0}}
    assert add_to_build(own, entry) and own["latency"]["median_ms"] == 5.0
    assert not add_to_build({"bundle_digest": "other", "latency": {}}, entry)
    new: dict[str, Any] = {"bundle_digest": "d", "latency": {"measured": False}}
    carry_over([new], [build])
    assert new["boards"] == build["boards"] and new["latency"]["measured"]
