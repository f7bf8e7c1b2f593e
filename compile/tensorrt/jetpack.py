"""What each JetPack has, one row per JetPack and one per board; a new JetPack is a row here."""

from __future__ import annotations

from dataclasses import dataclass

from repghost.errors import UsageError, option, unknown_value


@dataclass(frozen=True)
class JetPack:
    """One major version of JetPack: its TensorRT, and the form of file that suits it.

    Attributes:
        name: as the user writes it.
        tensorrt: the versions its bundles are for, each a prefix such as "8.5".
        opset: of the files that are written for it.
        largest_opset: the newest its parser reads, as far as NVIDIA's lists were seen.
        strongly_typed: types are those of the file (`--stronglyTyped`); otherwise `--int8 --fp16` allow them.
        cache_version: the number in the first line of a calibration cache.
        boards: names of `BOARDS` it runs on.
        note: what the user should know.
    """

    name: str
    tensorrt: tuple[str, ...]
    opset: int
    largest_opset: int
    strongly_typed: bool
    cache_version: int
    boards: tuple[str, ...]
    note: str = ""

    @property
    def half_file(self) -> bool:
        """Whether what is not int8 is float16 in the file; otherwise the builder chooses it where it pays."""
        return self.strongly_typed

    @property
    def flags(self) -> dict[str, str]:
        """The options of trtexec for each file."""
        if self.strongly_typed:
            return {"int8": "--stronglyTyped", "fp16": "--stronglyTyped"}
        return {"int8": "--int8 --fp16", "fp16": "--fp16"}


@dataclass(frozen=True)
class Board:
    """A Jetson module: `model` is part of what its device tree says in /proc/device-tree/model."""

    name: str
    model: str
    dla_cores: int


BOARDS = {
    board.name: board
    for board in (
        Board("xavier-nx", "Xavier NX", 2),
        Board("agx-xavier", "AGX Xavier", 2),
        Board("orin-nano", "Orin Nano", 0),
        Board("orin-nx", "Orin NX", 2),
        Board("agx-orin", "AGX Orin", 2),
        Board("agx-thor", "Thor", 0),
    )
}
ORIN = ("orin-nano", "orin-nx", "agx-orin")

JETPACKS = {
    row.name: row
    for row in (
        JetPack("5", ("8.5", "8.6"), 17, 17, False, 8502, ("xavier-nx", "agx-xavier", *ORIN)),
        JetPack(
            "6", ("10.3",), 19, 20, True, 100300, ORIN, "JetPack 6.0 still has TensorRT 8.6; its bundle is that of 5."
        ),
        JetPack("7", ("10.13", "11"), 19, 20, True, 101300, (*ORIN, "agx-thor")),
    )
}


def find_jetpack(name: str) -> JetPack:
    """Return the row of a JetPack.

    Raises:
        UsageError: when there is none.
    """
    if name not in JETPACKS:
        raise unknown_value("JetPack", name, JETPACKS)
    return JETPACKS[name]


def find_board(name: str) -> Board:
    """Return the row of a board.

    Raises:
        UsageError: when there is none.
    """
    if name not in BOARDS:
        raise unknown_value("board", name, BOARDS)
    return BOARDS[name]


def check_board(board: Board, jetpack: JetPack) -> None:
    """Refuse a board that a JetPack does not run on.

    Raises:
        UsageError: naming the boards it runs on, and the JetPacks of this board.
    """
    if board.name not in jetpack.boards:
        have = ", ".join(name for name, row in JETPACKS.items() if board.name in row.boards)
        raise UsageError(
            f"JetPack {jetpack.name} does not run on {board.name}, only on {', '.join(jetpack.boards)}. For "
            f"{board.name} choose JetPack {have}."
        )


def check_dla(board: Board) -> None:
    """Refuse DLA on a board that has none.

    Raises:
        UsageError: naming the boards that have one.
    """
    if not board.dla_cores:
        have = ", ".join(name for name, row in BOARDS.items() if row.dla_cores)
        raise UsageError(
            f"{board.name} has no DLA; {have} have one. Leave {option('dla')} out: the GPU runs the whole network."
        )
