"""Every family of cases that kernels are compared on, made once for all instruction sets."""

from collections.abc import Callable
from functools import cache

from tests.support import kernel_cases, wide_cases
from tests.support.kernel_harness import Case
from tests.support.map_cases import map_cases

FAMILIES: dict[str, Callable[[], list[Case]]] = {
    name: cache(make) for name, make in {**kernel_cases.FAMILIES, "maps": map_cases, **wide_cases.FAMILIES}.items()
}
