"""Packages that are unpacked without root, by stand-ins for apt-get and dpkg that work where the real ones would."""

from __future__ import annotations

from pathlib import Path

import pytest

from compile.machine.debian_packages import package_source

# Downloads into the folder that the option names, relative to where it runs, as the real one does.
APT_GET = """#!/bin/sh
for argument in "$@"; do
  case "$argument" in -oDir::Cache::archives=*) archives=${argument#*=} ;; esac
done
[ -d "$archives" ] || exit 100
case "$*" in *present*) exit 0 ;; esac
echo archive > "$archives/shell_1.deb"
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/bin" && cp "$2" "$3/usr/bin/shell"
"""


@pytest.fixture(autouse=True)
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, script in (("apt-get", APT_GET), ("dpkg", DPKG)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("relative", [True, False])
def test_packages_are_unpacked_whole_wherever_the_folder_is_given_from(relative: bool, tmp_path: Path) -> None:
    place = Path("tools/shell") if relative else tmp_path / "tools/shell"
    with package_source("why") as source:
        assert source.keep_whole(("shell",), place)
    assert (tmp_path / "tools/shell/usr/bin/shell").read_text() == "archive\n"
    assert [path.name for path in (tmp_path / "tools").iterdir()] == ["shell"]


def test_packages_of_which_nothing_was_downloaded_leave_nothing_behind(tmp_path: Path) -> None:
    with package_source("why") as source:
        assert not source.keep_whole(("present",), tmp_path / "tools/shell")
    assert list((tmp_path / "tools").iterdir()) == []


def test_where_another_process_was_faster_its_packages_are_taken(tmp_path: Path) -> None:
    place = tmp_path / "tools/shell"
    faster = f'mkdir -p "{place}" && echo other > "{place}/file"\n'
    (tmp_path / "bin/dpkg").write_text(DPKG + faster)
    with package_source("why") as source:
        assert source.keep_whole(("shell",), place)
    assert (place / "file").read_text() == "other\n"
    assert [path.name for path in (tmp_path / "tools").iterdir()] == ["shell"]
