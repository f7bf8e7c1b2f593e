"""The names that an installation adds at the top level hide nothing: no builtin, no module, no other package."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions

from repghost.errors import DISTRIBUTION
from tests.support import ROOT

NAMES = ("repghost", "calib", "compile")
# In a process of its own: imports that a user writes, then what the names mean.
IMPORTS = """
import builtins
before = dict(vars(builtins))
import repghost
import calib.settings.config
from compile import targets
from compile.targets.table import TARGETS
assert compile is before["compile"] and callable(compile)
assert eval(compile("1 + 1", "made", "eval")) == 2
import re
assert re.compile("a").match("a")
assert vars(builtins).keys() - before.keys() <= {"_"}
assert all(vars(builtins)[name] is value for name, value in before.items() if name != "_")
"""


def test_importing_ours_leaves_every_builtin() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_else_has_the_names() -> None:
    assert not {*NAMES} & {*sys.stdlib_module_names, *sys.builtin_module_names}
    found = packages_distributions()
    assert {owner for name in NAMES for owner in found.get(name, ())} <= {DISTRIBUTION}
