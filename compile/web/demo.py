"""One folder of plain files: a page that classifies pictures with networks for browsers, and measures them there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from compile.bundle.manifest import MANIFEST, Bundle, check_bundle
from compile.storage.files import put_folder
from compile.storage.strict_json import canonical_json
from compile.targets.forms import WASM
from repghost.errors import UsageError
from repghost.files import temporary_folder
from repghost.network.spec import WIDTHS
from repghost.version import __version__

WEB = "web"  # the target
HERE = Path(__file__).parent
PAGE, LIBRARY = HERE / "page", HERE / "library"
INDEX, OFFLINE = "demo.json", "offline.json"
LABELS, VECTORS = "labels.txt", "vectors.bin"
RANDOM = "random"
PUBLISHED = (224, 1000)  # pixels and classes of the figures that the authors published


@dataclass(frozen=True)
class ShownNetwork:
    """One network of the page.

    Attributes:
        folder: of its bundle, below the page.
        name: of the network.
        label: for readers: its width, or its name where it has none.
        size: of its input: pixels of the side, or both.
        bytes: that are fetched before it runs, with the larger of the models, of which a browser takes one.
        top1: percent, as its authors published it, of 1,000 classes at 224 pixels; None for every other network.
        weights: "random" where only its speed means something.
    """

    folder: str
    name: str
    label: str
    width: float | None
    size: int | str
    precision: str
    classes: int
    bytes: int
    top1: float | None
    weights: str
    digest: str
    program_digest: str


def write_demo(paths: Sequence[Path], output: Path) -> tuple[ShownNetwork, ...]:
    """Write the page and the bundles it uses into a folder, whole or not at all.

    Args:
        paths: folders of bundles for browsers.
        output: an earlier demo there is replaced; nothing else is.

    Returns:
        The networks, those with weights first, then by width.

    Raises:
        UsageError: for no bundle, one for another target, two of the same network, or a folder that is no demo.
        IntegrityError: when a bundle is damaged.
    """
    bundles = [check_bundle(path) for path in paths]
    if not bundles:
        raise UsageError("a demo of what? Give folders of bundles for browsers: repghost compile --target web")
    for bundle in bundles:
        if bundle.target_name != WEB:
            wanted = f"browsers run what was compiled for {WEB}. Compile it so."
            raise UsageError(f"{bundle.path} is for {bundle.target_name}; {wanted}")
        if "outputs" in bundle.manifest:
            raise UsageError(
                f"{bundle.path} gives several results, and the page shows classes; leave it out. Its own repghost.js "
                "finds the boxes of a detector: model.detect(image)."
            )
    if output.exists() and not (output / INDEX).is_file():
        raise UsageError(f"{output} is there and no demo, so it is not replaced. Choose another folder.")
    named = {_shown(bundle): bundle for bundle in bundles}
    if len({shown.folder for shown in named}) < len(bundles):
        raise UsageError("the same network, size and precision was given twice; give each once.")
    order = sorted(named, key=lambda it: (it.weights == RANDOM, it.width or 0.0, it.name, it.precision != "int8"))
    with temporary_folder(output) as new:
        _write_page(new)
        for shown in order:
            _copy(named[shown], new / shown.folder, shown.weights == RANDOM)
        values = {"format": "repghost-demo", "version": 1, "release": __version__}
        (new / INDEX).write_bytes(canonical_json({**values, "networks": [asdict(it) for it in order]}))
        new.chmod(0o755)
        put_folder(new, output)
    return tuple(order)


def _shown(bundle: Bundle) -> ShownNetwork:
    manifest, files = bundle.manifest, bundle.manifest["files"]
    height, width, _ = bundle.shape
    name, weights = str(manifest["model"].get("name")), manifest["model"].get("weights", {}).get("kind", "unnamed")
    row = next((row for row in WIDTHS if row.name == name), None)
    size = height if height == width else f"{height}x{width}"
    model = max(files[it]["size"] for it in WASM.models if it in files)
    return ShownNetwork(
        folder=f"networks/{name}-{size}-{'random-' * (weights == RANDOM)}{manifest['precision']}",
        name=name,
        label=f"{row.multiplier:g}x" if row else name,
        width=row.multiplier if row else None,
        size=size,
        precision=manifest["precision"],
        classes=manifest["classes"],
        bytes=model + files[LABELS]["size"] + (bundle.path / MANIFEST).stat().st_size,
        top1=row.top1 if row and (size, manifest["classes"]) == PUBLISHED else None,
        weights=weights,
        digest=bundle.digest,
        program_digest=manifest["program_digest"],
    )


def _write_page(folder: Path) -> None:
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    shutil.copytree(LIBRARY, folder / "library")
    kept = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    (folder / OFFLINE).write_bytes(canonical_json({"files": ["./", INDEX, *kept]}))


def _copy(bundle: Bundle, folder: Path, only_speed: bool) -> None:
    """Copy a bundle; the images that it is checked with are many bytes, and say nothing where weights are random."""
    folder.mkdir(parents=True)
    for name in (*bundle.manifest["files"], MANIFEST):
        if not (name == VECTORS and only_speed):
            shutil.copyfile(bundle.path / name, folder / name)
