"""Windows of convolutions and pools: strides, pads and dilations as the file spells them."""

from __future__ import annotations

from dataclasses import dataclass

from calib.importer.onnx_network import Node
from repghost.graph.operators import Pads, Pair

LARGEST = 1 << 16  # of a size, a stride, a pad or a dilation


@dataclass(frozen=True)
class Window:
    """A window that moves over a map."""

    size: Pair
    strides: Pair
    pads: Pads
    dilations: Pair

    def reach(self, axis: int) -> int:
        """Return how many pixels a window covers along an axis."""
        return (self.size[axis] - 1) * self.dilations[axis] + 1


def window_of(node: Node, size: Pair, image: Pair) -> Window:
    """Return the window of a node.

    Args:
        node: a convolution or pool.
        size: of the window.
        image: height and width of what it reads.
    """
    strides = _pair(node, "strides")
    dilations = _pair(node, "dilations")
    bare = Window(size, strides, (0, 0, 0, 0), dilations)
    mode = node.attributes.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        ends = []
        for axis in (0, 1):
            outputs = -(-image[axis] // strides[axis])
            total = (outputs - 1) * strides[axis] + bare.reach(axis) - image[axis]
            if total < -1:  # runtimes disagree on where such windows begin
                raise node.error(f"auto_pad {mode} with strides {strides} skips pixels; export it with explicit pads.")
            total = max(0, total)
            small = total // 2
            ends.append((small, total - small) if mode == "SAME_UPPER" else (total - small, small))
        pads = (ends[0][0], ends[1][0], ends[0][1], ends[1][1])
    else:
        given = tuple(node.attributes.get("pads", ())) or (0, 0, 0, 0)
        pads = (0, 0, 0, 0) if mode == "VALID" else given
    if len(size) != 2 or len(pads) != 4:
        raise node.error("windows over rows and columns are understood; not over one or three dimensions.")
    if min(*size, *strides, *dilations) < 1 or min(pads) < 0 or max(*size, *strides, *dilations, *pads) > LARGEST:
        raise node.error(f"its window {size}, strides {strides}, pads {pads} or dilations {dilations} make no sense.")
    return Window(size, strides, (pads[0], pads[1], pads[2], pads[3]), dilations)


def rounded_up(image: Pair, window: Window) -> Window:
    """Return a window with more padding at the end, so that every pixel is in one (ceil_mode).

    A window that would begin behind the image and the padding before it is left out, as PyTorch and ONNX Runtime do.
    """
    pads = list(window.pads)
    for axis in (0, 1):
        before, after, stride = pads[axis], pads[axis + 2], window.strides[axis]
        places = -(-(image[axis] + before + after - window.reach(axis)) // stride) + 1
        if (places - 1) * stride >= image[axis] + before:
            places -= 1
        pads[axis + 2] = max(after, (places - 1) * stride + window.reach(axis) - image[axis] - before)
    return Window(window.size, window.strides, (pads[0], pads[1], pads[2], pads[3]), window.dilations)


def _pair(node: Node, key: str) -> Pair:
    given = tuple(node.attributes.get(key, ())) or (1, 1)
    if len(given) != 2:
        raise node.error(f"it has {key} {list(given)}; two numbers, for rows and columns, are understood.")
    return int(given[0]), int(given[1])
