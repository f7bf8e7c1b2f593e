"""The network of a bundle on a device with Python: `Model("bundle")(image)`.

A bundle is the folder that repghost-deploy makes for a kind of machine. Its model.so holds code and weights; this
package checks every digest, loads it with ctypes, and needs nothing besides but numpy.
"""

from repghost_runtime.bundle import Output
from repghost_runtime.errors import IntegrityError, RepGhostError, UnsupportedError, UsageError
from repghost_runtime.find_boxes import Boxes
from repghost_runtime.model import Model, Prediction
from repghost_runtime.server import Server

__all__ = [
    "Boxes", "IntegrityError", "Model", "Output", "Prediction", "RepGhostError", "Server", "UnsupportedError",
    "UsageError",
]  # fmt: skip
