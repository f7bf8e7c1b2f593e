"""A bundle without a runner: the board builds and checks an engine with the bundle's own scripts."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from compile.bundle.manifest import Bundle, check_bundle, write_bundle
from compile.deploy.install import DeploySettings, deploy
from compile.targets.table import ARM64
from repghost.errors import RepGhostError
from tests.support.deployed_bundles import PASSING
from tests.support.fake_bundle import LABELS, fake_sections
from tests.support.standin import Standin

BUILD = 'echo "[I] Engine built"; cat model.onnx > model.engine'
CHECK = '[ -s model.engine ] || { echo "no engine" >&2; exit 1; }'


def commands_of_the_account() -> str:
    """Return the command lines of every process."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(lines)


def engine_bundle(path: Path, build: str = BUILD, check: str = CHECK) -> Bundle:
    files = {
        "build.sh": f"#!/bin/sh\n{build}\n".encode(),
        "check.sh": f"#!/bin/sh\n{check}\n".encode(),
        "labels.txt": "".join(f"{label}\n" for label in LABELS).encode(),
        "model.onnx": b"onnx",
        "README.txt": b"read me",
    }
    target = {"name": "jetson", "triple": ARM64.triple}
    return write_bundle(path, files, {**fake_sections(ARM64), "accuracy": PASSING, "target": target, "variants": []})


@pytest.mark.slow
def test_the_engine_is_built_on_the_board(arm64_board: Standin, tmp_path: Path) -> None:
    bundle, folder = engine_bundle(tmp_path / "bundle"), arm64_board.new_folder()
    result = deploy(bundle.path, arm64_board.connection(folder))
    assert "built and checked there" in str(result.proof)
    assert arm64_board.current(folder) == bundle.digest
    assert (arm64_board.home / folder / "current/model.engine").read_bytes() == b"onnx"
    arm64_board.tool("sha256sum", None)  # everything is read back
    deploy(engine_bundle(tmp_path / "second", check=f"{CHECK}\ntrue").path, arm64_board.connection(folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "check", "words"),
    [
        ("echo 'TensorRT 8.5 is needed' >&2; exit 3", CHECK, "build.sh failed.*TensorRT 8.5 is needed"),
        (BUILD, "echo 'conv1 is float' >&2; exit 1", "check.sh failed.*conv1 is float"),
        ("sleep 61.5; echo", CHECK, "build.sh failed.*did not end within 1 s"),
        ("true", CHECK, "check.sh failed.*no engine"),
    ],
)
def test_an_engine_that_fails_is_not_switched_to(
    arm64_board: Standin, tmp_path: Path, build: str, check: str, words: str
) -> None:
    bundle = engine_bundle(tmp_path / "bundle", build, check)
    with pytest.raises(RepGhostError, match=words) as caught:
        deploy(bundle.path, arm64_board.connection("engines"), DeploySettings(verify_limit_s=1))
    assert caught.value.exit_code == 6
    assert arm64_board.current("engines") is None
    assert "61.5" not in commands_of_the_account()


def test_a_changed_script_is_not_started(arm64_board: Standin, tmp_path: Path) -> None:
    bundle, folder = engine_bundle(tmp_path / "bundle", "touch started"), arm64_board.new_folder()
    left = arm64_board.home / folder / "bundles" / bundle.digest
    left.mkdir(parents=True)
    for path in bundle.path.iterdir():
        (left / path.name).write_bytes(path.read_bytes())
    (left / "check.sh").write_text("touch started\n")
    arm64_board.give(arm64_board.home / folder)
    with pytest.raises(RepGhostError, match=r"check.sh on board was changed"):
        deploy(bundle.path, arm64_board.connection(folder))
    assert not (left / "started").exists()


def test_the_scripts_have_to_be_there(tmp_path: Path) -> None:
    bundle = engine_bundle(tmp_path / "bundle")
    (bundle.path / "check.sh").unlink()
    with pytest.raises(RepGhostError, match=r"check.sh"):
        check_bundle(bundle.path)
