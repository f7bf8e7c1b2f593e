"""From functions in TIR to an object file, without TVM's packed calling convention: nothing of TVM is on the device.

The text of this file is in the key of every kernel that is stored, so a change here makes all of them anew.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import ir, tirx

_FLATTEN = [tirx.transform.StmtSimplify(), tirx.transform.FlattenBuffer()]
LOWERING = ir.transform.Sequential([*_FLATTEN, tirx.transform.LowerIntrin()])
# Where addresses have 32 bits, an index of 64 would be computed in two registers.
LOWERING_32 = ir.transform.Sequential(
    [*_FLATTEN, tirx.transform.ForceNarrowIndexToInt32(), tirx.transform.LowerIntrin()]
)


def build_object(functions: dict[Any, Any], target: dict[str, object]) -> Any:
    """Compile functions for one instruction set.

    Args:
        functions: global variable -> PrimFunc; each keeps its name in the object, which the linker then hides.
        target: the description `tvm.target.Target` takes.

    Returns:
        TVM's runtime module; `write_to_file(path, "o")` writes the object, `inspect_source("asm")` shows it.
    """
    described = tvm.target.Target(target)
    module = tvm.IRModule()
    for variable, function in functions.items():
        function = function.with_attr("target", described).with_attr("calling_conv", 0)
        module[variable] = function.with_attr("global_symbol", variable.name_hint)
    architecture = str(target["mtriple"]).partition("-")[0]
    lowering = LOWERING if "64" in architecture else LOWERING_32
    return tvm.get_global_func("target.build.llvm")(lowering(module), described)
