from __future__ import annotations

from compile.bundle.manifest import Bundle
from compile.deploy.install import deploy
from compile.deploy.inventory import take_inventory
from compile.deploy.rollback import rollback
from tests.support.standin import Standin


def test_a_bundle_reaches_a_board_and_goes_back(board: Standin, versions: list[Bundle]) -> None:
    folder = board.new_folder()
    connection = board.connection(folder)
    result = deploy(versions[0].path, connection)
    assert result.proof.pictures == 12
    assert board.current(folder) == versions[0].digest
    deploy(versions[1].path, connection)
    assert board.current(folder) == versions[1].digest
    assert rollback(connection).version.digest == versions[0].digest
    assert board.current(folder) == versions[0].digest
    found = take_inventory(connection)
    assert [version.digest for version in found.versions] == [versions[0].digest, versions[1].digest]
    assert found.holder == ""


def test_an_arm64_board_proves_an_arm64_bundle(arm64_board: Standin, arm64_version: Bundle) -> None:
    folder = arm64_board.new_folder()
    result = deploy(arm64_version.path, arm64_board.connection(folder))
    assert (result.proof.variant, result.proof.pictures) == ("dot", 12)
    assert result.facts.machine == "aarch64"
    assert arm64_board.current(folder) == arm64_version.digest


def test_a_board_with_musl_proves_a_bundle_with_a_static_runner(arm64_board: Standin, android_version: Bundle) -> None:
    arm64_board.tool("getconf", "[ $1 = GNU_LIBC_VERSION ] && echo musl libc")
    folder = arm64_board.new_folder()
    result = deploy(android_version.path, arm64_board.connection(folder))
    assert result.facts.libc == "musl libc"
    assert (result.proof.variant, result.proof.pictures) == ("dot", 12)
    assert arm64_board.current(folder) == android_version.digest
