"""The static runner for 32-bit ARM: its loader reads files of 32 bits, and a core without NEON is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from compile.bundle.manifest import check_bundle, write_bundle
from compile.link.promises import check_model, check_runner
from compile.machine.emulator import Emulator, find_emulator
from compile.machine.execute import RUNNER, UnsupportedVariantError, run_program
from compile.machine.replay import verify_bundle
from compile.targets.table import ARMV7, ARMV7_STATIC
from tests.support.fake_bundle import fake_files, fake_sections


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("armv7") / "bundle"
    write_bundle(path, fake_files(ARMV7_STATIC), fake_sections(ARMV7_STATIC))
    return path


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    found = find_emulator(emulation=ARMV7.emulation or pytest.fail("armv7 has an emulation"))
    return found or pytest.skip("no qemu-arm with an armhf C library; python -m tests.support.fetch gets one")


@pytest.mark.slow
def test_the_files_keep_their_promises(bundle: Path) -> None:
    runner = check_runner((bundle / RUNNER).read_bytes(), ARMV7_STATIC)
    model = check_model((bundle / "model.so").read_bytes(), ARMV7_STATIC)
    assert (runner.needed, runner.undefined, runner.interpreter) == ((), (), "")
    assert set(model.undefined_weak) <= {"getauxval"}


@pytest.mark.slow
def test_the_library_is_loaded_and_gives_the_recorded_scores(bundle: Path, emulator: Emulator) -> None:
    (replay,) = verify_bundle(bundle, emulator=emulator).replays
    assert (replay.variant, replay.machine) == ("neonv7", f"{emulator.program.name} -cpu cortex-a7")


@pytest.mark.slow
def test_a_core_without_neon_is_refused_by_name(bundle: Path, emulator: Emulator) -> None:
    command = [*emulator.command("arm1176"), str(check_bundle(bundle).path / RUNNER), "--bundle", str(bundle)]
    with pytest.raises(UnsupportedVariantError, match=r"no NEON, as those of the first Raspberry Pi"):
        run_program([*command, "--verify"], RUNNER, "arm1176")
