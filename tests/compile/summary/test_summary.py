from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compile.cycles.boards import read_fits
from compile.report.card import render_card
from compile.storage.strict_json import canonical_json
from compile.summary.advice import advise
from compile.summary.board_advice import SHOWN, SIZE
from compile.summary.choices import board_table, device_table, find_choices
from compile.summary.collect import collect, find_conflicts, find_files
from compile.summary.compare import Margins, compare
from compile.summary.facts import Agreement, Change, Method, Network, Share, Speed, Summary
from compile.summary.gate import gate_sentences
from compile.summary.output import read_summary, render, write_all
from compile.summary.page_tables import page_tables
from compile.summary.pages.html import render_page
from compile.summary.pages.plots import all_plots, draw_pareto, int8_changes
from compile.summary.tables import all_tables, latency_tables
from repghost.cli import cli
from repghost.commands.bundles import report as report_command
from repghost.errors import IntegrityError, UsageError
from repghost.network.spec import WIDTHS
from tests.support.summary_cases import NAMES, run_report, write_runs


class Cells(HTMLParser):
    """Collects the text of every cell of the tables of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.kind, self.inside = "", False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.kind = dict(attrs).get("class") or "" if tag == "table" else self.kind
        self.inside = tag == "td" and self.kind == "data"
        self.cells += [""] if self.inside else []

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


def test_summary_is_equal_after_a_round_trip_through_json(summary: Summary) -> None:
    text = render(summary, "json")
    assert Summary.from_dict(json.loads(text), "x") == summary
    assert render(Summary.from_dict(json.loads(text), "x"), "json") == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(version=99), "version 99"),
        (lambda v: v.update(format="repghost-report"), "not repghost-summary"),
        (lambda v: v.pop("networks"), "'networks'"),
        (lambda v: v.update(extra=1), "'extra'"),
        (lambda v: v["networks"][0]["fp32"].update(top1=float("nan")), "networks[0].fp32.top1"),
        (lambda v: v["networks"][0]["fp32"].update(top1="0.8"), "networks[0].fp32.top1"),
        (lambda v: v["speeds"][0].update(kind="guessed"), "allowed: measured"),
        (lambda v: v["speeds"][0].update(value=True), "speeds[0].value"),
        (lambda v: v["speeds"][0].update(unit="years"), "allowed: ms, instructions, cycles"),
        (lambda v: v.update(sizes=3), "has to be a list"),
    ],
)
def test_damaged_summary_is_named(summary: Summary, change: Any, message: str) -> None:
    values = summary.to_dict()
    values = json.loads(json.dumps(values))
    change(values)
    with pytest.raises(IntegrityError, match=re.escape(message)):
        Summary.from_dict(values, "old.json")


def test_every_width_has_a_row_and_absent_ones_say_so(summary: Summary) -> None:
    table = next(table for table in all_tables(summary) if table.name == "widths")
    assert [row[0].value for row in table.rows] == [width.multiplier for width in WIDTHS]
    by_width = {row[0].value: row for row in table.rows}
    assert by_width[0.5][6].value == pytest.approx(0.8)
    assert by_width[0.58][5].text == "no weights"
    assert "--width 0.58" in by_width[0.58][5].note


def test_every_number_of_the_page_is_one_of_the_tables(summary: Summary) -> None:
    parser = Cells()
    parser.feed(render_page(summary, {}))
    tables = (device_table(find_choices(summary)), *page_tables(summary))
    expected = [cell.text for table in tables for row in table.rows for cell in row]
    assert parser.cells[: len(expected)] == expected  # the sources come after them


def test_the_sheet_holds_every_value_in_full(summary: Summary) -> None:
    rows = list(csv.DictReader(io.StringIO(render(summary, "csv"))))
    values = [float(row["value"]) for row in rows if row["value"]]
    expected = [cell.value for table in all_tables(summary) for row in table.rows for cell in row]
    assert values == [value for value in expected if value is not None]


@pytest.mark.slow
def test_one_changed_number_changes_page_figure_and_gate(summary: Summary) -> None:
    values = json.loads(render(summary, "json"))
    network = values["networks"][1]
    network["methods"][0]["share"]["top1"] = 0.7431
    network["methods"][0]["change"]["difference"] = 0.7431 - 0.8
    changed = Summary.from_dict(values, "changed")
    assert "74.31" in render(changed, "html") and "74.31" not in render(summary, "html")
    assert "74.31" in render(changed, "md")
    assert all_plots(changed) != all_plots(summary)
    assert gate_sentences(summary)[1] == []
    assert "do not ship it" in gate_sentences(changed)[1][0]
    assert "do not ship it" in render(changed, "html")


def test_figures_are_the_same_bytes_each_time(summary: Summary) -> None:
    first, second = all_plots(summary), all_plots(summary)
    assert first == second
    assert len(first) == 2
    assert all("<svg" in svg and "</svg>" in svg for svg in first.values())


def test_page_loads_nothing_and_escapes_what_files_say(tmp_path: Path) -> None:
    report = run_report(NAMES[0], 0.0, 1.0)
    report["weights"]["source"] = '<script>alert("x")</script>'
    report["accuracy"]["test"]["data"] = '"><img src=x onerror=alert(1)>'
    page = render_page(collect(find_files([write_runs(tmp_path / "build", report)])))
    assert "<script>alert" not in page and "<img" not in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


def test_pictures_that_are_not_square_are_shown_by_both_sides(tmp_path: Path) -> None:
    square, wide = run_report(NAMES[0], 0.0, 1.0), run_report(NAMES[0], 0.0, 2.0, "e" * 64)
    wide["preprocess"] |= {"size": [96, 160], "resize": [109, 182], "mean": [0.5], "std": [0.5]}
    summary = collect(find_files([write_runs(tmp_path / "build", wide, square)]))
    assert {speed.size for speed in summary.speeds} == {64, "96x160"}
    assert read_summary(write_all(summary, tmp_path / "page")[0]) == summary
    assert "at 96x160 px" in render_page(summary)
    tables = [table.title for table in all_tables(summary) if table.title.startswith("Latency")]
    assert [title.rpartition(", ")[2] for title in tables] == ["64 px", "96x160 px"]
    card = render_card(wide, wide["builds"][0])
    assert "96 x 160 grey bytes: resized to cover 109x182 (bilinear), the centre cropped" in card
    for changes, words in (({"resize": 160}, "the short side"), ({"squash": True}, "whatever its proportions")):
        assert words in render_card({**wide, "preprocess": wide["preprocess"] | changes}, wide["builds"][0])


@pytest.mark.parametrize("size", ["96x", "0x5", "x", "<b>", "5000x5", [96], 96.5, True, None])
def test_a_size_that_is_none_is_named(size: Any, tmp_path: Path) -> None:
    report = run_report(NAMES[0], 0.0, 1.0)
    report["preprocess"]["size"] = size
    with pytest.raises(IntegrityError, match="size"):
        collect(find_files([write_runs(tmp_path / "build", report)]))


def test_networks_come_from_the_narrowest_to_the_widest(tmp_path: Path) -> None:
    reports = [run_report(f"repghostnet_{name}x", 0.0, 1.0) for name in ("2_0", "0_58", "0_5")]
    summary = collect(find_files([write_runs(tmp_path / "build", *reports)]))
    assert [network.model for network in summary.networks] == [f"repghostnet_{w}x" for w in ("0_5", "0_58", "2_0")]


def test_two_runs_of_different_images_are_named_and_both_stay(tmp_path: Path) -> None:
    reports = [run_report(NAMES[0], 0.001, 1.0, "e" * 64), run_report(NAMES[0], 0.001, 1.0, "f" * 64)]
    summary = collect(find_files([write_runs(tmp_path / "build", *reports)]))
    assert len(summary.networks) == 2
    (sentence,) = find_conflicts(summary)
    assert "different pictures" in sentence and sentence in render(summary, "md")


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b'{"format": "something"}', IntegrityError, "'something'"),
        (b'{"format": "repghost-report", "version": 7}', IntegrityError, "version 7"),
        (b'{"format": "repghost-report", "version": 1}', IntegrityError, "not as its format says"),
        (b'{"format": NaN}', IntegrityError, "NaN"),
        (b"[]", IntegrityError, "not an object"),
    ],
)
def test_broken_sources_are_named(tmp_path: Path, content: bytes, error: type[Exception], message: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        collect(find_files([path]))


def test_nothing_to_report_on_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no results"):
        find_files([tmp_path])


def test_comparison_tells_changes_from_regressions(summary: Summary, tmp_path: Path) -> None:
    reports = [run_report(name, 0.002, 1.5 * (index + 1)) for index, name in enumerate(NAMES)]
    reports[0] = run_report(NAMES[0], 0.01, 1.55)  # loses 0.8 points more, and is 3 % slower
    new = collect(find_files([write_runs(tmp_path / "new", *reports)]))
    found = compare(summary, new, Margins())
    assert [item.regression for item in found if "int8 top-1" in item.what] == [True]
    times = [item for item in found if "ms" in item.what.split(", ")]
    assert len(times) == 2 and not any(item.regression for item in times)
    assert all(
        item.regression for item in compare(summary, new, Margins(time=0.01)) if item in times or "ms" in item.what
    )
    assert compare(summary, summary, Margins()) == []


def test_command_writes_every_format_and_makes_the_same_page_of_its_json(summary: Summary, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["report", str(tmp_path / "build"), "-o", str(tmp_path / "page")])
    assert done.exit_code == 0, done.output
    assert {path.suffix for path in (tmp_path / "page").iterdir()} == {".json", ".md", ".csv", ".html", ".svg"}
    again = CliRunner().invoke(cli, ["report", str(tmp_path / "page" / "report.json"), "--format", "html"])
    assert again.output == (tmp_path / "page" / "report.html").read_text()


@pytest.mark.slow
def test_command_says_a_few_sentences_and_where_the_others_are(
    summary: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(summary, tmp_path / "old")
    words = ["report", str(tmp_path / "old"), "-o", str(tmp_path / "page")]
    assert "more; all of it" not in CliRunner().invoke(cli, words).output
    monkeypatch.setattr(report_command, "SAID", 0)
    said = CliRunner().invoke(cli, words).output
    assert f"and 1 more; all of it is in {tmp_path / 'page' / 'report.html'}" in said and "On Test Core" not in said


def test_command_ends_with_3_where_int8_loses_too_much(tmp_path: Path) -> None:
    folder = write_runs(tmp_path / "build", run_report(NAMES[0], 0.05, 1.0))
    done = CliRunner().invoke(cli, ["report", str(folder), "-o", str(tmp_path / "page"), "--max-drop", "0.3"])
    assert done.exit_code == 3
    assert "do not ship it" in (tmp_path / "page" / "report.html").read_text()


def test_what_became_worse_is_open_and_what_changed_besides_is_folded(summary: Summary) -> None:
    sentences = (*(f"speed {index}: 1 ms -> 2 ms" for index in range(20)), "size: 1 -> 3 (worse than allowed)")
    changed = replace(summary, comparison=sentences)
    page = render_page(changed, {})
    opened = re.sub("<details id=[^>]*[^n]>.*?</details>", "", page, flags=re.DOTALL)
    assert "size: 1 -&gt; 3" in opened and "speed 1:" not in opened and page.count("size: 1 -&gt; 3") == 1
    lines = render(changed, "md").splitlines()
    assert lines[lines.index("## What changed") + 2] == "- size: 1 -> 3 (worse than allowed)"
    assert "- and 13 more, in the page" in lines


def test_the_answer_says_where_not_every_width_was_built(summary: Summary) -> None:
    page = render_page(summary, {})  # three of the eight
    assert "Take 2x int8" in page and "Even the widest that was built stays below 30 ms" in page
    assert "Nothing stays below 1 ms" in page and '<h2 id="charts"' not in page
    nothing = render_page(replace(summary, speeds=(), networks=()), {})
    assert "No time of a RepGhostNet is known here" in nothing and "<select" not in nothing


def test_boards_are_there_where_no_run_knows_of_one(summary: Summary) -> None:
    few = replace(summary, speeds=tuple(it for it in summary.speeds if it.where == "host"))
    found = {choice.name: choice for choice in find_choices(few)}
    assert set(SHOWN) <= set(found)
    four = found["raspberry-pi-4"]
    assert four.size == SIZE and [it.model for it in four.figures if it.precision == "int8"] == [
        it.name for it in WIDTHS
    ]
    assert {it.kind for it in four.figures} == {"estimated"} and "%" in four.known


@pytest.mark.parametrize("command", [["report", "{}"], ["report", "{}", "-o", "page"]])
def test_json_of_another_version_is_refused_in_one_sentence_with_the_way_out(
    summary: Summary, tmp_path: Path, command: list[str]
) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(canonical_json({**summary.to_dict(), "version": 4}))
    done = CliRunner().invoke(cli, [word.format(path) for word in command])
    (line,) = done.output.splitlines()
    assert done.exit_code == 6 and str(path) in line and "version 4, not" in line and "repghost report FILES" in line


def test_command_ends_with_3_on_a_regression(summary: Summary, tmp_path: Path) -> None:
    write_all(summary, tmp_path / "old")
    folder = write_runs(tmp_path / "new", run_report(NAMES[0], 0.02, 1.5))
    old = str(tmp_path / "old" / "report.json")
    done = CliRunner().invoke(cli, ["report", str(folder), "-o", str(tmp_path / "page"), "--compare", old])
    assert done.exit_code == 3
    changed = read_summary(tmp_path / "page" / "report.json").comparison
    assert any("worse than allowed" in sentence for sentence in changed)


@pytest.mark.parametrize("arguments", [[], ["x", "--weights", "timm"]])
def test_command_without_anything_to_do_says_what_to_give(arguments: list[str]) -> None:
    done = CliRunner().invoke(cli, ["report", *arguments])
    assert done.exit_code == 2


def test_card_has_a_head_and_the_measured_figures() -> None:
    report = run_report(NAMES[0], 0.002, 1.5)
    card = render_card(report, report["builds"][0])
    assert card.startswith("---\nlibrary_name: ")
    head = card.split("---\n")[1]
    assert all(json.loads(line.partition(": ")[2]) for line in head.splitlines())
    assert "79.80%" in card and "1.500 ms" in card


def test_the_error_of_a_layer_is_shown_for_integers_only(summary: Summary) -> None:
    shown = {layers.build: [row.sqnr_db for row in layers.rows] for layers in summary.layers}
    assert shown == {"x86-64 int8, avx2": [31.25], "x86-64 fp32, avx2": [None]}
    assert ",31.2," in render(summary, "csv")


def test_canonical_json_is_what_is_written(summary: Summary, tmp_path: Path) -> None:
    write_all(summary, tmp_path / "page")
    assert (tmp_path / "page" / "report.json").read_bytes() == canonical_json(summary.to_dict())


def test_counts_are_emulated_cycles_are_modelled_and_neither_is_a_time(tmp_path: Path) -> None:
    count = {
        "format": "repghost-count", "version": 2, "model": NAMES[0], "precision": "int8", "size": 224,
        "cpu": "cortex-a76", "variant": "dot", "emulator": "qemu",
        "whole": {
            "total": 7_000_001, "instructions": {}, "modelled_cycles": {"cortex-a76": 3.0e6, "cortex-a55": 9.0e6},
            "lines_missed": {},
        },
        "layers": [],
    }  # fmt: skip
    path = tmp_path / "count.json"
    path.write_bytes(canonical_json(count))
    summary = collect([path])
    found = {(speed.machine, speed.kind, speed.unit): speed.value for speed in summary.speeds}
    assert found == {
        ("emulated cortex-a76", "emulated", "instructions"): 7_000_001,
        ("Cortex-A76, Neoverse N1 model", "modelled", "cycles"): 3.0e6,
        ("Cortex-A55 model", "modelled", "cycles"): 9.0e6,
    }
    assert " ms" not in render(summary, "md")


def board_count(model: str, precision: str, cycles: float) -> dict[str, Any]:
    return {
        "format": "repghost-count", "version": 2, "model": model, "precision": precision, "size": 224,
        "cpu": "cortex-a76", "variant": "dot", "emulator": "qemu", "layers": [],
        "whole": {
            "total": 7_000_000, "instructions": {}, "modelled_cycles": {"cortex-a76": cycles},
            "lines_missed": {"32768": 0, "2097152": 0, "4194304": 0},
        },
    }  # fmt: skip


def test_boards_are_estimated_until_one_is_measured(tmp_path: Path) -> None:
    for index, precision in enumerate(("int8", "fp32")):
        count = board_count(NAMES[0], precision, (1 + index) * 24e6)
        (tmp_path / f"count-{precision}.json").write_bytes(canonical_json(count))
    summary = collect([tmp_path / "count-int8.json", tmp_path / "count-fp32.json"])
    scale = read_fits()["raspberry-pi-5"].scale  # 24 M cycles at 2.4 GHz are 10 ms of them
    (pi,) = (s for s in summary.speeds if (s.machine, s.precision) == ("Raspberry Pi 5", "int8"))
    assert (pi.kind, pi.unit, pi.value) == ("estimated", "ms", pytest.approx(10 * scale))
    assert pi.low is not None and pi.high is not None and pi.low < pi.value < pi.high
    column = [column.title for column in board_table(summary).columns].index("0.5x")
    cells = {row[2].text: row[column] for row in board_table(summary).rows if row[0].text == "Raspberry Pi 5"}
    assert cells["int8"].note.startswith("estimated ") and cells["int8"].value == pi.value
    assert not [table for table in latency_tables(summary) if "Raspberry" in table.title], "no table of measured times"
    (said,) = (advice for advice in advise(summary) if "Raspberry Pi 5" in advice.sentence)
    assert said.unit == "estimated" and "int8 takes 0.50 of the fastest float build's time: use int8" in said.sentence
    measured = replace(pi, kind="measured", machine="Raspberry Pi 5 Model B Rev 1.0, Cortex-A76 (4 cores)", value=9.5)
    found = board_table(replace(summary, speeds=(*summary.speeds, measured)))
    cells = {row[2].text: row[column] for row in found.rows if row[0].text == "Raspberry Pi 5"}
    assert cells["int8"].text == "9.5 measured" and cells["fp32"].note.startswith("estimated ")


def test_a_count_takes_the_error_of_its_layers_from_the_run_of_the_same_bundle(tmp_path: Path) -> None:
    layer = {
        "name": "conv_stem", "operator": "Conv2d", "output": [32, 32, 16], "macs": 442368, "weight_bytes": 496,
        "arithmetic": "int32", "kernel": "rg_qs8_conv", "total": 123,
    }  # fmt: skip
    count = {
        "format": "repghost-count", "version": 2, "model": NAMES[0], "precision": "int8", "size": 64,
        "cpu": "cortex-a76", "variant": "dot", "emulator": "qemu",
        "whole": {"total": 123, "instructions": {}, "modelled_cycles": {}}, "layers": [layer],
    }  # fmt: skip
    folder = write_runs(tmp_path / "build", run_report(NAMES[0], 0.002, 1.5))
    shown = {}
    for bundle in ("c" * 64, "e" * 64):
        path = tmp_path / "count.json"
        path.write_bytes(canonical_json({**count, "bundle": bundle}))
        tables = collect([*find_files([folder]), path]).layers
        (row,) = next(table.rows for table in tables if table.source == str(path))
        shown[bundle[0]] = (row.instructions, row.sqnr_db)
    assert shown == {"c": (123, 31.25), "e": (123, None)}


def test_a_detector_has_a_row_for_each_build_and_set(tmp_path: Path) -> None:
    entry = {"bundle_digest": "c" * 64, "data": "shapes", "split": "val", "ap": 0.7286, "ap50": 0.98, "pictures": 200,
             "objects": 1368, "intervals": {"ap50": [0.966, 0.991]}, "classes": {"circle": 0.98}}  # fmt: skip
    nothing = {**entry, "split": "empty", "ap": None, "ap50": None, "objects": 0, "intervals": {}}
    report = run_report(NAMES[0], 0.002, 1.5)
    report["builds"][0]["average_precision"] = [entry, nothing]
    summary = collect(find_files([write_runs(tmp_path / "build", report)]))
    (table,) = [table for table in all_tables(summary) if table.name == "detectors"]
    rows = [[cell.text for cell in row[2:]] for row in table.rows]
    build = rows[0][0]
    assert rows == [
        [build, "shapes, split empty: 200", "no object", "no object", "0"],
        [build, "shapes, split val: 200", "72.86", "98.00", "1,368"],
    ]
    assert table.rows[1][5].note == "95 %: 96.60 to 99.10"
    assert "<td>72.86</td>" in re.sub("<td[^>]*>", "<td>", render(summary, "html"))
    assert Summary.from_dict(summary.to_dict(), "report.json") == summary
    worse = replace(summary, detectors=tuple(replace(it, ap=0.72 if it.ap else None) for it in summary.detectors))
    (found,) = compare(summary, worse, Margins())
    assert found.regression and found.sentence.endswith("AP: 72.86 % -> 72.00 % (worse than allowed)")


def accuracy_document(**changes: Any) -> dict[str, Any]:
    """Return evidence about the network of `run_report`: the same default, and one that was trained."""
    share = {"low": 0.7, "high": 0.9, "pictures": 1000}
    difference = {"low": -0.004, "high": 0.001, "pictures": 1000, "agreeing": 985, "only_before": 5, "only_after": 3}

    def row(name: str, group: str, digest: str, drop: float) -> dict[str, Any]:
        top1 = {"top1": 0.8 - drop, **share}
        return {"name": name, "group": group, "bar": "", "top1": top1, "program_digest": digest,
                "change": {"difference": -drop, **difference}}  # fmt: skip

    rows = [
        row("default", "calibrated", "b" * 64, 0.002),
        row("QAT fused", "trained", "e" * 64, 0.001),
        row("another tool", "other", "", 0.004),
        {"name": "entropy", "group": "calibrated", "not_measured": "it was stopped"},
    ]
    network = {
        "name": NAMES[0], "width": 0.5, "size": 64, "file": "0_5x.safetensors", "sha256": "a" * 64,
        "test": {"data": "clothes", "split": "test", "pictures": 1000, "sha256": "d" * 64},
        "fp32": {"top1": 0.8, **share}, "rows": rows,
    }  # fmt: skip
    return {"format": "repghost-accuracy", "version": 2, "networks": [{**network, **changes}]}


def test_evidence_of_accuracy_joins_the_run_of_the_same_weights(tmp_path: Path) -> None:
    folder = write_runs(tmp_path / "build", run_report(NAMES[0], 0.002, 1.5))
    path = tmp_path / "accuracy.json"
    path.write_bytes(canonical_json(accuracy_document()))
    summary = collect([*find_files([folder]), path])
    (network,) = summary.networks
    assert [(method.name, method.kind) for method in network.methods] == [("default", "ptq"), ("QAT fused", "qat")]
    assert any(missing.what.startswith("entropy of") for missing in summary.missing)
    row = next(row for row in all_tables(summary)[0].rows if row[0].text == "0.5x")
    assert [cell.text for cell in row[6:]] == [
        "80.00", "79.80", "-0.20 (-0.40 to +0.10)", "79.90", "-0.10 (-0.40 to +0.10)",
    ]  # fmt: skip


def test_evidence_that_disagrees_with_the_run_is_named_and_stays_apart(tmp_path: Path) -> None:
    folder = write_runs(tmp_path / "build", run_report(NAMES[0], 0.002, 1.5))
    path = tmp_path / "accuracy.json"
    path.write_bytes(canonical_json(accuracy_document(fp32={"top1": 0.81, "low": 0.7, "high": 0.9, "pictures": 1000})))
    summary = collect([*find_files([folder]), path])
    assert len(summary.networks) == 2
    assert any("different fp32 accuracies" in sentence for sentence in find_conflicts(summary))
    path.write_bytes(canonical_json({**accuracy_document(), "version": 7}))
    with pytest.raises(IntegrityError, match="version 7, not 2"):
        collect([path])


def test_other_networks_of_the_same_compiler_stand_in_the_figures(tmp_path: Path) -> None:
    host = {"measured": True, "median_ms": 1.2, "min_ms": 1.1, "p90_ms": 1.4, "threads": 1, "variant": "avx2"}
    cycles = {"cortex-a76": 5e6, "cortex-a55": 1e7}
    count = {"cpu": "cortex-a76", "variant": "dot", "instructions": 9_000_000, "modelled_cycles": cycles}
    names = ("ghostnet_050", "ghostnet_100", "mobilenetv3_large_100")
    networks = [
        {"name": name, "builds": [{"precision": precision, "host": host, "arm64": [count]}]}
        for name in names
        for precision in ("int8", "fp32")
    ]
    document = {
        "format": "repghost-baselines", "version": 1, "size": 224, "emulator": "qemu",
        "machine": {"core": "Test Core", "cores": 2}, "networks": networks,
    }  # fmt: skip
    path = tmp_path / "baselines.json"
    path.write_bytes(canonical_json(document))
    summary = collect([path])
    assert {(s.machine, s.kind) for s in summary.speeds} == {
        ("Test Core (2 cores)", "measured"),
        ("emulated cortex-a76", "emulated"),
        ("Cortex-A76, Neoverse N1 model", "modelled"),
        ("Cortex-A55 model", "modelled"),
    }
    figures = all_plots(summary)
    (svg,) = figures.values()
    assert "latency" in next(iter(figures)) and "GhostNet, int8" in svg and "MobileNetV3, int8" in svg
    path.write_bytes(canonical_json({**document, "version": 3}))
    with pytest.raises(IntegrityError, match="version 3, not 1"):
        collect([path])


def test_a_figure_moves_int8_by_the_change_of_the_same_network_and_task_alone() -> None:
    share = Share(0.8, 0.7, 0.9, 300)
    method = Method("default", "ptq", share, Change(-0.013, -0.03, 0.006, 286), "")
    measured = Network("mobilenet_v2", 224, "file", "", "pictures", "", share, (method,), "", "accuracy.json", 1000)
    others = (replace(measured, classes=10), replace(measured, classes=None), replace(measured, size=160))
    speed = Speed(model="mobilenetv2_100", size=224, precision="int8", machine="core", where="host", variant="avx2",
                  kind="measured", value=1.0, unit="ms", weights="random", source="")  # fmt: skip
    empty = Summary("2026-01-01", "core", None, {}, (), others, (), (), (), (), ())
    assert int8_changes(empty, 224) == {}
    changes = int8_changes(replace(empty, networks=(measured, *others)), 224)
    assert changes == {"mobilenetv2_100": method.change}
    speeds = [speed, replace(speed, precision="fp32")]
    plain, moved = (draw_pareto(speeds, "ms", known) for known in ({}, changes))
    assert "measured change" in moved and "measured change" not in plain
    assert draw_pareto(speeds[1:], "ms", changes) == draw_pareto(speeds[1:], "ms", {})


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"observer": "percentile"}, "percentile"),
        ({"observer": "percentile", "ranges_by_answers": True}, "ranges by answers"),
        ({"observer": "percentile", "algorithm": "qat"}, "qat"),
        ({}, "as given"),
    ],
)
def test_a_run_is_named_by_how_it_chose_its_scales(config: dict[str, Any], name: str, tmp_path: Path) -> None:
    report = run_report(NAMES[0], 0.002, 1.5)
    report["quantization"]["config"] = config
    (network,) = collect(find_files([write_runs(tmp_path / "build", report)])).networks
    assert [method.name for method in network.methods] == [name]


def test_what_does_not_exist_is_told_from_what_is_empty(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "absent", "does not exist"), (tmp_path, "no results in")):
        done = CliRunner().invoke(cli, ["report", str(path)])
        assert done.exit_code == 2 and words in done.output and "repghost compile --target arm64" in done.output


@pytest.mark.parametrize("text", ['{"format": "repghost-report", "version": 1}', '{"format": "repghost-report"}', "{"])
def test_a_damaged_report_of_one_run_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    done = CliRunner().invoke(cli, ["report", str(tmp_path)])
    assert done.exit_code == 6 and str(tmp_path / "report.json") in done.output


def test_what_bench_measures_beside_other_runtimes_is_read(tmp_path: Path) -> None:
    times = {"min_ms": 1.8, "median_ms": 1.9, "p90_ms": 2.1, "variant": "vnni", "version": ""}
    ours = {"ours": True, "runtime": "repghost", "precision": "int8", "made_by": "this bundle", **times}
    peer = {**ours, "ours": False, "runtime": "litert", "made_by": "its quantizer", "version": "2.3.0",
            "agreement": {"pictures": 8, "with_float": 7}}  # fmt: skip
    document = {
        "format": "repghost-bench", "version": 1, "machine": {"core": "Test Core", "cores": 2},
        "network": {"name": "mobilenet_v2", "size": 224, "weights": {"kind": "file"}},
        "runs": [{"threads": 1, "results": [ours, peer]}],
    }  # fmt: skip
    path = tmp_path / "latency.json"
    path.write_bytes(canonical_json(document))
    found = [(s.model, s.runtime, s.value, s.low, s.high, s.agreement) for s in collect([path]).speeds]
    assert found == [
        ("mobilenet_v2", "repghost", 1.9, 1.8, 2.1, None),
        ("mobilenet_v2", "litert", 1.9, 1.8, 2.1, Agreement(7, 8)),
    ]
    path.write_bytes(canonical_json({**document, "version": 2}))
    with pytest.raises(IntegrityError, match="version 2, not 1"):
        collect([path])
