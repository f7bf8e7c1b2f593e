"""Every family of cases that kernels are compared on."""

from collections.abc import Callable

from tests.support import kernel_cases
from tests.support.kernel_harness import Case
from tests.support.map_cases import map_cases

FAMILIES: dict[str, Callable[[], list[Case]]] = {**kernel_cases.FAMILIES, "maps": map_cases}
