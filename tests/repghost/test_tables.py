"""A table as Markdown and as text."""

from __future__ import annotations

from repghost.tables import Cell, Column, make_table, markdown_lines, text_lines

TABLE = make_table(("name", "#time | ms", ""), [("a|b", Cell("1.0", 1.0), "x"), ("c", "20.5", "")])


def test_heads_say_title_unit_and_alignment() -> None:
    assert TABLE.columns == (Column("name"), Column("time", "ms", numeric=True), Column(""))
    assert TABLE.rows[0] == (Cell("a|b"), Cell("1.0", 1.0), Cell("x"))


def test_markdown_escapes_what_would_end_a_cell() -> None:
    assert markdown_lines(TABLE) == [
        "| name | time (ms) | |",
        "|---|---:|---|",
        "| a\\|b | 1.0 | x |",
        "| c | 20.5 |  |",
    ]
    titled = make_table(("a",), [("b",)], title="T", about="Of it.")
    assert markdown_lines(titled)[:5] == ["## T", "", "Of it.", "", "| a |"]


def test_numbers_stand_on_the_right_of_text_columns() -> None:
    assert text_lines(TABLE) == ["name  time (ms)", "a|b         1.0  x", "c          20.5"]


def test_a_name_from_outside_stays_in_its_cell() -> None:
    foreign = make_table(("name", "#count"), [("a\nb\x1b[31m", "1"), ("c", "2")])
    assert text_lines(foreign) == ["name          count", "a\\nb\\x1b[31m      1", "c                 2"]
    assert markdown_lines(foreign)[2] == "| a\\nb\\x1b[31m | 1 |"
