"""What each ONNX operator becomes: one function for each, in the tables of these files."""

from calib.importer.draft import Probabilities
from calib.importer.handlers import elementwise, layers, moves, pools, quantized
from calib.importer.onnx_network import Node
from calib.importer.walk import Handler, Value, Walk


def probabilities(walk: Walk, node: Node) -> Value:
    """Return a Softmax of the scores; a later pass leaves it away at the end, and refuses it elsewhere."""
    value = walk.plain(walk.value(node))
    return walk.emit(Probabilities(node.name, value.source, node.operator), value.view)


HANDLERS: dict[str, Handler] = {
    **elementwise.HANDLERS,
    **layers.HANDLERS,
    **pools.HANDLERS,
    **moves.HANDLERS,
    **quantized.HANDLERS,
    "Softmax": probabilities,
    "LogSoftmax": probabilities,
}
