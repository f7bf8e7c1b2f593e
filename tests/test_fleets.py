"""docs/fleets.md: what it shows is well-formed, says what `repghost pack` makes, and the playbook deploys to boards."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compile.bundle.manifest import Bundle
from compile.oci.image import ACCOUNT, ENTRY
from tests.compile.deploy.conftest import *  # noqa: F403 - the boards on the loopback
from tests.support import ROOT
from tests.support.standin import Standin

yaml = pytest.importorskip("yaml")
PAGE = (ROOT / "docs/fleets.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}


def text(section: str) -> str:
    """The first YAML of a section."""
    found = re.search(r"^```yaml\n(.*?)^```", SECTIONS[section], re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def block(section: str) -> Any:
    return yaml.safe_load(text(section))


def test_k3s() -> None:
    pod = block("k3s")["spec"]["template"]["spec"]
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == ACCOUNT
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert "command" not in container, "the entry is the image's"
    assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == "/incoming"


def test_others() -> None:
    service = block("balena")["services"]["repghost"]
    assert service["read_only"] is True and "incoming:/incoming:ro" in service["volumes"]
    assert "entrypoint" not in service
    script = block("AWS Greengrass")["Manifests"][0]["Lifecycle"]["Run"]["Script"]
    assert "--read-only" in script and "/incoming:ro" in script and "\n" not in script.strip()
    assert " ".join(ENTRY) in PAGE


def test_every_order_is_one_of_the_runner() -> None:
    usage = (ROOT / "compile/runner/repghost_run.c").read_text()
    for order in ("--watch", "--verify", "--camera", "--top", "--bench"):
        assert order in PAGE and f'"  {order} ' in usage


@pytest.fixture
def playbook(tmp_path: Path) -> Path:
    path = tmp_path / "deploy.yml"
    path.write_text(f"---\n{text('With ssh only: Ansible')}")
    return path


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}; pip install ansible-core ansible-lint, in an environment of their own")
    return found


@pytest.mark.slow
def test_the_playbook_is_clean(playbook: Path) -> None:
    command = [program("ansible-lint"), "--offline", "--strict", "--profile", "production", playbook.name]
    done = subprocess.run(command, cwd=playbook.parent, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_playbook_deploys(playbook: Path, board: Standin, versions: list[Bundle], tmp_path: Path) -> None:
    """To a board of the loopback: changed, then unchanged; and a board that is not there ends it."""
    ansible, folder = program("ansible-playbook"), board.new_folder()
    (tmp_path / "boards.ini").write_text(f"[boards]\nfirst repghost_board=board:{folder}\n")
    (tmp_path / "bin").mkdir()
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from repghost.cli import main; main()"
    (tmp_path / "bin/repghost").write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-c", code])} "$@"\n')
    (tmp_path / "bin/repghost").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "ANSIBLE_HOME": str(tmp_path / "home"),
    }
    variables = f'{{"repghost_bundle": "{versions[0].path}", "repghost_options": ["--ssh-config", "{board.config()}"]}}'

    def play(*more: str) -> subprocess.CompletedProcess[str]:
        words = [ansible, "-i", "boards.ini", playbook.name, "-e", variables, *more]
        return subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    done = play()
    assert done.returncode == 0 and "changed=1" in done.stdout, done.stdout + done.stderr
    assert board.current(folder) == versions[0].digest
    assert "changed=0" in play().stdout
    gone = play("-e", "repghost_board=nowhere.invalid")
    assert gone.returncode != 0 and "failed=1" in gone.stdout
    assert "nowhere.invalid" in gone.stdout
