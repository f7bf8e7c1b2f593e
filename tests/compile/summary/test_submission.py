"""What a board measured is sent without a name, and read only where it has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import repghost
from compile.storage.strict_json import canonical_json
from compile.summary.collect import collect
from compile.summary.submission import read_submission, submission_of
from repghost.errors import IntegrityError, UsageError
from tests.support.submissions import ADDRESS, bench_json, run_report, submission


@pytest.mark.parametrize("values", [run_report(), bench_json()], ids=["report", "bench"])
def test_a_submission_holds_figures_and_no_names(values: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(canonical_json(values))
    found = repghost.submit(tmp_path / "report.json", output=tmp_path / "boards")
    text = found.path.read_text()
    for private in ("raspberry-10000000abcdef", "pi@", "/home", "ann", "repghost/", "Rev 1.4", "reason"):
        assert private not in text, private
    sent = read_submission(found.path)
    assert found.path.name.startswith("raspberry-pi-4-") and found.values == json.loads(json.dumps(sent.to_dict())) | {
        "results": found.values["results"]
    }
    (result,) = sent.results
    assert (sent.board, sent.chip, sent.core, sent.governor) == (
        "raspberry-pi-4", "brcm,bcm2711", "Cortex-A72", "performance",
    )  # fmt: skip
    assert (result.median_ms, result.clock_mhz, result.celsius) == (8.0, (1800, 1800), (50.0, 50.0))
    assert result.accuracy is not None and (result.accuracy.correct, result.accuracy.equal) == (97, 100)


def test_the_page_of_make_report_reads_a_submission(tmp_path: Path) -> None:
    path = tmp_path / "pi.json"
    path.write_bytes(canonical_json(submission().to_dict()))
    (speed,) = collect([path]).speeds
    assert (speed.where, speed.kind, speed.value, speed.high) == ("board", "measured", 8.0, 9.0)
    assert "Raspberry Pi 4" in speed.machine and repghost.report(path, summary=True).summary is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.update(hostname="pi4"), r"the keys \['hostname'\] are missing or unknown"),
        (lambda v: v["results"][0].update(mac="dc:a6:32:01:02:03"), r"the keys \['mac'\] are missing or unknown"),
        (lambda v: v.pop("core"), r"\['core'\]"),
        (lambda v: v.update(board="ann's board"), "board is \"ann's board\", which is no word of its table"),
        (lambda v: v.update(chip="192.168.1.7"), "chip is '192.168.1.7', which is none"),
        (lambda v: v.update(core="100000003d1d1c36"), "core is '100000003d1d1c36'"),
        (lambda v: v.update(governor="/home/ann"), "governor is '/home/ann'"),
        (lambda v: v.update(release="0.1.0+ann"), "release is"),
        (lambda v: v.update(made="yesterday"), "made is"),
        (lambda v: v.update(version=2), "version 2"),
        (lambda v: v.update(results=[]), "results is empty"),
        (lambda v: v.update(board="other", chip="", core=""), "neither board nor chip nor core"),
        (lambda v: v["results"][0].update(model="our-secret-net"), r"results\[0\].model is 'our-secret-net'"),
        (lambda v: v["results"][0].update(target="my-watch"), r"results\[0\].target is 'my-watch'"),
        (lambda v: v["results"][0].update(cores="pi@board"), r"results\[0\].cores"),
        (lambda v: v["results"][0].update(median_ms=7.0), "no times in order"),
        (lambda v: v["results"][0].update(min_ms=float("nan")), "no float"),
        (lambda v: v["results"][0].update(celsius=[1e9, None]), "celsius is out of range"),
        (lambda v: v["results"][0]["accuracy"].update(correct=101), "more than there are pictures"),
    ],
)  # fmt: skip
def test_private_and_unknown_fields_are_refused_by_name(change: Callable[[Any], None], said: str) -> None:
    values = json.loads(json.dumps(submission().to_dict()))
    assert submission_of(values, "pi.json") == submission()
    change(values)
    with pytest.raises(IntegrityError, match=said) as caught:
        submission_of(values, "pi.json")
    assert str(caught.value).startswith("pi.json")


def test_what_cannot_be_sent_is_told(tmp_path: Path) -> None:
    def sent(values: dict[str, Any], **options: Any) -> Any:
        path = tmp_path / "report.json"
        path.write_bytes(canonical_json(values))
        return repghost.submit([path], output=tmp_path / "boards", **options)

    with pytest.raises(UsageError, match="only networks with published figures are of use to others"):
        sent(run_report(model="our-secret-net"))
    with pytest.raises(UsageError, match="no board measured anything"):
        sent({**run_report(), "builds": []})
    two = {**run_report(), "builds": [*run_report()["builds"], *run_report(board="other:repghost")["builds"]]}
    with pytest.raises(UsageError, match=r"2 boards measured: .* Say which: on="):
        sent(two)
    assert len(sent(two, on=ADDRESS).values["results"]) == 1
    with pytest.raises(UsageError, match="nobody measured nothing there"):
        sent(two, on="nobody")
    with pytest.raises(IntegrityError, match=r"give report\.json of a run"):
        sent({"format": "repghost-count", "version": 1})
    with pytest.raises(IntegrityError, match="not as its format says"):
        sent({**run_report(), "builds": [{"boards": [{"board": "x"}]}]})
    with pytest.raises(UsageError, match="names no board, chip or ARM core"):
        sent(run_report(core="AMD EPYC (2 cores)"))
    loaded = {"before": {"clock_khz": 1_500_000, "temperature_c": 55.5}, "after": {"clock_khz": None}}
    (result,) = sent(run_report(runner=loaded)).values["results"]
    assert (result["clock_mhz"], result["celsius"]) == ((1500, 1800), (55.5, 50.0)), "as the runner saw it, under load"
    with pytest.raises(IntegrityError, match="clock_mhz"):
        sent(run_report(runner={"before": {"clock_khz": 10**12}}))
    unknown = sent(run_report(core="Banana Pi [allwinner,sun50i-h618] Cortex-A53 (4 cores)"))
    assert (unknown.values["board"], unknown.values["chip"]) == ("other", "allwinner,sun50i-h618")
    assert unknown.path.name.startswith("allwinner-sun50i-h618-")
