"""What the shell of a caller has set changes nothing: decimals with a comma, folders that `cd` looks into."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from compile.tensorrt.bundle_files import SCRIPTS

COMMA = "de_DE.UTF-8"
COMPARE = (
    """. ./common.sh; echo "LC_ALL=$LC_ALL"; echo "0.1 5.1" | awk -v tolerance=0.04 -v name=int8 -f compare.awk - out"""
)


@pytest.mark.parametrize("script", ["build.sh", "check.sh", "measure.sh", "detect.sh"])
def test_a_script_reads_the_files_beside_it(tmp_path: Path, script: str) -> None:
    for folder in ("bundle", "elsewhere/bundle"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "common.sh").write_text(f"echo {folder}; exit")
    shutil.copy(SCRIPTS / script, tmp_path / "bundle")
    environment = {"PATH": os.environ["PATH"], "CDPATH": str(tmp_path / "elsewhere")}
    done = subprocess.run(
        ["sh", f"bundle/{script}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "bundle\n"


def test_numbers_have_a_point(tmp_path: Path) -> None:
    """mawk, the awk of Ubuntu, would take 0.8 for 0, and what differs by it for equal."""
    for name in ("common.sh", "compare.awk"):
        shutil.copy(SCRIPTS / name, tmp_path)
    (tmp_path / "settings.sh").touch()
    (tmp_path / "out").write_text('[ { "name" : "logits" , "values" : [ 0.9, 5.1 ] } ]')
    if shutil.which("localedef"):  # without it, or what it reads, every locale here has a point
        command = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / COMMA)]
        subprocess.run(command, capture_output=True, timeout=60, check=False)
    environment = {"PATH": os.environ["PATH"], "LOCPATH": str(tmp_path), "LC_ALL": COMMA}
    done = subprocess.run(
        ["sh", "-c", COMPARE], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == [
        "LC_ALL=C", "error: int8: a logit differs by 0.8, at most 0.04 is allowed"
    ]  # fmt: skip
    assert done.returncode == 1
