"""The table of CPU features against the C that looks for them, and a board whose features nobody knows."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from compile.deploy.fit import expected_variant
from compile.deploy.probe import parse_probe
from compile.link.toolchain import RUNNER_SOURCES
from compile.targets.features import FEATURES, FULLFP16, Feature
from compile.targets.table import ARM64, TARGETS

HEADER, CODE = ((RUNNER_SOURCES / name).read_text() for name in ("library/hwcaps.h", "library/hwcaps.c"))
REQUIRED = [feature for feature in FEATURES if feature.bit]
ASKED_FOR = [feature for feature in REQUIRED if not feature.tried_out]


def defined_bits(macro: str) -> tuple[int, ...]:
    """Return the numbers of the bits a macro of hwcaps.c is made of."""
    (text,) = re.findall(rf"#define {macro} (.*)", CODE)
    return tuple(
        int(number) for number in re.findall(r"1ul << (\d+)|BIT\((\d+)\)", text) for number in number if number
    )


def test_the_table_and_the_header_have_the_same_bits() -> None:
    defined = {name: int(bit) for name, bit in re.findall(r"#define RG_CPU_(\w+) (\d+)u", HEADER)}
    assert defined == {feature.name: feature.bit for feature in REQUIRED}
    assert all(bit & (bit - 1) == 0 for bit in defined.values()), "one bit each"


@pytest.mark.parametrize("feature", ASKED_FOR, ids=lambda feature: feature.name)
def test_the_start_up_code_asks_for_the_bits_of_the_row(feature: Feature) -> None:
    assert feature.asks_for
    for macro, bits in feature.asks_for.items():
        assert defined_bits(macro) == bits
    # The feature is set behind the tests of its macros, and no macro of hwcaps.c belongs to no row.
    before = CODE[: CODE.index(feature.macro)]
    assert all(len(re.findall(rf"\b{macro}\b", before)) >= 2 for macro in feature.asks_for), "defined, then tested"


def test_every_tested_macro_belongs_to_a_row() -> None:
    macros = set(re.findall(r"#define (HWCAP2?_\w+|LEAF\w+|EXTENDED\w+)", CODE))
    assert macros == {macro for feature in REQUIRED for macro in feature.asks_for}


def test_what_variants_require_can_be_looked_for_everywhere() -> None:
    for target in TARGETS.values():
        for variant in target.variants:
            for feature in variant.requires:
                assert feature in REQUIRED
                assert bool(feature.cpuinfo) != feature.tried_out, "a board is asked, an engine tries it out"


def test_a_requirement_nobody_can_look_for_is_never_met() -> None:
    facts = parse_probe(["machine aarch64", "features fp asimd asimdrdm asimddp fphp asimdhp"])
    half = ARM64.variant("half")
    assert expected_variant(replace(ARM64, variants=(half,)), ["half"], facts) == "half"
    unknown = replace(half, requires=(FULLFP16, Feature("NEWER", bit=1 << 30)))
    assert expected_variant(replace(ARM64, variants=(unknown,)), ["half"], facts) is None
    assert expected_variant(ARM64, ["newer"], facts) is None
