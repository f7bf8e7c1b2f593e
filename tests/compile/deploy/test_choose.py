"""The folder of a run on a board: which bundle is taken, by what, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compile.bundle.manifest import Bundle
from compile.deploy import choose
from compile.deploy.choose import choose_bundle
from compile.deploy.install import DeploySettings
from compile.deploy.ssh.address import parse_address
from compile.deploy.ssh.connection import Connection
from compile.targets.table import ANDROID, ARM64, TARGETS, Target, host_target
from repghost.errors import AccuracyGateError, UsageError
from tests.compile.deploy.test_commands import invoke
from tests.compile.deploy.test_parts import facts
from tests.support.deployed_bundles import PASSING, SHARE, bundle_of
from tests.support.fake_bundle import fake_files, fake_sections
from tests.support.standin import Standin

BOTH: dict[str, Any] = {**PASSING, "fp32_build": SHARE}
# What a board is told apart by stands in the manifest, so this machine's files do for every target.
PI5 = {"loaders": "/lib/ld-linux-aarch64.so.1 /lib64/ld-linux-x86-64.so.2"}


def add(folder: Path, target: Target, precision: str = "int8", place: str = "", **changes: Any) -> Bundle:
    """Put a bundle into the folder of a run, as `make compile` lays it out."""
    host = host_target()
    assert host is not None
    values = {"precision": precision, "accuracy": BOTH, **changes}
    return bundle_of(fake_files(host), target, folder / (place or target.name) / precision, **values)


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setattr("compile.deploy.ssh.connection.shutil.which", lambda name: "/usr/bin/ssh", raising=False)
    return Connection(parse_address("board"))


@pytest.fixture
def pi5(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A Raspberry Pi 5 that was probed; what is measured there fails the test."""
    monkeypatch.setattr(choose, "probe", lambda _: facts(**PI5))
    monkeypatch.setattr(choose, "measure_on_board", lambda *_: pytest.fail("measured, though the model knows"))
    return connection


def measured(times: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a board measure so many milliseconds; what was measured is listed."""
    seen: list[str] = []

    def measure(bundle: Bundle, _: Connection, wanted: Any) -> dict[str, Any]:
        assert wanted.seconds == 2
        seen.append(bundle.manifest["precision"])
        ms = times[seen[-1]]
        latency = {"median_ms": ms, "p90_ms": ms, "min_ms": ms, "threads": 1, "variant": "dot", "throttled": None}
        return {"latencies": [latency]}

    monkeypatch.setattr(choose, "measure_on_board", measure)
    return seen


def test_a_bundle_is_taken_as_it_is(connection: Connection, tmp_path: Path) -> None:
    bundle = add(tmp_path, ARM64)
    for path in (bundle.path, tmp_path / "nowhere", tmp_path / "arm64"):
        assert choose_bundle(path, connection, DeploySettings()) == choose.Choice(path)


def test_a_published_width_on_a_known_board_is_told_by_the_model(pi5: Connection, tmp_path: Path) -> None:
    model = {"name": "repghostnet_0_5x"}
    shape: dict[str, Any] = {"input": {"height": 224, "width": 224, "channels": 3},
                             "preprocess": {**fake_preprocess(), "size": 224, "resize": 256}}  # fmt: skip
    for target in (ARM64, ANDROID):
        for precision in ("int8", "fp32"):
            add(tmp_path, target, precision, model=model, **shape)
    lines: list[str] = []
    found = choose_bundle(tmp_path, pi5, DeploySettings(), lines.append)
    assert found.path == tmp_path / "arm64" / "int8", "the board's own target before android"
    assert "the fastest on Raspberry Pi 5 (" in found.why and "int8 estimated" in found.why
    assert lines == [f"choose   arm64/int8: {found.why}"]


def fake_preprocess() -> dict[str, Any]:
    return dict(fake_sections(ARM64)["preprocess"])  # type: ignore[call-overload]


def test_other_networks_are_measured_there(pi5: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for precision in ("int8", "fp32"):
        add(tmp_path, ARM64, precision)
    seen = measured({"int8": 3.0, "fp32": 2.0}, monkeypatch)
    found = choose_bundle(tmp_path, pi5, DeploySettings())
    assert sorted(seen) == ["fp32", "int8"] and found.path.name == "fp32"
    assert found.why == "the fastest there, 2 s each: fp32 2.000 ms, int8 3.000 ms"


def test_a_bundle_without_a_passing_record_is_left_out_and_named(pi5: Connection, tmp_path: Path) -> None:
    worse = {**BOTH, "fp32": {"top1": 0.99, "low": 0.98}, "fp32_build": {"top1": 0.99, "low": 0.98}}
    add(tmp_path, ARM64, "int8", accuracy=worse)
    add(tmp_path, ARM64, "fp32", accuracy=worse)
    found = choose_bundle(tmp_path, pi5, DeploySettings())
    assert found.path.name == "fp32"
    assert found.why.startswith("the only one for board; left out: arm64/int8, since it loses 9.00 points of top-1")
    (tmp_path / "arm64" / "fp32").rename(tmp_path / "elsewhere")
    with pytest.raises(AccuracyGateError, match=r"loses 9\.00 points"):
        choose_bundle(tmp_path, pi5, DeploySettings())
    assert choose_bundle(tmp_path, pi5, DeploySettings(accept_unmeasured=True)).path.name == "int8"


@pytest.mark.parametrize(("bits", "expected"), [("64", "arm64"), ("32", "armv7")])
def test_a_folder_of_two_families_gives_each_system_its_own(
    bits: str, expected: str, pi5: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for target in (ARM64, TARGETS["armv7"]):
        add(tmp_path, target)
    loaders = f"{PI5['loaders']} /lib/ld-linux-armhf.so.3"
    features = "half thumb neon vfpv4 asimd asimddp"
    monkeypatch.setattr(choose, "probe", lambda _: facts(bits=bits, loaders=loaders, features=features))
    found = choose_bundle(tmp_path, pi5, DeploySettings())
    assert found.path == tmp_path / expected / "int8" and "the only one" in found.why


def test_a_folder_without_a_bundle_for_the_board_is_refused(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path, ARM64)
    monkeypatch.setattr(choose, "probe", lambda _: facts(machine="x86_64", features="avx2 fma bmi2", **PI5))
    with pytest.raises(UsageError, match="is for arm64, but board is x86_64"):
        choose_bundle(tmp_path, connection, DeploySettings())


@pytest.mark.slow
def test_a_folder_is_deployed_by_measuring_its_bundles(
    board: Standin, host: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "SECONDS", 1)
    for precision in ("int8", "fp32"):
        add(tmp_path, host, precision, place="host")
    where = f"board:{board.new_folder()}"
    done = invoke(board, "deploy", tmp_path, where, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["why"].startswith("the fastest there, 1 s each: fp32 ") and said["bundle"].startswith(str(tmp_path))
    assert board.current(where.partition(":")[2]) == said["bundle_digest"]
