"""What is said first: which width and precision to take, and whether int8 keeps enough."""

from __future__ import annotations

from dataclasses import replace

from compile.summary.advice import UNITS, advise
from compile.summary.facts import Method, Summary
from compile.summary.gate import gate_sentences
from tests.support.summary_cases import NAMES


def test_advice_names_the_widest_that_fits_and_whether_int8_pays(summary: Summary) -> None:
    (advice,) = advise(summary)  # 1.5, 3.0 and 4.5 ms; float32 takes twice as long
    assert advice.sentence == (
        "On Test Core, 64 px, 1 thread: under 2 ms take 0.5x int8, under 5 ms take 2x int8; int8 takes 0.50 of the "
        "fastest float build's time: use int8."
    )


def test_advice_says_where_another_network_is_published_as_better(summary: Summary) -> None:
    rival = replace(summary.speeds[0], model="mobilenetv3_small_100", value=1.2)
    (advice,) = advise(replace(summary, speeds=(*summary.speeds, rival)))
    better = "(MobileNetV3 small 1.0 int8: 0.5 points more, published)"
    assert f"under 2 ms take 0.5x int8 {better}, under 5 ms take 2x int8;" in advice.sentence


def figures(summary: Summary, unit: str, values: dict[str, float]) -> Summary:
    """The summary with figures of 0.5x and 1.0x in a unit, by width and precision."""
    first = summary.speeds[0]
    speeds = [
        replace(first, model=NAMES[int(key[0] == "1")], precision=key[3:], unit=unit, value=value, machine=f"a {unit}")
        for key, value in values.items()
    ]
    return replace(summary, speeds=(*speeds, *summary.speeds))


def estimated(summary: Summary) -> Summary:
    """The summary with what `figures` added in milliseconds as an estimate."""
    speeds = [
        replace(speed, kind="estimated", low=speed.value, high=2 * speed.value) if speed.machine == "a ms" else speed
        for speed in summary.speeds
    ]
    return replace(summary, speeds=tuple(speeds))


def test_advice_says_first_what_a_machine_measured_and_compares_with_the_best_float(summary: Summary) -> None:
    changed = figures(summary, "instructions", {"0.5int8": 2.0, "1.0int8": 5.0, "0.5fp32": 9.0})
    values = {"0.5int8": 3.0, "1.0int8": 8.0, "0.5fp32": 9.0, "0.5fp16": 2.0, "1.0fp32": 6}
    changed = estimated(figures(figures(changed, "cycles", values), "ms", values))
    assert list(dict.fromkeys(advice.unit for advice in advise(changed))) == list(UNITS)
    sentences = {advice.unit: advice.sentence for advice in advise(changed)}
    assert "int8 takes 1.33 to 1.50 times the fastest float build's time: use float" in sentences["estimated"]
    assert "under 20 ms take 1x fp32" in sentences["estimated"] and "cycles" not in sentences
    assert sentences["instructions"] == "On a instructions, 64 px, 1 thread: as a multiple of 0.5x int8: 1x 2.50."
    mixed = figures(summary, "ms", {"0.5int8": 3.0, "0.5fp32": 2.0, "1.0int8": 4.0, "1.0fp32": 8.0})
    assert "except for 0.5x" in advise(estimated(mixed))[1].sentence


def test_gate_evaluates_what_is_taken_by_default_and_not_the_luckiest(summary: Summary) -> None:
    network = summary.networks[0]
    default = network.methods[0]
    assert default.change is not None
    bad = replace(default, change=replace(default.change, difference=-0.01))
    lucky = replace(default, name="lucky")

    def evaluated(*methods: Method) -> tuple[list[str], list[str]]:
        return gate_sentences(replace(summary, networks=(replace(network, methods=methods),)))

    assert evaluated(bad, lucky)[0] == [] and "do not ship it" in evaluated(bad, lucky)[1][0]
    passed, missed = evaluated(bad, replace(lucky, name="trained", kind="qat"))
    assert "(trained)" in passed[0] and not missed
    assert "was not measured" in evaluated(replace(default, change=None))[1][0]
