"""No wait without a limit: the sources are parsed, and what could wait for ever has to be listed with a reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support import ROOT

PLACES = ("repghost", "calib", "compile", "benchmarks", "tests/support")
STARTS = frozenset({"run", "call", "check_call", "check_output", "getoutput", "getstatusoutput"})
WAITS = frozenset({"wait", "communicate", "join", "select", "acquire"})  # for ever when given no argument
OTHERS = frozenset(
    {"os.system", "os.popen", "os.wait", "os.waitpid", "os.wait3", "os.wait4", "os.spawnv", "os.spawnvp"}
)
# What waits without an argument of its own, and what bounds it.
BOUNDED = {
    "ranks.wait": "the processes of a run wait for each other as long as --dist-timeout says",
    "run.ranks.wait": "likewise",
    "processes.join": "it enters those processes, with the same limit",
    "repghost/address_space.py os.waitpid": "the child has an alarm",
    "tests/support/kills.py os.waitpid": "the child has an alarm",
    "tests/support/forked_commands.py os.waitpid": "the child has an alarm",
}
# Who starts a process and talks to it, and what bounds that.
TALKS = {
    "repghost/processes.py": "it is the function that sets the limit",
    "compile/deploy/ssh/exchange.py": "the limit is the caller's, and what it starts is killed",
    "compile/deploy/lock.py": "the board has HOLD_LIMIT_S to answer, and the process is ended with the lock",
    "compile/bench/processes.py": "a timer ends a contender that does not answer",
    "benchmarks/shared/side_by_side.py": "a training takes as long as it takes, and whoever stops this stops it",
    "benchmarks/shared/page.py": "every answer of the browser has a limit, and it is killed with its page",
    "tests/support/standin.py": "the server runs as long as the test session",
    "tests/support/forked_commands.py": "it ends with the pipes, and what it starts has an alarm",
}


def unbounded(tree: ast.AST, path: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        name = called.rpartition(".")[2]
        limits = [word.value for word in node.keywords if word.arg == "timeout"]
        limited = any(not (isinstance(value, ast.Constant) and value.value is None) for value in limits)
        if called == "subprocess.Popen":
            found = path not in TALKS
        elif called.startswith("subprocess.") and name in STARTS:
            found = not limited
        elif called in BOUNDED or f"{path} {called}" in BOUNDED:
            found = False
        elif isinstance(node.func, ast.Attribute) and name in WAITS:
            found = not node.args and not limited
        else:
            found = called in OTHERS
        if found:
            yield f"{path}:{node.lineno} {called}"


@pytest.mark.parametrize("place", PLACES)
def test_every_wait_has_a_limit(place: str) -> None:
    paths = sorted((ROOT / place).rglob("*.py"))
    assert paths
    found = [it for path in paths for it in unbounded(ast.parse(path.read_bytes()), str(path.relative_to(ROOT)))]
    assert found == [], "use repghost.processes.run_limited"


def test_what_is_listed_is_there() -> None:
    for path in TALKS:
        assert "subprocess.Popen(" in (ROOT / path).read_text(), path


WRONG = [
    "subprocess.run(['a'])", "subprocess.run(['a'], timeout=None)", "subprocess.check_output(['a'])",
    "subprocess.Popen(['a'])", "process.wait()", "process.wait(timeout=None)", "process.communicate()",
    "thread.join()", "selector.select()", "os.system('a')", "os.wait4(1, 0)",
]  # fmt: skip
RIGHT = ["subprocess.run(['a'], timeout=3)", "process.wait(3)", "process.wait(timeout=limit)", "', '.join(words)"]


def test_the_rule_finds_what_could_wait_for_ever() -> None:
    for text in WRONG:
        assert list(unbounded(ast.parse(text), "made.py")) == [f"made.py:1 {text.partition('(')[0]}"]
    for text in RIGHT:
        assert list(unbounded(ast.parse(text), "made.py")) == []
