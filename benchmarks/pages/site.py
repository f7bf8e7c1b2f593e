"""The site of docs/, built by `make site`: mkdocs calls the functions below (see mkdocs.yml).

The pages are written for the repository, so they link to its files. README.md becomes the first page, and every file
outside docs/ that a page links to comes along below source/: Markdown as a page, anything else as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS, SOURCE = "docs", "source"
# Where pages are in the site whose place another page has: docs/boards.md is boards/ there.
MOVED = {"README.md": "index.md", "docs/boards/README.md": "sending-a-measurement.md"}
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()(?P<target>[^()\s#:]+)(?=[)#])")
OF_GITHUB = re.compile(r"^\[!.*\]\(\.\./\.\./actions/.*\n", re.MULTILINE)  # a badge that only it can show
TEXT_SUFFIX = ".txt"  # so that a browser shows a file of code
SHOWN_AS_IT_IS = (".svg", ".png", ".html", ".json", ".ipynb")


def on_files(files: Any, config: Any) -> Any:
    """Add the first page, and what pages link to outside docs/ (an event of mkdocs)."""
    from mkdocs.structure.files import File

    for file in [it for it in files if f"{DOCS}/{it.src_uri}" in MOVED]:
        files.remove(file)
    known = {f"{DOCS}/{file.src_uri}" for file in files if file.is_documentation_page()}
    waiting = [*sorted(known), *MOVED]
    for path in waiting:  # grows while it is walked
        if path not in known:
            files.append(File.generated(config, site_path(path), abs_src_path=str(ROOT / path)))
            known.add(path)
        if path.endswith(".md"):
            waiting += [it for it in links(path, (ROOT / path).read_text()) if it not in waiting and is_outside(it)]
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the text of a page with links as they are in the site (an event of mkdocs)."""
    path = f"{DOCS}/{page.file.src_uri}"
    if page.file.generated_by is not None:
        path = str(Path(page.file.abs_src_path).relative_to(ROOT))
    return with_site_links(path, markdown)


def with_site_links(path: str, text: str) -> str:
    """Return Markdown of the repository with links as they are in the site.

    Args:
        path: of the file in the repository.
        text: what is in it.
    """
    here, text = PurePosixPath(site_path(path)).parent, OF_GITHUB.sub("", text)

    def replaced(match: re.Match[str]) -> str:
        target = resolved(path, match["target"])
        return relpath(site_path(target), here) if target else match["target"]

    return _outside_fences(text, lambda part: LINK.sub(replaced, part))


def links(path: str, text: str) -> Iterator[str]:
    """Yield the files of the repository that a Markdown file links to.

    Args:
        path: of the file in the repository.
        text: what is in it.
    """
    for match in LINK.finditer(FENCE.sub("", text)):
        target = resolved(path, match["target"])
        if target:
            yield target


def resolved(path: str, target: str) -> str:
    """Return the file of the repository that a link leads to, of a folder its page; "" for anything else."""
    found = normpath(PurePosixPath(path).parent / target)
    if found.startswith(("..", "/")):
        return ""
    if not (ROOT / found).is_dir():
        return found if (ROOT / found).is_file() else ""
    pages = [ROOT / found / "README.md", *sorted((ROOT / found).glob("*.md"))]
    return next((str(page.relative_to(ROOT)) for page in pages if page.is_file()), "")


def is_outside(path: str) -> bool:
    """Return whether a file of the repository is not below docs/."""
    return not path.startswith(f"{DOCS}/")


def site_path(path: str) -> str:
    """Return where a file of the repository is among the sources of the site."""
    if path in MOVED:
        return MOVED[path]
    if not is_outside(path):
        return path.removeprefix(f"{DOCS}/")
    as_it_is = path.endswith((".md", *SHOWN_AS_IT_IS))
    return f"{SOURCE}/{path}" if as_it_is else f"{SOURCE}/{path}{TEXT_SUFFIX}"


def _outside_fences(text: str, change: Any) -> str:
    """Return a text changed everywhere but in blocks of code."""
    parts, end = [], 0
    for block in FENCE.finditer(text):
        parts += [change(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(text[end:])])
