"""For which core LLVM orders the instructions of a kernel, on top of what its variant may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """What is asked of LLVM for one kernel.

    Attributes:
        mcpu: the core whose scheduling model orders the instructions; empty: that of the variant.
        mattr: flags before those of the variant, which take back what that core has and the variant need not.
    """

    mcpu: str = ""
    mattr: tuple[str, ...] = ()

    def describe(self, variant: Mapping[str, object]) -> dict[str, object]:
        """Return the description `tvm.target.Target` takes, given that of the variant."""
        flags = variant.get("mattr", [])
        assert isinstance(flags, list)
        return {**variant, **({"mcpu": self.mcpu} if self.mcpu else {}), "mattr": [*self.mattr, *flags]}

    def with_flags(self, *flags: str) -> Tuning:
        """Return the same with more flags."""
        return Tuning(self.mcpu, (*self.mattr, *flags))


AS_VARIANT = Tuning()
# LLVM's model for "generic" is that of a Cortex-A510. Straight code ordered for a Cortex-A53 waits less on that core
# and on a Cortex-A55; a loop of unknown length it would also unroll, until the registers do not suffice.
IN_ORDER = Tuning("cortex-a53", ("-crc", "-aes", "-sha2"))
SINGLE_LOADS = "+ldp-aligned-only"  # a Cortex-A55 starts nothing beside the second half of a pair of 128-bit loads
