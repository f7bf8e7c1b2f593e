"""The site of docs/: links of the repository become links of the site, and a strict build finds none that is broken."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.pages.site import links, site_path, with_site_links
from tests.support import ROOT


@pytest.mark.parametrize(
    ("path", "link", "made"),
    [
        ("README.md", "docs/reference.md#stages", "reference.md#stages"),
        ("README.md", "docs/performance.svg", "performance.svg"),
        ("README.md", "LICENSE", "source/LICENSE.txt"),
        ("README.md", "https://a.b/c.md", "https://a.b/c.md"),
        ("README.md", "absent.md", "absent.md"),  # which the strict build finds
        ("docs/reference.md", "deploy.md", "deploy.md"),
        ("docs/reference.md", "../runtime/README.md", "source/runtime/README.md"),
        ("docs/widths/report.md", "../../README.md", "../index.md"),
        ("docs/fleets.md", "../tests/__init__.py", "source/tests/__init__.py.txt"),
        ("runtime/README.md", "../docs/deploy.md", "../../deploy.md"),
        ("docs/other-networks.md", "imagenet-sample", "imagenet-sample/accuracy.md"),
    ],
)  # fmt: skip
def test_links_lead_to_the_same_file(path: str, link: str, made: str) -> None:
    assert with_site_links(path, f"![a]({link}) b") == f"![a]({made}) b"
    fenced = f"```\n[a]({link})\n```\n"
    assert with_site_links(path, fenced) == fenced


def test_what_only_github_shows_is_left_out() -> None:
    assert "actions" in (ROOT / "README.md").read_text()
    assert "actions" not in with_site_links("README.md", (ROOT / "README.md").read_text())


def test_a_file_outside_the_repository_never_comes_along() -> None:
    assert list(links("README.md", "[a](../../../../../etc/passwd) [b](/etc/passwd) [c](LICENSE)")) == ["LICENSE"]


def test_every_page_of_docs_is_in_the_contents_or_linked() -> None:
    listed = (ROOT / "mkdocs.yml").read_text()
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert len({site_path(f"docs/{page}").removesuffix("/README.md").removesuffix(".md") for page in pages}) == len(
        pages
    )
    linked = {
        site_path(it) for page in ["README.md", *(f"docs/{page}" for page in pages)]
        for it in links(page, (ROOT / page).read_text())
    }  # fmt: skip
    assert {page for page in map(site_path, (f"docs/{it}" for it in pages)) if f": {page}\n" not in listed} <= linked


@pytest.mark.slow
def test_the_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    if importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed (make site does)")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    first = (tmp_path / "site/index.html").read_text()
    assert "fonts.googleapis" not in first and (tmp_path / "site/source/LICENSE.txt").is_file()
    assert (tmp_path / "site/widths/report.html").is_file() and (tmp_path / "site/own-pictures.ipynb").is_file()
