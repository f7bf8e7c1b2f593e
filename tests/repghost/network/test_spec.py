from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repghost.errors import UsageError
from repghost.network.spec import (
    WIDTH_LIMIT,
    WIDTHS,
    ModelSpec,
    find_width,
    make_divisible,
    model_name,
    network_shape,
    parse_width,
)

# stem | mid/out(squeeze-excite) of every block in order | tail; obtained by running the original network.
CHANNELS = {
    0.5: "8 | 4/8 12/12 20/12 20/20(8) 32/20(8) 60/40 52/40 60/40 60/40 120/56(32) 168/56(44) 168/80(44) 240/80 "
    "240/80(60) 240/80 240/80(60) | 480",
    0.58: "12 | 8/12 16/16 20/16 20/24(8) 36/24(12) 68/48 56/48 68/48 68/48 140/64(36) 196/64(48) 196/92(48) 280/92 "
    "280/92(72) 280/92 280/92(72) | 556",
    0.8: "12 | 8/12 20/20 28/20 28/32(8) 48/32(12) 96/64 80/64 96/64 96/64 192/88(48) 268/88(68) 268/128(68) 384/128 "
    "384/128(96) 384/128 384/128(96) | 768",
    1.0: "16 | 8/16 24/24 36/24 36/40(12) 60/40(16) 120/80 100/80 120/80 120/80 240/112(60) 336/112(84) 336/160(84) "
    "480/160 480/160(120) 480/160 480/160(120) | 960",
    1.11: "16 | 8/16 28/28 40/28 40/44(12) 68/44(16) 132/88 112/88 132/88 132/88 268/124(68) 372/124(92) 372/176(92) "
    "532/176 532/176(132) 532/176 532/176(132) | 1064",
    1.3: "20 | 12/20 32/32 48/32 48/52(12) 80/52(20) 156/104 132/104 156/104 156/104 312/144(80) 436/144(108) "
    "436/208(108) 624/208 624/208(156) 624/208 624/208(156) | 1248",
    1.5: "24 | 12/24 36/36 56/36 56/60(16) 92/60(24) 180/120 152/120 180/120 180/120 360/168(92) 504/168(128) "
    "504/240(128) 720/240 720/240(180) 720/240 720/240(180) | 1440",
    2.0: "32 | 16/32 48/48 72/48 72/80(20) 120/80(32) 240/160 200/160 240/160 240/160 480/224(120) 672/224(168) "
    "672/320(168) 960/320 960/320(240) 960/320 960/320(240) | 1920",
}


@pytest.mark.parametrize("width", CHANNELS)
def test_channels_of_every_published_width(width: float) -> None:
    shape = network_shape(width)
    blocks = [
        f"{block.mid_channels}/{block.out_channels}" + (f"({block.se_channels})" if block.se_channels else "")
        for stage in shape.stages
        for block in stage
    ]
    assert f"{shape.stem_channels} | {' '.join(blocks)} | {shape.tail_channels}" == CHANNELS[width]


def test_blocks_follow_each_other_and_halve_four_times() -> None:
    shape = network_shape(1.0)
    channels = shape.stem_channels
    for block in (block for stage in shape.stages for block in stage):
        assert block.in_channels == channels
        channels = block.out_channels
    strides = [block.stride for stage in shape.stages for block in stage]
    assert math.prod(strides) == 16  # and 2 by the stem
    assert [len(stage) for stage in shape.stages] == [1, 1, 1, 1, 1, 1, 5, 1, 4]


def test_without_squeeze_excite_only_that_changes() -> None:
    blocks = [block for stage in network_shape(1.0, enable_se=False).stages for block in stage]
    assert all(block.se_channels == 0 for block in blocks)
    assert [block.mid_channels for block in blocks][-1] == 480


@given(st.floats(0.01, 1e5))
def test_make_divisible_is_a_near_multiple_of_four(value: float) -> None:
    result = make_divisible(value)
    assert result % 4 == 0 and result >= 4
    assert result >= 0.9 * value
    assert result <= max(4, value + 4)


