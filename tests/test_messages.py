"""What messages call an argument: `name=` in Python, its option on the command line, make's variable under make."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

import repghost
from repghost.cli import cli
from repghost.commands.options.spelled import STARTED_BY, VARIABLES, as_option
from repghost.errors import UsageError, as_argument, command, option, options_spelled
from repghost.network.spec import parse_width
from tests.repghost.commands.test_same_names import FUNCTIONS, ONLY_THERE, arguments, names, options
from tests.support import ROOT
from tests.test_imports import PACKAGES, PATHS, TREES

WRITTEN = re.compile(r"(?<![\w-])--[a-z]")
# Text about other programs, and commands to copy: what stands before the option in the same text.
GIVEN = re.compile(r"-\S+|(--[\w-]+ ?)+")  # words that a program is given
OF_PROGRAMS = re.compile(
    r"repghost-run|(?<![\w.])repghost [a-z]+|trtexec|pip install|apt install|(build|detect)\.sh|mnnconvert"
    r"|stronglyTyped"
)
COMMAND_LINE = ("repghost.commands", "repghost.cli")
OF_DATASETS = {"class_map", "split"}  # of repghost.open_dataset and of its `open`


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each text of a module that is no docstring, with its line; the values in an f-string are left out."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in docstrings | parts:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(it.value) for it in node.values if isinstance(it, ast.Constant))


def spelled_out(module: str) -> Iterator[str]:
    """The places where a message of a module writes an option of the command line."""
    for line, text in texts(TREES[module]):
        for found in WRITTEN.finditer(text):
            if not GIVEN.fullmatch(text) and not OF_PROGRAMS.search(text[: found.start()]):
                yield f"{module}:{line} {text[found.start() :][:40]}"


LIBRARY = sorted(
    name
    for name in PATHS
    if name.startswith(PACKAGES[:3])
    and not name.startswith((*COMMAND_LINE, "compile.bench.peers", "compile.tensorrt.scripts"))
)


def test_the_library_writes_no_option_of_the_command_line() -> None:
    assert [place for module in LIBRARY for place in spelled_out(module)] == []


def test_the_rule_finds_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    source = 'raise UsageError(f"{x}; give --images N")\nrun(["--verify"])\n"Write it: repghost bench X --json F"\n'
    monkeypatch.setitem(TREES, "repghost.made", ast.parse(source))
    assert list(spelled_out("repghost.made")) == ["repghost.made:1 --images N"]


def asked() -> set[str]:
    """The arguments that messages name."""
    found = set[str]()
    for module in LIBRARY:
        calls = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)]
        named = [node.args[0] for node in calls if isinstance(node.func, ast.Name) and node.func.id == "option"]
        found |= {str(name.value) for name in named if isinstance(name, ast.Constant)}
    return found


def test_messages_name_arguments_that_there_are() -> None:
    known = {name for function in (*FUNCTIONS.values(), repghost.validate_widths) for name in arguments(function)}
    assert len(asked()) > 50
    assert asked() - known - OF_DATASETS == set()


@pytest.mark.parametrize("command", FUNCTIONS)
def test_each_argument_is_spelled_as_the_option_of_its_command(command: str) -> None:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    written = {word for it in found.params for word in (*it.opts, *it.secondary_opts)}
    given = {name for known in options(command).values() for name in names(known)}
    there = [
        name for name in arguments(FUNCTIONS[command]) if name in given and name not in ONLY_THERE.get(command, ())
    ]
    assert there
    with click.Context(found, info_name=command).scope(), options_spelled(as_option):
        assert [name for name in there if option(name) not in written] == []
    assert [name for name in there if option(name) != f"{name}="] == []


def test_a_value_is_written_as_either_side_would() -> None:
    assert as_argument("mode", "fused") == "mode='fused'" and as_option("mode", "fused") == "--mode fused"
    assert as_argument("weights", "FILE") == "weights=FILE" and as_option("weights", "FILE") == "--weights FILE"
    assert as_argument("full", True) == "full=True" and as_option("full", True) == "--full"
    assert as_argument("learning_rate", 0.02) == "learning_rate=0.02"
    assert as_option("data", "my pictures") == "--data 'my pictures'"
    assert inspect.signature(as_argument).parameters.keys() == inspect.signature(as_option).parameters.keys()


def test_python_spells_again_once_a_command_is_done() -> None:
    with pytest.raises(RuntimeError), options_spelled(as_option):
        raise RuntimeError
    assert option("held_out") == "held_out="
    with pytest.raises(UsageError, match="unknown width"):
        parse_width("wide")


# What make starts.

MISTAKES = [
    (["--weights", "absent.pth"], "absent.pth needs --data DIR,", "absent.pth needs DATA=DIR,"),
    (["--weights", "random", "--data", "d"], "--data has no effect here", "DATA= has no effect here"),
    (["--size", "x"], "error: Invalid value for '--size': ", "error: Invalid value for SIZE: "),
    (["--max-drop", "two"], "error: Invalid value for '--max-drop': ", "error: Invalid value for MAX_DROP: "),
    (["--jobs", "x"], "error: Invalid value for '--jobs' / '-j': ", "error: Invalid value for '--jobs' / '-j': "),
]


@pytest.mark.parametrize(("given", "command_line", "under_make"), MISTAKES, ids=lambda value: value[0][:2])
def test_messages_speak_as_the_user_did(given: list[str], command_line: str, under_make: str) -> None:
    for environment, wanted in (({STARTED_BY: ""}, command_line), ({STARTED_BY: "make"}, under_make)):
        result = CliRunner().invoke(cli, ["compile", "--target", "host", *given], env=environment)
        assert result.exit_code == 2 and wanted in result.stderr
        assert ("Usage:" in result.stderr) == ("--" in wanted and not environment[STARTED_BY] and "Invalid" in wanted)


def test_a_command_to_copy_is_started_as_this_one_was(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("compile", target="web") == "repghost compile --target web"
    monkeypatch.setenv(STARTED_BY, "make")
    result = CliRunner().invoke(cli, ["verify", "."])
    assert "build one with 'make compile'." in result.stderr
    result = CliRunner().invoke(cli, ["advise", "--board", "pi4", "--ms", "40"])
    assert "  make compile TARGET=arm64 WIDTH=" in result.stdout


def test_the_makefile_says_that_it_starts_and_gives_these_variables() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert f"REPGHOST := {STARTED_BY}=make $(BIN)/repghost" in makefile
    passed = {name.lower() for name in re.findall(r"call option,([A-Z_]+),", makefile)}
    assert passed - {"amp", "at_once", "baselines", "gpus"} == VARIABLES - {"target"}
