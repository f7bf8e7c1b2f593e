from __future__ import annotations

import subprocess
import sys

from tests.support import ROOT


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_library_loads_no_library_of_others() -> None:
    # That is why it takes milliseconds: how many depends on the machine, this does not.
    loaded = python("import sys; before = set(sys.modules); import repghost; print(*set(sys.modules) - before)").split()
    assert {name.partition(".")[0] for name in loaded} <= {"repghost"} | set(sys.stdlib_module_names)
    assert len(loaded) < 20


def test_every_public_name_is_listed_before_it_is_imported() -> None:
    out = python("import repghost, sys; print(sorted(repghost.__all__) == dir(repghost), 'torch' in sys.modules)")
    assert out.split() == ["True", "False"]
