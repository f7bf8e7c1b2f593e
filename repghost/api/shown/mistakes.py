"""The wrong predictions of an evaluation as a folder to look through, with its confusion matrix."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

from compile.storage.files import write_folder_atomically
from repghost.api.shown.results import Evaluation
from repghost.errors import UsageError
from repghost.tables import make_table, text_lines
from repghost.terminal import escape

MATRIX, MISTAKES = "confusion.json", "mistakes.json"
SHOWN_CLASSES, LETTERS = 12, 12  # of a matrix in a terminal, and of a name in it
PAIRS = 10


def check_place(folder: Path) -> None:
    """Refuse a folder that holds anything but the mistakes of an earlier evaluation, which are replaced.

    Raises:
        UsageError: saying what is in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give the name of one for the mistakes.")
    if folder.is_dir() and not (folder / MATRIX).is_file() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} holds files that are no mistakes of an earlier run, and they would be replaced. Give a folder "
            "that does not exist yet."
        )


def write_mistakes(folder: Path, found: Evaluation) -> None:
    """Write the mistakes of an evaluation, whole or not at all.

    It holds, for each class, the images of it that were put into another one, as the network was given them; a list of
    them with their names and probabilities; and the confusion matrix.

    Args:
        folder: replaced where it is there, see `check_place`.
        found: the evaluation, with the mistakes that are written.
    """
    check_place(folder)
    files, listed = dict[str, bytes](), list[dict[str, object]]()
    for number, mistake in enumerate(found.mistakes):
        stem = _plain(Path(mistake.name).stem)
        name = f"{_plain(mistake.label)}/as_{_plain(mistake.prediction)}_{mistake.probability:.0%}_{stem}_{number}.png"
        name = name.replace("%", "")
        content = io.BytesIO()
        mistake.image.save(content, "PNG")
        files[name] = content.getvalue()
        listed.append(mistake.to_dict() | {"file": name})
    figure = io.BytesIO()
    found.plot().savefig(figure, format="png", dpi=150)
    matrix = {"network": found.name, "by": found.by, "classes": list(found.classes), "pictures": len(found.labels),
              "correct": found.top1.correct, "rows": found.confusion.tolist()}  # fmt: skip
    files[MATRIX], files[MISTAKES] = (f"{json.dumps(it, indent=1)}\n".encode() for it in (matrix, listed))
    files["confusion.png"] = figure.getvalue()
    write_folder_atomically(folder, files)


def confusion_lines(found: Evaluation) -> list[str]:
    """Return the confusion matrix for a terminal; of many classes the pairs that are confused most."""
    if len(found.classes) > SHOWN_CLASSES:
        rows = [(label, other, str(count)) for label, other, count in found.confused(PAIRS)]
        return text_lines(make_table(("class", "taken for", "#pictures"), rows)) if rows else ["nothing is confused"]
    names = [escape(name, LETTERS) for name in found.classes]
    counts = [["." if not count else str(count) for count in row] for row in found.confusion.tolist()]
    lines = [[name, *row] for name, row in zip(names, counts, strict=True)]
    return text_lines(make_table(("class, and what it was taken for:", *(f"#{name}" for name in names)), lines))


def _plain(name: str) -> str:
    """Return a name of letters, digits, "_", "." and "-" that can be part of a file's name anywhere."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII)[:40].strip("._") or "unnamed"