def test_the_table_is_the_published_one() -> None:
    assert [row.multiplier for row in WIDTHS] == [0.5, 0.58, 0.8, 1.0, 1.11, 1.3, 1.5, 2.0]
    # The readme prints what the logs say, rounded to one decimal.
    printed = [
        (66.9, 86.9),
        (68.9, 88.4),
        (72.2, 90.5),
        (74.2, 91.5),
        (75.1, 92.2),
        (76.4, 92.9),
        (77.5, 93.5),
        (78.8, 94.3),
    ]
    assert [(round(row.top1, 1), round(row.top5, 1)) for row in WIDTHS] == printed
    assert [row.params_millions for row in WIDTHS] == [2.3, 2.5, 3.3, 4.1, 4.5, 5.5, 6.6, 9.8]
    assert [row.flops_millions for row in WIDTHS] == [43, 60, 96, 142, 170, 231, 301, 516]
    assert [row.latency_ms for row in WIDTHS] == [25.1, 31.9, 44.5, 62.2, 71.5, 92.9, 116.9, 190.0]


@pytest.mark.parametrize("row", WIDTHS, ids=lambda row: row.name)
def test_every_spelling_of_a_published_width(row) -> None:
    number = f"{row.multiplier:g}"
    underscored = row.name.removeprefix("repghostnet_")
    hundredths = row.timm_name.removeprefix("repghostnet_")
    for text in (number, f"{number}x", underscored, row.name, row.name.upper(), hundredths, row.timm_name,
                 f"{row.timm_name}.in1k", f" {number} ", row.multiplier):  # fmt: skip
        assert parse_width(text) == row.multiplier
    assert model_name(row.multiplier) == row.name
    assert find_width(row.multiplier) is row


@pytest.mark.parametrize(
    "text", ["", "x", "abc", "-0.5", "0", "nan", "inf", "1e9", "0.5.5", "0,5", "½", "99", None, True]
)
@pytest.mark.parametrize("custom", [False, True])
def test_no_width(text: object, custom: bool) -> None:
    with pytest.raises(UsageError, match="unknown width"):
        parse_width(text, custom=custom)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "suggestion"), [("0.6", "0.58"), ("0.75", "0.8"), ("3", "2"), ("0_55x", "0.58")])
def test_an_unpublished_width_is_answered_with_the_nearest(text: str, suggestion: str) -> None:
    with pytest.raises(UsageError, match=rf"allowed: 0.5, .*, 2\. Did you mean '{suggestion}'\?"):
        parse_width(text)


@pytest.mark.parametrize(("text", "width"), [("0.6", 0.6), ("0_25x", 0.25), ("3", 3.0), (".1", 0.1), ("075", 0.75)])
def test_a_custom_width_when_asked_for(text: str, width: float) -> None:
    assert parse_width(text, custom=True) == width
    assert find_width(width) is None
    assert parse_width(model_name(width), custom=True) == width


BAD_SPECS = [
    ({"width": 0}, "width"),
    ({"width": -1.0}, "width"),
    ({"width": WIDTH_LIMIT + 1}, "width"),
    ({"width": math.nan}, "width"),
    ({"width": "0.5"}, "width"),
    ({"width": True}, "width"),
    ({"num_classes": 0}, "num_classes"),
    ({"num_classes": 1.5}, "num_classes"),
    ({"num_classes": True}, "num_classes"),
    ({"num_classes": 10**9}, "num_classes"),
    ({"in_chans": -3}, "in_chans"),
    ({"dropout": 1.0}, "dropout"),
    ({"dropout": -0.1}, "dropout"),
    ({"dropout": []}, "dropout"),
    ({"shortcut": 1}, "shortcut"),
    ({"enable_se": None}, "enable_se"),
    ({"branches": "bm"}, "Did you mean 'bn'"),
    ({"form": "fuse"}, "Did you mean 'fused'"),
    ({"widht": 1.0}, "Did you mean 'width'"),
]


@pytest.mark.parametrize(("values", "message"), BAD_SPECS, ids=lambda value: str(value))
def test_specs_no_network_has(values: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ModelSpec.from_dict(values)


def test_a_spec_survives_its_dictionary() -> None:
    spec = ModelSpec(1, 10, 1, 0.0, False, False, "both", "fused")
    assert ModelSpec.from_dict(spec.to_dict()) == spec
    assert isinstance(spec.width, float)
    assert spec.name == "repghostnet_1_0x"
