"""Arguments of every command, right and odd ones mixed: an exit code and a sentence, never a traceback.

What a command needs most does not exist, so that none begins to work; ssh is not found.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from repghost.cli import COMMANDS, cli
from tests.support.odd_values import ODD_TEXTS

ABSENT = "/nonexistent/file"
# What is appended, so that each command ends before it works; the last value of an option counts.
NEEDED = {
    "train": ["--data", ABSENT],
    "validate": [ABSENT, "--data", ABSENT],
    "predict": [ABSENT, ABSENT],
    "fuse": [],
    "flops": ["absent"],
    "export": [],
    "quantize": ["--data", ABSENT],
    "sensitivity": ["--data", ABSENT],
    "qat": ["--data", ABSENT],
    "accuracy": ["--data", ABSENT],
    "lint": [],
    "compile": ["--weights", ABSENT],
    "explain": [],
    "verify": [],
    "sign": [],
    "deploy": [],
    "status": [],
    "rollback": [],
    "bench": [ABSENT],
    "advise": ["--board", "absent"],
    "submit": [ABSENT],
    "demo": [ABSENT],
    "pack": [ABSENT, "--oci", ABSENT],
    "push": [ABSENT],
    "pull": ["absent"],
    "report": [ABSENT],
    "detect-train": ["--data", ABSENT],
    "detect-validate": ["--data", ABSENT],
    "detect-export": [],
}
STARTS = "build"  # the option of `report` that compiles first
LEFT_OUT = {"doctor"}  # it looks at this machine, whatever it is given
ALLOWED = {0, 1, 2, 4, 5, 6}
PATHS = (ABSENT, ".", "/dev/zero", "/dev/null/x", os.fsdecode(b"caf\xe9"), "-", "x" * 300)


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("work"))
        patch.setenv("PATH", "")
        yield


def odd_arguments(name: str, seed: int) -> list[str]:
    """Return a command line of right and odd options, arguments and values."""
    rng = random.Random(seed)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    options = [option for option in command.params if isinstance(option, click.Option) and option.name != STARTS]
    words: list[str] = []
    for option in rng.sample(options, min(len(options), rng.randint(0, 3))):
        words.append(rng.choice([*option.opts, *option.secondary_opts]))
        if not option.is_flag:
            words.append(odd_value(option.type, rng))
    words += [rng.choice((*PATHS, *ODD_TEXTS)) for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.2:
        words.insert(rng.randrange(len(words) + 1), rng.choice(("--", "--odd", "-Z", "--width=", "--json")))
    return [name, *words, *NEEDED[name]]


def odd_value(kind: click.ParamType, rng: random.Random) -> str:
    """Return a value that the option takes, or one that it should not."""
    if isinstance(kind, click.Choice) and rng.random() < 0.5:
        return str(rng.choice(list(kind.choices)))
    if isinstance(kind, click.Path):
        return rng.choice(PATHS)
    return rng.choice((*ODD_TEXTS, "1", "2", "0.5", "inf", "1e400", ","))


def test_every_command_is_here() -> None:
    assert NEEDED.keys() | LEFT_OUT == COMMANDS.keys()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(NEEDED)), st.integers(0, 2**32 - 1))
def test_odd_arguments_end_with_a_sentence(name: str, seed: int) -> None:
    arguments = odd_arguments(name, seed)
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code in ALLOWED, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), arguments
    assert "\x1b" not in result.output and "\nerror: forged" not in result.output, arguments
    assert result.exit_code == 0 or "rror: " in result.output, arguments
    assert not [entry for entry in Path().iterdir() if entry.stat().st_size > 1 << 20]
