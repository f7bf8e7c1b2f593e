"""The same option is spelled alike in every command, and every earlier spelling goes on working."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from repghost import cli, errors, terminal
from repghost.commands.options.earlier import Renamed
from repghost.commands.progress.notes import say_notes
from repghost.terminal import say, say_next

NAMES = sorted(cli.COMMANDS)
# What a value is called in the functions of the commands -> how the command line spells it, in all of them.
SPELLED = {
    "output": {"--output", "-o"}, "oci": {"--output", "-o"}, "batch": {"--batch", "-b"},
    "learning_rate": {"--learning-rate", "--lr"}, "workers": {"--workers", "-j"}, "jobs": {"--jobs", "-j"},
    "data": {"--data"}, "as_json": {"--json"}, "json_file": {"--json"}, "fetch": {"--fetch", "--no-fetch"},
    "quiet": {"--quiet", "-q"}, "verbose": {"--verbose", "-v"},
}  # fmt: skip
EARLIER = {
    "train": ["--data_dir", "--data-dir", "--config"],
    "validate": ["--data_dir", "--data-dir", "--val-split", "--model", "--batch-size", "--config"],
    "qat": ["--distillation", "--temperature", "--batch-size"],
    "pack": ["--oci"], "accuracy": ["--docs"], "bench": ["--keep"],
}  # fmt: skip


def find(name: str) -> click.Command:
    found = cli.cli.get_command(click.Context(cli.cli), name)
    assert found is not None
    return found


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.cli, [str(argument) for argument in arguments])


@pytest.mark.parametrize("name", NAMES)
def test_an_option_is_spelled_as_everywhere(name: str) -> None:
    known = [it for it in find(name).params if isinstance(it, click.Option) and not it.hidden]
    assert "-c" in {word for it in known for word in it.opts} or not any("--config" in it.opts for it in known)
    assert {"quiet", "verbose"} <= {it.name for it in known}
    for option in known:
        wanted = SPELLED.get(option.name or "", set())
        assert wanted <= {*option.opts, *option.secondary_opts}, option.name
    words = [word for option in known for word in (*option.opts, *option.secondary_opts)]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("name", NAMES)
def test_an_earlier_spelling_works_and_is_not_shown(name: str) -> None:
    renamed = [it for it in find(name).params if isinstance(it, Renamed)]
    earlier = [word for it in renamed for word in it.opts if word not in it.shown]
    assert sorted(earlier) == sorted(EARLIER.get(name, []))
    text = run(name, "--help").output
    assert not [word for word in earlier if f"{word} " in text or f"{word}," in text]


def test_every_command_on_labelled_pictures_reads_a_set_alike() -> None:
    for name in NAMES:
        known = {word for it in find(name).params if not getattr(it, "hidden", False) for word in it.opts}
        if name == "bench" or ("--data" in known and not name.startswith("detect-")):
            assert {"--class-map", "--val-share"} <= known, name


def test_pixels_are_a_size_everywhere() -> None:
    for name in NAMES:
        shown = [it for it in find(name).params if isinstance(it, click.Option) and not it.hidden]
        assert not [
            it.opts for it in shown if "--height" in it.opts or ("--img-size" in it.opts and "--size" not in it.opts)
        ]
    absent = ["detect-export", "/nonexistent/net.safetensors", "-o", "x.onnx"]
    for given in (["--size", "64x96"], ["--height", "64", "--width", "96"]):
        result = run(*absent, *given)
        assert result.exit_code == 2 and "/nonexistent/net.safetensors" in result.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_command_calls_its_network_by_one_name(name: str) -> None:
    words = set(re.findall(r"\b(?:CKPT|NETWORK)\b", run(name, "--help").stdout))
    assert len(words) <= 1, words


@pytest.mark.parametrize("name", NAMES)
def test_every_option_says_what_it_is(name: str) -> None:
    known = [it for it in find(name).params if isinstance(it, click.Option) and not it.hidden]
    assert [it.name for it in known if not (it.help or "").partition("[")[0].strip()] == []


@pytest.mark.parametrize("spelled", [[], ["-o"], ["--output"]])
@pytest.mark.parametrize("name", ["fuse", "convert", "export", "detect-export"])
def test_the_file_to_write_is_an_option_or_the_last_word(name: str, spelled: list[str]) -> None:
    file = "out.safetensors" if name in ("fuse", "convert") else "out.onnx"
    result = run(name, "/nonexistent/net.pth", *spelled, file)
    assert result.exit_code == 2 and "/nonexistent/net.pth" in result.stderr and "Usage" not in result.stderr


def test_two_files_to_write_are_refused() -> None:
    result = run("fuse", "net.pth", "a.safetensors", "-o", "b.safetensors")
    assert "two files to write, 'a.safetensors' and 'b.safetensors'; give --output alone." in result.stderr
    assert "Missing option '--output' / '-o': the .safetensors file to write." in run("fuse", "net.pth").stderr


def needed() -> Iterator[tuple[str, click.Parameter]]:
    """Each option or argument that a command cannot do without."""
    for name in NAMES:
        yield from ((name, it) for it in find(name).params if it.required)


@pytest.mark.parametrize(("name", "parameter"), [*needed()], ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_missing_is_said_with_what_is_allowed(name: str, parameter: click.Parameter) -> None:
    given: list[str] = []
    for other in find(name).params:
        if other is parameter and isinstance(parameter, click.Argument):
            break  # the last one is what a command line lacks
        if other.required and other is not parameter:
            given += [other.opts[0], "x.onnx"] if isinstance(other, click.Option) else ["x.onnx"]
    result = run(name, *given)
    assert result.exit_code == 2
    called = parameter.get_error_hint(click.Context(find(name)))
    assert f"Missing {parameter.param_type_name} {called}: " in result.stderr
    assert len(result.stderr.splitlines()[-1].partition(": ")[2].split()) > 2


@pytest.mark.parametrize("name", ["quantize", "sensitivity", "qat", "validate"])
def test_the_pictures_of_the_package_are_named_where_some_are_missing(name: str) -> None:
    assert "or 'bundled': that of the package." in run(name, "bundled", *["-o", "x.onnx"] * (name == "quantize")).stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--images", "0"], "0 is not in the range: 1 or more."),
        (["--threads", "65"], "65 is not in the range 1 to 64."),
        (["--seed", "x"], "'x' is no whole number."),
        (["--max-drop", "two"], "'two' is no number."),
    ],
)
def test_numbers_are_spoken_of_in_words(given: list[str], said: str) -> None:
    result = run("compile", "--target", "host", *given)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"error: Invalid value for '{given[0]}': {said}"


# -q and -v.


def talking(*options: str, error: Exception | None = None) -> Result:
    """Run a command that says everything there is to say."""

    @click.command("talk")
    def command() -> None:
        say("result")
        say_notes(["a note"])
        say_next("repghost flops")
        logging.getLogger("library").info("a log")
        if error:
            raise error

    group = cli.LazyGroup("repghost", table={"talk": "repghost.cli:cli"})
    group.get_command = lambda ctx, name: cli.add_verbosity(command)  # type: ignore[method-assign]
    return CliRunner().invoke(group, ["talk", *options])


def test_quiet_leaves_results_and_errors() -> None:
    assert talking("-q").output == "result\n"
    assert talking("--quiet", error=errors.UsageError("what")).output == "result\nerror: what\n"
    plain = talking()
    assert plain.stdout == "result\nnext:\n  repghost flops\n" and plain.stderr == "note: a note\n"


def test_both_may_stand_before_the_command() -> None:
    result = CliRunner().invoke(cli.cli, ["-q", "export", "/nonexistent", "-o", "x.onnx"])
    assert result.exit_code == 2 and terminal.quiet
    assert CliRunner().invoke(cli.cli, ["flops", "wide"]).exit_code == 2 and not terminal.quiet


def test_verbose_says_where_an_error_came_from() -> None:
    error = errors.UsageError("what \x1b[2J")
    assert "Traceback" not in talking(error=error).stderr
    result = talking("-v", error=error)
    assert "Traceback (most recent call last):" in result.stderr and "raise error" in result.stderr
    assert result.stderr.endswith("error: what \\x1b[2J\n") and "\x1b" not in result.output
    assert not terminal.quiet


def test_json_is_printed_or_written(tmp_path: Path) -> None:
    for name in ("bench", "sensitivity"):
        context = find(name).make_context(name, ["--json"], resilient_parsing=True)
        assert context.params["json_file"] == Path("-")
        context = find(name).make_context(name, ["--json", "file.json"], resilient_parsing=True)
        assert context.params["json_file"] == Path("file.json")
