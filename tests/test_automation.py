"""The Dockerfile, the GitHub Action, the workflow and the pre-commit hooks: rules of their linters, and what they call.

Where hadolint, actionlint, pre-commit or a container engine is installed, these look too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from repghost.cli import cli
from tests.support import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PINNED_ACTION = re.compile(r"uses: (?:\./|[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*)$")
FAKE = """#!/bin/sh
printf '%s\\n' "$@" >> "$CALLS"
[ "$1" = compile ] || exit 0
mkdir -p out/net-64px/arm64/int8
echo '{}' > out/net-64px/report.json
echo '# Net' > out/net-64px/report.md
"""


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def steps(path: Path) -> list[dict[str, Any]]:
    known = read(path)
    if "runs" in known:
        return list(known["runs"]["steps"])
    return [step for job in known["jobs"].values() for step in job["steps"]]


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("path", [ROOT / "action.yml", *WORKFLOWS], ids=lambda path: path.name)
def test_shell_text_holds_no_expression_and_actions_are_pinned(path: Path) -> None:
    found = steps(path)
    assert found and all("${{" not in step.get("run", "") for step in found)
    assert all(step.get("shell") == "bash" for step in found if "run" in step and path.name == "action.yml")
    used = [line.strip().removeprefix("- ") for line in path.read_text().splitlines() if "uses:" in line]
    assert used and [line for line in used if not PINNED_ACTION.fullmatch(line)] == []


def test_a_workflow_may_only_read_and_ends() -> None:
    for path in WORKFLOWS:
        known = read(path)
        assert known["permissions"] == {"contents": "read"}
        assert all(job["timeout-minutes"] <= 90 for job in known["jobs"].values())
        checkouts = [step for step in steps(path) if step.get("uses", "").startswith("actions/checkout")]
        assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


def test_the_workflow_runs_check_and_test_on_both_architectures() -> None:
    job = read(ROOT / ".github/workflows/ci.yml")["jobs"]["test"]
    assert job["strategy"]["matrix"]["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]
    assert {"make check", "make test"} <= {step.get("name") for step in job["steps"]}


def test_what_is_made_in_workflows_is_a_target_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(path.read_text() for path in WORKFLOWS)
    made = set(re.findall(r"^\s*run: make ([\w-]+)", text, re.MULTILINE))
    assert made and made <= targets


def test_every_input_of_the_action_is_an_option_and_reaches_the_script_as_a_variable() -> None:
    known = read(ROOT / "action.yml")
    command = cli.get_command(click.Context(cli), "compile")
    assert command is not None
    options = {option.removeprefix("--") for parameter in command.params for option in parameter.opts}
    inputs = set(known["inputs"]) - {"python-version"}
    assert inputs <= options and all(it["description"].endswith(".") for it in known["inputs"].values())
    variables = steps(ROOT / "action.yml")[-1]["env"]
    assert {name: value for name, value in variables.items() if name.startswith("INPUT_")} == {
        f"INPUT_{name.upper().replace('-', '_')}": f"${{{{ inputs.{name} }}}}" for name in inputs
    }
    (listed,) = re.findall(r"^for name in (.*); do$", (ROOT / ".ci/action").read_text(), re.MULTILINE)[:1]
    assert set(listed.split()) == inputs


def run_action(
    tmp_path: Path, program: str = FAKE, **inputs: str
) -> tuple[subprocess.CompletedProcess[str], list[str], str]:
    """Run the script of the action with a stand-in for the program; what it was called with, and the outputs."""
    fake, calls, outputs = tmp_path / "fake", tmp_path / "calls", tmp_path / "outputs"
    fake.write_text(program)
    fake.chmod(0o755)
    environment = {
        "PATH": os.environ["PATH"], "REPGHOST": str(fake), "CALLS": str(calls), "GITHUB_OUTPUT": str(outputs),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "INPUT_OUTPUT": "out",
        **{f"INPUT_{name.upper()}": value for name, value in inputs.items()},
    }  # fmt: skip
    done = subprocess.run(
        [str(ROOT / ".ci/action")], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=30,
    )  # fmt: skip
    return done, calls.read_text().splitlines(), outputs.read_text() if outputs.exists() else ""


def test_the_action_compiles_verifies_and_says_where(tmp_path: Path) -> None:
    evil = "x; touch hacked $(touch hacked) `touch hacked` \" '"
    done, calls, outputs = run_action(tmp_path, target="arm64", weights=evil, max_drop="0.5")
    assert done.returncode == 0, done.stderr
    compiled = ["compile", "--target=arm64", f"--weights={evil}", "--max-drop=0.5", "--output=out"]
    assert calls == [*compiled, "verify", "out/net-64px/arm64/int8"]
    assert outputs.splitlines() == [
        "folder=out/net-64px", "bundle=out/net-64px/arm64/int8", "report=out/net-64px/report.json"
    ]  # fmt: skip
    assert not (tmp_path / "hacked").exists() and (tmp_path / "summary").read_text() == "# Net\n"


def test_the_action_passes_a_missed_gate_on(tmp_path: Path) -> None:
    refusing = '#!/bin/sh\necho "$1" >> "$CALLS"\nexit 3\n'
    done, calls, outputs = run_action(tmp_path, refusing, target="arm64")
    assert done.returncode == 3 and calls == ["compile"] and outputs == ""


def test_the_image_is_pinned_small_and_nobody_s() -> None:
    found = instructions()
    kinds = [kind for kind, _ in found]
    bases = [rest.split()[0] for kind, rest in found if kind == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases) and len(bases) == 2
    assert "ADD" not in kinds and "ARG" not in kinds  # nothing from outside, and no place for a secret
    assert not re.search(r"(?i)token|password|secret|api[_-]?key", DOCKERFILE)
    last = found[len(kinds) - 1 - kinds[::-1].index("FROM") :]
    order = [kind for kind, _ in last]
    assert dict(last)["USER"] == "10001" and order.index("USER") < order.index("ENTRYPOINT")
    assert [rest for kind, rest in last if kind == "COPY"] == ["--from=build /opt/repghost /opt/repghost"]
    assert "PIP_NO_CACHE_DIR=1" in DOCKERFILE and "sudo" not in DOCKERFILE and "apt-get" not in DOCKERFILE


def test_what_the_image_copies_is_all_that_goes_to_the_builder() -> None:
    copies = [rest.split()[:-1] for kind, rest in instructions() if kind == "COPY" and "--from" not in rest]
    copied = {word for words in copies for word in words}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*" and {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)


def test_the_hooks_call_what_make_check_calls() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for hook in read(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]:
        program, *words = hook["entry"].split()
        assert program.startswith(".venv/bin/")
        assert f"$(BIN)/{program.removeprefix('.venv/bin/')} {' '.join(words)}" in makefile
    (offered,) = read(ROOT / ".pre-commit-hooks.yaml")
    assert "repghost explain" in offered["entry"] and re.search(offered["files"], "models/net.qdq.onnx")
    assert "explain" in cli.list_commands(click.Context(cli))


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("hadolint", ["Dockerfile"]), ("actionlint", []), ("shellcheck", [".ci/action", ".ci/run"]),
        ("pre-commit", ["validate-config"]), ("pre-commit", ["validate-manifest"]),
    ],
)  # fmt: skip
def test_the_linters_find_nothing(tool: str, arguments: list[str]) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_image_runs(tmp_path: Path) -> None:
    engine = next((it for it in ("docker", "podman") if shutil.which(it)), None)
    if engine is None or subprocess.run([engine, "info"], capture_output=True, check=False, timeout=30).returncode:
        pytest.skip("no container engine runs here")
    building = [engine, "build", "-q", "."]
    built = subprocess.run(building, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert built.returncode == 0, built.stderr[-2000:]
    command = [engine, "run", "--rm", "--cap-drop", "ALL", built.stdout.strip(), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and "repghost" in done.stdout
