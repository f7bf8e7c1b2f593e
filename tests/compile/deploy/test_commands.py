"""The commands as a user meets them: exit codes, sentences, JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from compile.bundle.manifest import Bundle
from compile.deploy.install import deploy
from repghost.cli import cli
from tests.support.deployed_bundles import PASSING, bundle_of
from tests.support.standin import Standin


def invoke(board: Standin | None, *words: str | Path) -> Result:
    options = ["--ssh-config", str(board.config())] if board else []
    return CliRunner().invoke(cli, [*map(str, words), *options])


@pytest.mark.slow
def test_a_version_goes_there_and_back(board: Standin, versions: list[Bundle]) -> None:
    folder = board.new_folder()
    where = f"board:{folder}"
    done = invoke(board, "deploy", versions[0].path, where)
    assert done.exit_code == 0, done.output
    assert "12 recorded pictures to the bit" in done.output and f"ssh board {folder}/current" in done.output
    done = invoke(board, "deploy", versions[1].path, where, "--json")
    assert json.loads(done.stdout)["replaced"] == versions[0].digest
    status = invoke(board, "status", where)
    assert status.exit_code == 0 and f"* {versions[1].digest[:12]}" in status.output
    assert f"  {versions[0].digest[:12]}" in status.output and "fake" in status.output
    assert json.loads(invoke(board, "status", where, "--json").stdout)["current"] == versions[1].digest
    back = invoke(board, "rollback", where)
    assert back.exit_code == 0 and versions[0].digest[:12] in back.output
    assert board.current(folder) == versions[0].digest
    again = invoke(board, "rollback", where)
    assert again.exit_code == 2 and "no version older than the current one" in again.output
    forward = invoke(board, "rollback", where, "--to", versions[1].digest[:8], "--json")
    assert json.loads(forward.stdout)["digest"] == versions[1].digest
    assert invoke(board, "rollback", where, "--to", "zz").exit_code == 2


def test_nothing_deployed_yet(board: Standin) -> None:
    for words in (("status", "board:never"), ("rollback", "board:never")):
        done = invoke(board, *words)
        assert (done.exit_code == 2 and "Deploy a bundle: repghost deploy" in done.output) or "older" in done.output


def change_runner(folder: Path) -> None:
    (folder / "repghost-run").write_bytes(b"#!/bin/sh\ntouch started\n")


def change_model(folder: Path) -> None:
    (folder / "model.so").write_bytes((folder / "model.so").read_bytes()[:-1] + b"!")


def change_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes() + b" ")


@pytest.mark.slow
@pytest.mark.parametrize("change", [change_runner, change_model, change_manifest])
def test_a_version_that_was_changed_on_the_board_does_not_come_back(
    board: Standin, versions: list[Bundle], change: Any
) -> None:
    folder = board.new_folder()
    for bundle in versions[:2]:
        deploy(bundle.path, board.connection(folder))
    old = board.home / folder / "bundles" / versions[0].digest
    change(old)
    done = invoke(board, "rollback", f"board:{folder}")
    assert done.exit_code == 6 and "was changed" in done.output, done.output
    assert board.current(folder) == versions[1].digest
    assert not (old / "started").exists()


@pytest.mark.slow
def test_measuring_leaves_a_board_as_it_was(board: Standin, versions: list[Bundle], tmp_path: Path) -> None:
    folder = board.new_folder()
    deploy(versions[0].path, board.connection(folder))
    before = sorted(str(path) for path in (board.home / folder).rglob("*"))
    words = ["bench", str(versions[1].path), str(versions[0].path), "--on", f"board:{folder},board:other,elsewhere"]
    words += ["--rounds", "2", "--inferences", "5", "--threads", "1,2", "--json", str(tmp_path / "latency.json")]
    done = invoke(board, *words, "--connect-limit", "2")
    assert done.exit_code == 5, done.output
    assert "2 of 6 measurements failed" in done.output
    results = json.loads((tmp_path / "latency.json").read_text())["results"]
    assert [entry["measured"] for entry in results] == [True] * 4 + [False] * 2
    for latency in results[0]["latencies"]:
        assert 0 < latency["min_ms"] <= latency["median_ms"] <= latency["p90_ms"]
        assert latency["runs"] == 10
    assert [latency["threads"] for latency in results[0]["latencies"]] == [1, 2]
    assert "cannot be reached" in results[4]["reason"]
    assert sorted(str(path) for path in (board.home / folder).rglob("*")) == before


@pytest.mark.slow
def test_a_sustained_measurement_keeps_its_curve(board: Standin, versions: list[Bundle], tmp_path: Path) -> None:
    core = str(min(os.sched_getaffinity(0)))
    words = ["bench", str(versions[0].path), "--on", "board", "--seconds", "1", "--cores", core]
    done = invoke(board, *words, "--json", str(tmp_path / "latency.json"))
    assert done.exit_code == 0, done.output
    latency = json.loads((tmp_path / "latency.json").read_text())["results"][0]["latencies"][0]
    assert latency["runner"]["cores"] == core
    assert sum(part["runs"] for part in latency["runner"]["curve"]) == latency["runs"] > 1
    assert latency["throttled"] is latency["runner"]["throttled"] or latency["runner"]["throttled"] is None
    refused = invoke(None, "bench", versions[0].path, "--seconds", "1")
    assert refused.exit_code == 2 and "belong to --on" in refused.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accuracy", "words"),
    [
        ({"measured": False, "reason": "none"}, "was not measured"),
        ({**PASSING, "program_digest": "1" * 64}, "belongs to another program"),
        ({**PASSING, "int8": None}, "says nothing about the int8 build"),
        ({**PASSING, "int8": {"top1": True, "low": 0.1}}, "says nothing about the int8 build"),
        ({**PASSING, "int8": {"top1": 0.1, "low": 0.09}}, "no better than guessing"),
        ({**PASSING, "fp32": {"top1": 0.95, "low": 0.9}}, "loses 5.00 points"),
        ({}, "was not measured"),
        ({"measured": 1}, "was not measured"),
    ],
)
def test_no_bundle_without_a_passing_record(
    board: Standin, host_files: dict[str, bytes], host: Any, tmp_path: Path, accuracy: dict[str, Any], words: str
) -> None:
    bundle = bundle_of(host_files, host, tmp_path / "bundle", accuracy=accuracy)
    done = invoke(board, "deploy", bundle.path, "board:gate")
    assert done.exit_code == 3 and words in done.output and "--accept-unmeasured" in done.output, done.output
    assert not (board.home / "gate").exists()


@pytest.mark.slow
def test_the_gate_can_be_opened(board: Standin, host_files: dict[str, bytes], host: Any, tmp_path: Path) -> None:
    bundle = bundle_of(host_files, host, tmp_path / "bundle", accuracy={"measured": False})
    assert invoke(board, "deploy", bundle.path, "board:opened", "--accept-unmeasured").exit_code == 0
    lossy = bundle_of(host_files, host, tmp_path / "lossy", accuracy={**PASSING, "fp32": {"top1": 0.95, "low": 0.9}})
    assert invoke(board, "deploy", lossy.path, "board:opened", "--max-drop", "6").exit_code == 0


FOLDERS = [
    "with space",
    "quote'\"s",
    "-leading",
    "--help",
    "ünïcode/日本",
    "$HOME;touch x",
    "back\\slash",
    "!bang `x` %s",
    "~",
    "*",
]


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_any_folder_name_works(board: Standin, versions: list[Bundle], folder: str) -> None:
    done = invoke(board, "deploy", versions[0].path, f"board:{folder}")
    assert done.exit_code == 0, done.output
    assert board.current(folder) == versions[0].digest
    assert not (board.home / "x").exists()
    assert invoke(board, "status", f"board:{folder}").exit_code == 0


@pytest.mark.parametrize("words", [("deploy", "bundle"), ("status",), ("rollback",), ("bench", "bundle", "--on")])
def test_a_host_that_is_an_option_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for host in (f"-oProxyCommand=touch {mark}", f"a@-oProxyCommand=touch {mark}", f"$(touch {mark})", "a b"):
        done = CliRunner().invoke(cli, [*words, *([] if words[-1] == "--on" else ["--"]), host])
        assert done.exit_code == 2, done.output
        assert not mark.exists()


@pytest.mark.slow
def test_the_commands_import_neither_torch_nor_tvm(board: Standin, versions: list[Bundle]) -> None:
    code = (
        "import sys; from repghost.cli import cli\n"
        "try: cli(sys.argv[1:])\n"
        "finally: print({'torch', 'tvm', 'onnx'} & set(sys.modules), file=sys.stderr)"
    )
    for words in (["deploy", str(versions[0].path), "board:imports"], ["status", "board:imports"]):
        command = [sys.executable, "-c", code, *words, "--ssh-config", str(board.config())]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr.strip().endswith("set()"), done.stderr


def test_without_ssh_the_package_is_named(
    versions: list[Bundle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = invoke(None, "deploy", versions[0].path, "board")
    assert done.exit_code == 4 and "apt install openssh-client" in done.output
