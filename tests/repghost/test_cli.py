from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner, Result

import repghost
from repghost import cli, errors
from repghost.checkpoint import read_checkpoint, write_checkpoint
from tests.repghost.networks import network

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.cli, [str(argument) for argument in arguments])


def python(code: str, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, **options)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model with spaces é.safetensors"
    write_checkpoint(path, network(), {"version": 1, "size": 64}, list("abcdefg"), {"epoch": 3})
    return path


# Start and help.


def test_help_loads_nothing_heavy() -> None:
    result = python("""
        import sys
        from repghost.cli import cli
        try:
            cli.main(["--help"], prog_name="repghost")
        except SystemExit as end:
            assert end.code == 0
        heavy = {"torch", "tvm", "numpy", "onnx", "PIL", "timm", "torchvision", "safetensors"} & set(sys.modules)
        print("loaded:", sorted(heavy))
    """)
    assert result.returncode == 0, result.stderr
    assert "loaded: []" in result.stdout
    for name in cli.LazyGroup(table=cli.COMMANDS).list_commands(click.Context(cli.cli)):
        assert f"\n  {name} " in result.stdout


def test_help_is_fast() -> None:
    # Seconds of processor time, not of a clock that other programs stretch; the promise is 0.3 s.
    code = "import resource, subprocess, sys; subprocess.run([sys.executable, '-m', 'repghost.cli', '--help']); "
    code += "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime)"
    seconds = [float(python(code).stdout.splitlines()[-1]) for _ in range(3)]
    assert min(seconds) < 0.3


def test_import_is_light_and_names_are_lazy() -> None:
    result = python("""
        import sys, repghost
        assert "torch" not in sys.modules and "numpy" not in sys.modules
        assert "load" in dir(repghost) and "RepGhostNet" in dir(repghost)
        repghost.create_model("0.5")
        assert "torch" in sys.modules and "tvm" not in sys.modules
    """)
    assert result.returncode == 0, result.stderr


