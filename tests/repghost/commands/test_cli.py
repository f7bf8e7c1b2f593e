from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import click
import pytest
from click.testing import CliRunner, Result

import repghost
from repghost import cli, errors
from tests.support import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.cli, [str(argument) for argument in arguments])


def python(code: str, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, **options)  # type: ignore[call-overload]


# Start and help.


def test_help_loads_no_package_but_click() -> None:
    # That is what makes it answer at once: how many seconds it takes depends on the machine, this does not.
    result = python("""
        import sys
        before = set(sys.modules)
        from repghost.cli import cli
        try:
            cli.main(["--help"], prog_name="repghost")
        except SystemExit as end:
            assert end.code == 0
        loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
        print("loaded:", sorted(loaded - sys.stdlib_module_names - {"click", "repghost", "calib", "compile"}))
    """)
    assert result.returncode == 0, result.stderr
    assert "loaded: []" in result.stdout
    for name in cli.LazyGroup(table=cli.COMMANDS).list_commands(click.Context(cli.cli)):
        assert result.stdout.count(f"\n  {name} ") == 1
    shown = [title for title in (*cli.GROUPS, cli.MORE) if f"\n{title}:\n" in result.stdout]
    assert shown == [*cli.GROUPS, cli.MORE]


@pytest.mark.slow
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
    assert {"fuse", "flops", "export"} <= set(names)
    for name in (*names, *cli.ALIASES):
        result = run(name, "--help")
        assert result.exit_code == 0 and result.output.startswith("Usage:"), name


def complete(shell: str, words: str) -> str:
    variables = {"_REPGHOST_COMPLETE": shell, "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    return CliRunner().invoke(cli.cli, [], prog_name="repghost", env=variables).output


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("repghost qua", "plain,quantize\n"),
        ("repghost conv", "\n"),  # a word of earlier versions
        ("repghost quantize --ou", "plain,--output\n"),
        ("repghost report --format h", "plain,html\n"),
        ("repghost verify build/", "file,build/\n"),
    ],
)
def test_words_are_completed(words: str, found: str) -> None:
    assert complete("bash_complete", words) == found


def test_the_reference_says_how_words_are_completed() -> None:
    shown = (ROOT / "docs/reference.md").read_text()
    for shell in ("bash", "zsh", "fish"):
        assert f"_REPGHOST_COMPLETE={shell}_source repghost" in shown
        assert "_REPGHOST_COMPLETE" in complete(f"{shell}_source", "")


# Errors.


@pytest.mark.parametrize(("word", "suggestion"), [("flop", "flops"), ("fuze", "fuse"), ("exprot", "export")])
def test_an_unknown_command(word: str, suggestion: str) -> None:
    result = run(word)
    assert result.exit_code == 2
    assert f"unknown command {word!r}" in result.stderr and f"Did you mean {suggestion!r}?" in result.stderr


def test_a_command_whose_module_is_absent_is_left_out() -> None:
    group = cli.LazyGroup(
        "repghost", table={"here": "repghost.commands.network.flops:command", "gone": "repghost.commands.gone:command"}
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


@pytest.mark.slow
def test_a_closed_pipe_ends_quietly() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "repghost", "flops", "0.5"],
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
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in stderr and "Traceback" not in stderr
