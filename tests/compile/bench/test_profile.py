"""Time by layer: the profiling build runs step by step, and the bundle that is shipped cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from compile.bench import profile
from compile.bench.profile import join_layers, read_program, render_profile
from compile.bundle.manifest import MANIFEST, check_bundle, write_bundle
from compile.link.promises import API, PROFILING_API, check_model
from compile.link.toolchain import link_model
from compile.machine.execute import Machine, UnsupportedVariantError, run_runner
from compile.passes.layers import manifest_layers
from compile.storage.strict_json import canonical_json
from compile.targets.table import Target
from repghost.cli import cli
from repghost.errors import IntegrityError, ToolMissingError, UsageError
from tests.support.fake_bundle import fake_files, fake_info, fake_sections
from tests.support.fake_network import CLASSES, HEIGHT, WIDTH, fake_network
from tests.support.programs import random_program

HERE = Machine("this machine", (), emulated=False)
LAYERS = [
    {"name": name, "operator": "Conv2d", "input": [HEIGHT, WIDTH, 3], "output": [1, 1, channels], "macs": macs,
     "weight_bytes": macs, "arithmetic": "int32", "kernels": {}}
    for name, channels, macs in (("sum", HEIGHT, HEIGHT * WIDTH * 3), ("scores", CLASSES, CLASSES * HEIGHT))
]  # fmt: skip


@pytest.fixture(scope="module")
def profiling(host: Target, host_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-written bundle with a model.so whose steps can be run one by one."""
    path = tmp_path_factory.mktemp("profiling") / "bundle"
    model = link_model(fake_network(host), host, fake_info(), profiling=True)
    write_bundle(path, {**host_files, "model.so": model}, {**fake_sections(host), "layers": LAYERS})
    return path


def test_every_step_is_timed(profiling: Path) -> None:
    bundle = check_bundle(profiling)
    measured = run_runner(bundle, HERE, ["--profile", "--runs", "50", "--warmup", "2"])
    assert len(measured["steps"]) == 2 and measured["runs"] == 50
    assert all(0 <= step["min_us"] <= step["median_us"] for step in measured["steps"])
    assert 0 < measured["min_ms"] <= measured["median_ms"]
    result = join_layers(bundle, measured)
    assert [row["name"] for row in result["layers"]] == ["sum", "scores"]
    assert sum(row["share"] for row in result["layers"]) == pytest.approx(1)


def test_the_profiling_build_still_gives_the_right_scores(profiling: Path) -> None:
    assert run_runner(check_bundle(profiling), HERE, ["--verify"])["mismatches"] == 0


def test_what_is_shipped_has_no_more_functions(host: Target, host_files: dict[str, bytes], profiling: Path) -> None:
    assert check_model(host_files["model.so"], host).exported == API
    made = check_bundle(profiling).read("model.so")
    assert set(check_model(made, host, tuple(sorted(API + PROFILING_API))).exported) - set(API) == set(PROFILING_API)
    with pytest.raises(UsageError, match="rg_run_step"):
        check_model(made, host)


def test_a_shipped_bundle_says_how_to_be_profiled(host_bundle: Path) -> None:
    with pytest.raises(UnsupportedVariantError, match="repghost bench --per-layer"):
        run_runner(check_bundle(host_bundle), HERE, ["--profile"])


def test_rates_and_shares_are_what_they_say(profiling: Path) -> None:
    steps = [{"min_us": 3.0, "median_us": 4.0}, {"min_us": 1.0, "median_us": 2.0}]
    measured = {"variant": "avx2", "runs": 5, "warmup": 1, "min_ms": 0.004, "median_ms": 0.005, "steps": steps}
    result = join_layers(check_bundle(profiling), measured)
    first, second = result["layers"]
    assert (first["share"], second["share"]) == (0.75, 0.25)
    assert first["gmacs_per_second"] == pytest.approx(HEIGHT * WIDTH * 3 / 3e-6 / 1e9)
    text = render_profile({**result, "machine": {"core": "a core"}, "load_before": [0.0], "load_after": [0.0]})
    assert "75.0%" in text and "sum of the layers 0.004 ms" in text
    with pytest.raises(IntegrityError, match="1 steps were measured"):
        join_layers(check_bundle(profiling), {**measured, "steps": steps[:1]})


