"""A real bundle for Jetson on the stand-in board, which has a stand-in for trtexec: built, checked, measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from compile.bundle.manifest import check_bundle
from compile.deploy.install import DeploySettings, deploy
from compile.subject.request import Request
from compile.targets.precisions import INT8
from compile.tensorrt.pipeline import run
from repghost.errors import IntegrityError
from tests.support.standin import Standin
from tests.support.trtexec import fake_trtexec_path

PYTHON = shutil.which("python3", path="/usr/bin:/bin")  # the board's account may not read the one of the tests
LIMIT_S = 120.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    request = Request("jetson", (INT8,), weights="random", size=32, output=tmp_path_factory.mktemp("jetson"))
    return Path(run(request, lambda line: None)["folder"]) / "jetson"


@pytest.fixture
def jetson(arm64_board: Standin) -> Iterator[Standin]:
    if PYTHON is None:
        pytest.skip("no python3 in /usr/bin to play trtexec with")
    for name in ("awk", "cut"):
        arm64_board.tool(name, f'exec {shutil.which(name)} "$@"')
    shutil.copy(fake_trtexec_path(), arm64_board.base / "trtexec.py")
    (arm64_board.base / "trtexec.py").chmod(0o644)
    play(arm64_board, "10.3.0")
    yield arm64_board


def play(board: Standin, version: str, fault: str = "") -> None:
    """Let the board have a TensorRT."""
    settings = f"TRTEXEC_VERSION='{version}' TRTEXEC_FAULT='{fault}'"
    board.tool("trtexec", f'exec /usr/bin/env {settings} {PYTHON} -S -E "{board.base / "trtexec.py"}" "$@"')


@pytest.mark.slow
def test_the_board_builds_checks_and_measures(jetson: Standin, bundle: Path) -> None:
    folder = jetson.new_folder()
    connection = jetson.connection(folder)
    result = deploy(bundle, connection, DeploySettings(accept_unmeasured=True, verify_limit_s=LIMIT_S))
    assert "built and checked there" in str(result.proof)
    current = jetson.home / folder / "current"
    assert {path.name.split(".")[0] for path in (current / "engines").glob("*.engine")} == {"int8", "fp16"}
    values = {"folder": "current", "program": "measure.sh", "seconds": 60}
    reply = connection.run("engine", values, limit_s=90.0)
    assert reply.status == 0
    assert json.loads(reply.output)["bundle_digest"] == check_bundle(bundle).digest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "fault", "words"),
    [
        ("8.6.2", "", r"build.sh failed.*this board has TensorRT 8.6.2"),
        ("10.3.0", "parse", r"build.sh failed"),
        ("10.3.0", "wrong answer", r"check.sh failed.*answers otherwise than expected"),
    ],
)
def test_what_does_not_hold_is_not_switched_to(
    jetson: Standin, bundle: Path, version: str, fault: str, words: str
) -> None:
    play(jetson, version, fault)
    folder = jetson.new_folder()
    settings = DeploySettings(accept_unmeasured=True, verify_limit_s=LIMIT_S)
    with pytest.raises(IntegrityError, match=words):
        deploy(bundle, jetson.connection(folder), settings)
    assert jetson.current(folder) is None
