"""Other networks by name: the command that builds them, under emulation too, and what it refuses."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from compile.machine.emulator import find_emulator
from compile.pipeline import run
from compile.subject.from_library import random_network
from compile.subject.request import Request
from compile.targets.precisions import INT8
from repghost.cli import cli
from repghost.data.images.preprocess import Preprocess
from repghost.errors import UsageError


@pytest.mark.slow
def test_a_baseline_gives_the_same_bits_on_this_machine_and_on_three_emulated_cores(tmp_path: Path) -> None:
    """Depthwise 3x3 and 5x5 with both strides, gates, hard-swish tables, residual adds: MobileNetV3 has them all."""
    if find_emulator() is None:
        pytest.skip("no qemu-aarch64 with an arm64 C library; 'repghost doctor' says how to get one")
    request = Request(
        "arm64", (INT8,), weights="random", model="mobilenetv3_small_050", size=64, output=tmp_path, fetch=False, jobs=2
    )
    said: list[str] = []
    report = run(request, said.append)
    verified = " ".join(line for line in said if line.startswith("verify"))
    for name in ("cortex-a53", "cortex-a76", "-cpu max", "on this machine"):
        assert name in verified, verified
    assert (tmp_path / "mobilenetv3_small_050-64px-random" / "report.md").is_file()
    assert report["accuracy"]["measured"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "mobilenetv3_large_100"], "needs --weights"),
        (["--model", "mobilenetv2_100", "--weights", "random", "--width", "1.0"], "leave it out"),
        (["--model", "mobilenetv2_10", "--weights", "random"], "Did you mean"),
    ],
)
def test_wrong_use_is_told(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["compile", "--target", "host", "--size", "32", "-o", str(tmp_path), *arguments])
    assert (done.exit_code, words in done.output) == (2, True), done.output


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown network of timm 'mobilenetv9'"):
        random_network("timm:mobilenetv9", Preprocess(32, 32), 3, seed=0)