def test_the_layers_of_a_bundle_are_read_back(host: Target, host_files: dict[str, bytes], tmp_path: Path) -> None:
    program = random_program(0.5, 32, classes=10)
    names = {"plain": [f"k{index}" for index in range(len(program.operators))], "merged": ["one"]}
    rows = manifest_layers(program, names)
    sections = {**fake_sections(host), "layers": rows, "variants": ["merged", "plain"]}
    write_bundle(tmp_path / "bundle", host_files, sections)
    shown = CliRunner().invoke(cli, ["explain", str(tmp_path / "bundle"), "--json"])
    document = json.loads(shown.output)
    assert document["variant"] == "plain"
    assert [row["kernel"] for row in document["layers"]] == names["plain"]
    assert sum(row["macs"] for row in document["layers"]) == sum(row["macs"] for row in rows)
    text = CliRunner().invoke(cli, ["explain", str(tmp_path / "bundle"), "--variant", "merged"]).output
    assert "also in this bundle: plain" in text and "Every layer is an integer operator" in text and "k0" not in text
    wrong = CliRunner().invoke(cli, ["explain", str(tmp_path / "bundle"), "--variant", "plan"])
    assert wrong.exit_code == 2 and "Did you mean 'plain'" in wrong.output


def test_damaged_layers_are_an_integrity_error(host: Target, host_files: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"layers\[0\]"):
        write_bundle(tmp_path / "bundle", host_files, {**fake_sections(host), "layers": [{"name": "x"}]})
    write_bundle(tmp_path / "bundle", host_files, fake_sections(host))
    path = tmp_path / "bundle" / MANIFEST
    path.write_bytes(canonical_json({**json.loads(path.read_text()), "layers": [{"name": "x"}]}))
    assert CliRunner().invoke(cli, ["explain", str(tmp_path / "bundle")]).exit_code == 6


def test_another_program_is_refused(host_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = check_bundle(host_bundle)
    with pytest.raises(UsageError, match=r"absent\.onnx is not there"):
        read_program(bundle, tmp_path / "absent.onnx")
    program = replace(random_program(0.5, 32, classes=10), digest="1" * 64)
    monkeypatch.setattr(profile, "read_integer_program", lambda *_: program)
    (tmp_path / "other.onnx").write_bytes(b"")
    with pytest.raises(IntegrityError, match="Run 'repghost compile' again"):
        read_program(bundle, tmp_path / "other.onnx")


def test_the_whole_command(host: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command on the hand-written network: program and compiler are stood in for, nothing else."""
    path = tmp_path / "run" / "host" / "int8"
    write_bundle(path, fake_files(host), {**fake_sections(host), "layers": LAYERS, "model": {"name": "fake"}})
    monkeypatch.setattr(profile, "read_program", lambda *_: random_program(0.5, 32, classes=10))
    monkeypatch.setattr(profile, "compile_all", lambda *_, **__: ([fake_network(host)], 0))
    output = tmp_path / "times.json"
    arguments = ["bench", str(path), "--per-layer", "--rounds", "2", "--inferences", "3", "--json", str(output)]
    done = CliRunner().invoke(cli, [*arguments, "--keep", str(tmp_path / "kept")])
    assert done.exit_code == 0, done.output
    assert "scores" in done.output and "GMAC/s" in done.output
    result = json.loads(output.read_text())
    assert result["runs"] == 6 and len(result["layers"]) == 2
    assert np.isfinite([row["min_us"] for row in result["layers"]]).all()
    assert check_bundle(tmp_path / "kept").manifest["layers"] == LAYERS


def test_a_foreign_bundle_is_not_measured(arm64_bundle: Path, host: Target) -> None:
    if host.name == "arm64":
        pytest.skip("an arm64 bundle is no foreign bundle here")
    with pytest.raises(ToolMissingError, match="keep=DIR"):
        profile.profile_bundle(arm64_bundle, None, 10)
