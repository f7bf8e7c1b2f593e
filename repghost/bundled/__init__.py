"""The network and the images that come with the package, so that everything can be tried without a download.

What they are and how they were made: assets/README.md of the repository.
"""

from __future__ import annotations

from pathlib import Path

from repghost.errors import UsageError

NAME = "bundled"  # what a user writes where a path is expected
DATA = Path(__file__).parent / "fashion-mnist"
WEIGHTS = DATA / "repghostnet_0_5x.safetensors"
WIDTH = 0.5  # of the network


def resolve(given: Path | str, bundled: Path) -> Path:
    """Return the path that a user gave; for the word "bundled", where nothing else has that name, that of the package.

    Args:
        given: a path, or "bundled".
        bundled: what the word stands for: DATA or WEIGHTS.

    Raises:
        UsageError: when it was not installed with the package.
    """
    if str(given) != NAME or Path(NAME).exists():
        return Path(given)
    if not bundled.exists():
        what = "pictures" if bundled == DATA else "network"
        raise UsageError(
            f"the bundled {what} should be {bundled} and is not there. Install the package again, from its wheel or a "
            "clone, or give the path of your own."
        )
    return bundled
