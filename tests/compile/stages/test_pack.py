"""Where the bundles of a run lie, and how often they are replayed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from compile.bundle.manifest import check_bundle
from compile.bundle.verification import Replay, Verification
from compile.machine.emulator import Emulator
from compile.stages import pack
from compile.stages.pack import Packed, bundle_folder
from compile.stages.progress import Progress
from compile.storage.stage_cache import StageCache
from compile.subject.request import Request
from compile.targets.precisions import INT8
from compile.targets.table import ARM64, HOST, TARGETS, Target, host_target


@pytest.mark.parametrize(
    ("asked", "built", "folder"),
    [
        ("arm64", "arm64", "arm64/int8"),
        ("aarch64", "arm64", "arm64/int8"),
        ("x86_64", "x86-64", "x86-64/int8"),
        ("android", "android", "android/int8"),
        ("android", "x86-64", "host/int8"),
    ],
)
def test_the_folder_bears_the_targets_name(asked: str, built: str, folder: str) -> None:
    build = SimpleNamespace(target=TARGETS[built], precision=INT8)
    assert bundle_folder(Request(asked, (INT8,)), build) == folder  # type: ignore[arg-type]


def test_this_machine_lies_under_host() -> None:
    host = host_target()
    if host is None:
        pytest.skip("no target fits this machine")
    build = SimpleNamespace(target=host, precision=INT8)
    assert bundle_folder(Request(HOST, (INT8,)), build) == "host/int8"  # type: ignore[arg-type]


@pytest.fixture
def replayed(arm64_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """Verify one bundle three times, the last time with a newer emulator.

    Returns:
        The emulators that replayed it, and the lines of the stage.
    """
    bundle, emulator, asked, lines = check_bundle(arm64_bundle), Emulator(tmp_path, tmp_path), [], []

    def replay(path: Path, emulator: Emulator) -> Verification:
        asked.append(emulator.version())
        return Verification(bundle, (Replay("neon", "qemu", True, 8, 1e-4, 2e-5),), ())

    monkeypatch.setattr(Target, "runs_here", property(lambda self: False))
    monkeypatch.setattr(pack, "fetch_emulator", lambda *_: emulator)
    monkeypatch.setattr(pack, "verify_bundle", replay)
    item = Packed("arm64/int8", SimpleNamespace(target=ARM64), bundle)  # type: ignore[arg-type]
    for version in ("7.2", "7.2", "10.0"):
        monkeypatch.setattr(Emulator, "version", lambda self, version=version: version)
        (found,) = pack.verify(Request("arm64", (INT8,)), [item], StageCache(tmp_path / "kept"), Progress(lines.append))
        assert found.verification == {"verified": True, **replay(arm64_bundle, emulator).to_dict()}
        asked.pop()
    return asked, lines


def test_an_emulator_replays_the_same_bundle_once(replayed: tuple[list[str], list[str]]) -> None:
    asked, lines = replayed
    assert asked == ["7.2", "10.0"]
    assert [line.endswith("as in an earlier run") for line in lines] == [False, True, False]
