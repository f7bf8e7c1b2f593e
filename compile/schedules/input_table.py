"""The picture: RGB bytes through three tables of 256 into int8 pixels of four bytes.

The fourth byte repeats the first: the weights it meets in the stem are zero.
"""

from __future__ import annotations

from calib.program import InputTable
from compile import tir
from compile.intrin import InstructionSet
from compile.layout import AnyOperator
from compile.schedules.base import Answer, Context, KernelFrame, Scheduled
from compile.tir import Expr, Kernel

COLOURS = 3
TABLE_BYTES = 256


def schedule_input_table(operator: AnyOperator, context: Context) -> Answer:
    """Schedule the input lookup; None for anything else."""
    if not isinstance(operator, InputTable):
        return None
    isa, place = context.isa, context.place(operator.output)
    lanes = table_lanes(isa, operator.output.width)
    frame = KernelFrame(operator.name, 1)
    kernel, width = frame.kernel, operator.output.width
    with kernel.loop(frame.end - frame.begin, frame.begin, "row") as row:
        groups = -(-width // lanes)
        with kernel.loop(groups, name="group") as group:
            first = group * lanes
            if width % lanes:  # the last group overlaps its neighbour
                first = tir.minimum(first, tir.const(width - lanes))
            source = (row * width + first) * COLOURS
            target = place.origin + row * place.pitch + first * place.pixel
            if lanes == 1:
                _store_one(kernel, frame, source, target)
            else:
                _store_vector(kernel, frame, context, lanes, source, target)
    return Scheduled(
        function=kernel.finish(),
        name=f"rg_u8_table_c{lanes}__{isa.name}",
        offsets=(place.offset,),
        units=operator.output.height,
        constants=operator.tables.tobytes(),
    )


def table_lanes(isa: InstructionSet, width: int) -> int:
    """Return how many pixels are looked up at once: two vectors, which share the table, if they divide a row."""
    if not isa.has_table_lookup or width < isa.lanes8:
        return 1
    return isa.lanes8 if width % (2 * isa.lanes8) else 2 * isa.lanes8


def _store_one(kernel: Kernel, frame: KernelFrame, source: Expr, target: Expr) -> None:
    for channel, colour in enumerate((*range(COLOURS), 0)):
        byte = tir.cast(frame.rgb.load(source + colour), tir.INDEX)
        kernel.store(frame.tensors[0], target + channel, frame.weights.load(byte + colour * TABLE_BYTES))


def _store_vector(kernel: Kernel, frame: KernelFrame, context: Context, lanes: int, source: Expr, target: Expr) -> None:
    """Take `lanes` pixels apart into colours, look each colour up, and put them together again."""
    bytes_ = kernel.bind(frame.rgb.load(source, COLOURS * lanes), "rgb")
    planes = []
    for colour in range(COLOURS):
        plane = tir.shuffle([bytes_], range(colour, COLOURS * lanes, COLOURS))
        planes.append(
            context.isa.table_lookup(kernel, frame.weights.at(colour * TABLE_BYTES), kernel.bind(plane, "plane"))
        )
    planes.append(planes[0])
    order = [plane * lanes + lane for lane in range(lanes) for plane in range(4)]
    kernel.store(frame.tensors[0], target, tir.shuffle(planes, order))
