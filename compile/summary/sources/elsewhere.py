"""Evidence of ours that this page does not show: it is named among the sources, with the page that shows it."""

from __future__ import annotations

from compile.summary.sources import File, Learned

SHOWN = {
    "repghost-rivals": "docs/performance.md; counts of other runtimes in full are files of 'repghost bench --count'",
    "repghost-boards-model": "docs/boards-model.md, which says how far estimates of boards were off",
    "repghost-networks": "docs/networks.md",
    "repghost-web": "docs/web.md",
    "repghost-qat-bench": "docs/qat.md",
    "repghost-quantization-choice": "docs/quantization.md",
    "repghost-training-bars": "docs/training-bars.md",
    "repghost-detection": "docs/detection.md",
}


def read(file: File) -> Learned:
    """Return nothing but where it is shown."""
    return Learned(about=f"not shown here, but in {SHOWN[file.values['format']]}")
