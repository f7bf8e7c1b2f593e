"""What the compiler hands over: one object file per instruction set, the weights, and the steps that run them."""

from __future__ import annotations

from dataclasses import dataclass

from repghost.errors import UsageError

BLOB_ALIGNMENT = 64  # bytes; kernels load whole cache lines from the start of a blob


@dataclass(frozen=True)
class CompiledVariant:
    """The code of one instruction set.

    The object exports one plain C function:

        int32_t <step_symbol>(int32_t step, int32_t begin, int32_t end, const uint8_t *rgb, float *logits,
                              int8_t *workspace, const int8_t *weights);

    It runs the units [begin, end) of one step and returns 0. The units of a step touch disjoint outputs, so they may
    run in any order and at the same time; the steps run one after the other.
    """

    name: str  # the `compile.targets.table.Variant` it was compiled for
    object_bytes: bytes  # a relocatable ELF object, or an archive of them (`compile.codegen.object_archive`)
    step_symbol: str
    weights: str  # the key in `CompiledNetwork.blobs` of the weights it reads
    kernels: tuple[str, ...] = ()  # the name of the kernel of each step


@dataclass(frozen=True)
class CompiledNetwork:
    """A network compiled for every instruction set of a target; variants from the plainest to the fastest."""

    variants: tuple[CompiledVariant, ...]
    blobs: dict[str, bytes]  # weights in the layout of one or more variants
    units: tuple[int, ...]  # how many units of work each step has
    workspace_bytes: int  # scratch memory of one inference, 64-byte aligned by the caller
    kernels: tuple[str, ...]  # one line for each step: what it computes and with which kernel

    def __post_init__(self) -> None:
        """Refuse an object that names a missing blob, a duplicate variant or an empty step list."""
        names = [variant.name for variant in self.variants]
        if not names or len(set(names)) != len(names):
            raise UsageError(f"a compiled network needs variants with distinct names, not {names}.")
        missing = sorted({variant.weights for variant in self.variants} - set(self.blobs))
        if missing:
            raise UsageError(f"variants read the weights {missing}, but the blobs are {sorted(self.blobs)}.")
        if not self.units or min(self.units) < 1 or len(self.units) != len(self.kernels):
            raise UsageError(
                f"each step needs at least one unit and one description; {len(self.units)} units, "
                f"{len(self.kernels)} descriptions were given."
            )
        if self.workspace_bytes < 0:
            raise UsageError(f"workspace_bytes must not be negative, but is {self.workspace_bytes}.")