def test_every_public_name_exists() -> None:
    for name in repghost.__all__:
        assert getattr(repghost, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        repghost.lode  # noqa: B018


def test_version() -> None:
    result = run("--version")
    assert result.output.split()[-1] == repghost.__version__
    assert f'version = "{repghost.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_every_command_can_be_asked_for_help() -> None:
    context = click.Context(cli.cli)
    names = cli.cli.list_commands(context)
    assert {"fuse", "convert", "flops", "export"} <= set(names)
    for name in names:
        result = run(name, "--help")
        assert result.exit_code == 0 and result.output.startswith("Usage:"), name


# Errors.


@pytest.mark.parametrize(("word", "suggestion"), [("flop", "flops"), ("fuze", "fuse"), ("exprot", "export")])
def test_an_unknown_command(word: str, suggestion: str) -> None:
    result = run(word)
    assert result.exit_code == 2
    assert f"unknown command {word!r}" in result.stderr and f"Did you mean {suggestion!r}?" in result.stderr


def test_a_command_whose_module_is_absent_is_left_out() -> None:
    group = cli.LazyGroup(
        "repghost", table={"here": "repghost.commands.flops:command", "gone": "repghost.commands.gone:command"}
    )
    assert group.list_commands(click.Context(group)) == ["here"]
    assert "unknown command 'gone'" in CliRunner().invoke(group, ["gone"]).stderr


def failing(error: BaseException) -> Result:
    @click.command("fail")
    def command() -> None:
        raise error

    group = cli.LazyGroup("repghost", table={})
    group.list_commands = lambda ctx: ["fail"]  # type: ignore[method-assign]
    group.get_command = lambda ctx, name: command  # type: ignore[method-assign]
    return CliRunner().invoke(group, ["fail"])


ERRORS = [
    (errors.RepGhostError("what"), 1, "error: what\n"),
    (errors.UsageError("what"), 2, "error: what\n"),
    (errors.AccuracyGateError("what"), 3, "error: what\n"),
    (errors.ToolMissingError("what"), 4, "error: what\n"),
    (errors.DeviceUnreachableError("what"), 5, "error: what\n"),
    (errors.IntegrityError("what"), 6, "error: what\n"),
    (KeyboardInterrupt(), 130, "error: interrupted"),
    (OSError(28, "No space left on device", "/x/y"), 1, "error: '/x/y': No space left on device"),
    (PermissionError(13, "Permission denied"), 1, "error: Permission denied"),
    (ModuleNotFoundError("No module named 'tvm'", name="tvm.ir"), 4, "error: the Python package 'tvm' is needed"),
]


@pytest.mark.parametrize(("error", "code", "message"), ERRORS, ids=lambda value: type(value).__name__)
def test_errors_have_a_message_and_a_code(error: BaseException, code: int, message: str) -> None:
    result = failing(error)
    assert result.exit_code == code
    assert result.stderr.startswith(message)
    assert result.stdout == ""


@pytest.mark.parametrize("error", [ValueError("bug"), ModuleNotFoundError("gone", name="repghost.gone")])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    assert failing(error).exception is error


def test_a_closed_pipe_ends_quietly() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "repghost.cli", "flops", "0.5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait(60)


def test_an_interrupt_ends_with_130() -> None:
    code = """
        import sys, time
        import click
        from repghost import cli
        @click.command("wait")
        def command():
            print("ready", flush=True)
            time.sleep(30)
        cli.cli.list_commands = lambda ctx: ["wait"]
        cli.cli.get_command = lambda ctx, name: command
        sys.argv = ["repghost", "wait"]
        cli.main()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in stderr and "Traceback" not in stderr


# fuse.


CONVERSIONS = [("fuse", [], "deploy", 384), ("convert", [], "deploy", 384), ("fuse", ["--full"], "fused", 192)]


@pytest.mark.parametrize(("name", "options", "form", "tensors"), CONVERSIONS)
def test_fuse(name: str, options: list[str], form: str, tensors: int, weights: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.safetensors"
    result = run(name, weights, output, *options)
    assert result.exit_code == 0, result.stderr
    assert f"({tensors} tensors, {form} form" in result.output
    assert "same answers for 4 of 4 random pictures" in result.output
    original, converted = read_checkpoint(weights), read_checkpoint(output)
    assert converted.spec.form == form and len(converted.state_dict) == tensors
    assert (converted.preprocess, converted.labels) == (original.preprocess, original.labels)
    assert converted.metadata == {"epoch": 3, "converted_from": original.digest}
    assert run("fuse", "--check", weights, output).exit_code == 0


@pytest.mark.parametrize("options", [[], ["--full"]])
@torch.no_grad()
def test_a_tampered_conversion_is_found(
    options: list[str], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from repghost import fuse, model

    def tampered(original):
        converted = convert(original)
        converted.conv_head.bias[0] += 1.0
        return converted

    place, name = (fuse, "fuse") if options else (model, "repghost_model_convert")
    convert = getattr(place, name)
    monkeypatch.setattr(place, name, tampered)
    result = run("fuse", weights, tmp_path / "out.safetensors", *options)
    assert result.exit_code == 6
    assert "does not compute the same" in result.stderr
    assert list(tmp_path.iterdir()) == []


@torch.no_grad()
def test_a_tampered_file_is_found(weights: Path, tmp_path: Path) -> None:
    from repghost.checkpoint import load_model

    output = tmp_path / "out.safetensors"
    run("fuse", weights, output)
    changed = load_model(output)
    changed.blocks[4][0].ghost1.cheap_operation.weight[0, 0, 1, 1] += 0.5
    write_checkpoint(output, changed)
    result = run("fuse", "--check", weights, output)
    assert result.exit_code == 6
    other = tmp_path / "other.safetensors"
    write_checkpoint(other, network(num_classes=8))
    result = run("fuse", "--check", weights, other)
    assert result.exit_code == 2 and "other channels or classes" in result.stderr


def test_fuse_never_invents_weights(tmp_path: Path) -> None:
    result = run("fuse", tmp_path / "absent.pth", tmp_path / "out.safetensors")
    assert result.exit_code == 2
    assert "there is no checkpoint" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("out.pth", [], "let OUT end in .safetensors, not '.pth'"),
        ("out.safetensors", ["--width", "1.0"], "has width 0.5, not 1 as asked for"),
        ("out.safetensors", ["--width", "resnet"], "unknown width 'resnet'"),
        ("out.safetensors", ["--branches", "bm"], "Did you mean 'bn'?"),
    ],
)
def test_fuse_refuses(output: str, options: list[str], message: str, weights: Path, tmp_path: Path) -> None:
    result = run("fuse", weights, tmp_path / output, *options)
    assert result.exit_code == 2 and message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_fuse_keeps_the_original(weights: Path, tmp_path: Path) -> None:
    link = tmp_path / "same.safetensors"
    link.symlink_to(weights)
    before = weights.read_bytes()
    result = run("fuse", weights, link)
    assert result.exit_code == 2 and "OUT is CKPT itself" in result.stderr
    assert weights.read_bytes() == before


def test_fused_does_not_become_deploy(weights: Path, tmp_path: Path) -> None:
    fused = tmp_path / "fused.safetensors"
    assert run("fuse", weights, fused, "--full").exit_code == 0
    result = run("fuse", fused, tmp_path / "again.safetensors")
    assert result.exit_code == 2 and "Use --full" in result.stderr


# flops.


def test_flops_prints_all_widths() -> None:
    result = run("flops")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[1].split()[:7] == [
        "repghostnet_0_5x",
        "43314720",
        "43317244",
        "44165532",
        "2313968",
        "2306528",
        "2302956",
    ]
    assert len([line for line in lines if line.startswith("repghostnet_")]) == 8


def test_flops_as_json(weights: Path) -> None:
    (row,) = json.loads(run("flops", "--json", "--layers", "--size", "64", "--checkpoint", weights).output)
    assert (row["width"], row["num_classes"], row["size"]) == (0.5, 7, 64)
    assert sum(layer["macs"] for layer in row["layers"]) == row["macs"]
    (custom,) = json.loads(run("flops", "--json", "0.75").output)
    assert custom["model"] == "repghostnet_0_75x" and "published" not in custom


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["0.5", "--checkpoint", "x"], "not both"), (["resnet"], "unknown width"), (["--size", "0"], "not in the range")],
)
def test_flops_refuses(arguments: list[str], message: str) -> None:
    result = run("flops", *arguments)
    assert result.exit_code == 2 and message in result.stderr


# export.


@pytest.mark.parametrize(("options", "size"), [([], 64), (["--size", "96", "--batch", "batch"], 96)])
def test_export(options: list[str], size: int, weights: Path, tmp_path: Path) -> None:
    import onnx

    output = tmp_path / "net.onnx"
    result = run("export", weights, output, *options)
    assert result.exit_code == 0, result.stderr
    assert f"input 3 x {size} x {size}" in result.output
    proto = onnx.load(output)
    texts = {entry.key: entry.value for entry in proto.metadata_props}
    assert texts["repghost.checkpoint"] == read_checkpoint(weights).digest
    assert proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value == size


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("net.pb", [], "ends in .onnx, not '.pb'"),
        ("net.onnx", ["--batch", "-1"], "takes a number or a name"),
        ("net.onnx", ["--batch", "0"], "at least 1"),
        ("net.onnx", ["--size", "99999"], "not in the range"),
    ],
)
def test_export_refuses(output: str, options: list[str], message: str, weights: Path, tmp_path: Path) -> None:
    result = run("export", weights, tmp_path / output, *options)
    assert result.exit_code == 2 and message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("export", weights, tmp_path / "file" / "net.onnx")
    assert result.exit_code == 1 and "error: " in result.stderr and "file" in result.stderr
