"""One of ncnn's benchmark networks under the counter: the arm64 Python of an emulated core runs this.

    python count_ncnn.py NETWORK.param

As ncnn's own benchncnn does, it fills the network with zeros and runs it with every option on, on one thread. It needs
nothing of this project, only numpy and ncnn.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import ncnn

# Of compile/bench/counter/marks.h.
MARK_CALL, MARK_OPTION, START, WHOLE = 167, 0x52474D4B, 0, 1


def input_shape(path: Path) -> tuple[int, int, int]:
    """Return width, height and channels, which the first layer of the file has as its parameters 0, 1 and 2."""
    words = next(line.split() for line in path.read_text().splitlines() if line.startswith("Input"))
    values = dict(word.split("=") for word in words if word[:2] in ("0=", "1=", "2="))
    width, height, channels = (int(values[key]) for key in "012")
    return width, height, channels


def main() -> int:
    """Run; see the top of the file."""
    path = Path(sys.argv[1])
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    if net.load_param(str(path)) or net.load_model(ncnn.DataReaderFromEmpty()):
        print(f"ncnn cannot load {path}", file=sys.stderr)
        return 1
    image = ncnn.Mat(*input_shape(path))
    image.fill(0.01)

    def run() -> None:
        extractor = net.create_extractor()
        extractor.set_light_mode(True)
        extractor.input(net.input_names()[0], image)
        extractor.extract(net.output_names()[0])

    call = ctypes.CDLL(None).syscall
    run()
    call(MARK_CALL, MARK_OPTION, START, 0, 0, 0)
    run()
    call(MARK_CALL, MARK_OPTION, WHOLE, 0, 0, 0)
    print(ncnn.__version__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
