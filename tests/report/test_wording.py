"""Numbers as they are shown, and Markdown that no text can break out of."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from asiarc.report.wording import (
    command,
    count,
    duration,
    effect,
    fence,
    labelled,
    large,
    md,
    measured,
    score,
    short,
    signed,
    size,
)

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")


@given(st.text(max_size=60))
def test_escaped_text_is_one_table_cell_of_plain_text(text):
    tokens = MARKDOWN.parse(f"| a | b |\n|---|---|\n| {md(text)} | end |\n")
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4 and cells[3].content == "end"
    kinds = {child.type for child in cells[2].children or []}
    assert kinds <= {"text", "text_special"}
    shown = "".join(child.content for child in cells[2].children or [])
    assert shown == " ".join("".join(c if c.isprintable() else " " for c in text).split())


@given(st.text(alphabet="`a\n ~", max_size=40))
def test_a_fenced_source_is_one_block(source):
    tokens = MARKDOWN.parse(f"{fence(source)}\n\nafter\n")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert tokens[0].content.rstrip("\n") == source.rstrip()


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (signed(0.01234), "+0.0123"),
        (signed(-0.5), "-0.5000"),
        (short(0.0123456), "0.0123"),
        (short("35 of 101"), "35 of 101"),
        (count(1234567), "1,234,567"),
        (large(950), "950"),
        (large(1234), "1.23 k"),
        (large(2_000_000), "2 M"),
        (size(8192), "8 KiB"),
        (size(100), "100 B"),
        (size(1_500_000), "1.43 MiB"),
        (duration(4.26), "4.3 s"),
        (duration(245), "4 min 05 s"),
        (duration(12_000), "3 h 20 min"),
        (duration(200_000), "2 d 7 h"),
        (duration(59.99), "60.0 s"),
        (effect({"mean": 0.1, "low": 0.05, "high": 0.15, "n": 5}), "+0.1000 [+0.0500, +0.1500], n = 5"),
        (score({"mean": 2.3, "low": 2.2, "high": 2.4}, "bits_per_byte"), "2.3000 [2.2000, 2.4000]"),
        (score({"mean": 0.9, "low": 0.4, "high": 1.4}, "accuracy"), "0.900 [0.400, 1.000]"),
        (score({"mean": 0.9, "low": -0.1, "high": 1.4}, "bits_per_byte"), "0.9000 [-0.1000, 1.4000]"),
        (score({"mean": 0.5, "low": None, "high": None}, "accuracy"), "0.500"),
    ],
)
def test_numbers_are_shown_with_sensible_digits(shown, wanted):
    assert shown == wanted


def test_a_missing_number_is_a_dash():
    assert {form(None) for form in (signed, short, count, large, size, duration, effect)} == {"–"}
    assert score({"mean": None}, "accuracy") == "–"


@given(st.text(max_size=40))
def test_a_command_breaks_between_words_and_is_copied_whole(line):
    shown = str(command(line))
    assert html.unescape(shown.replace("<wbr>", "")) == line
    assert "<" not in shown.replace("<wbr>", "")


def test_a_command_may_break_in_a_path():
    assert command("pytest a/claim_b.py::c") == "pytest a/<wbr>claim<wbr>_b.py<wbr>::c"


def test_cells_say_their_column():
    rows = (
        "<thead><tr><th>A <b>b</b></th><th class='n'>C</th></tr></thead>"
        "<tr><td>1</td><td class='n'>2</td></tr><tr><th>x</th><td>3</td></tr>"
    )
    assert labelled(rows).partition("</thead>")[2] == (
        "<tr><td data-label=\"A b\">1</td><td data-label=\"C\" class='n'>2</td></tr>"
        '<tr><th>x</th><td data-label="A b">3</td></tr>'
    )


@pytest.mark.parametrize(("value", "says"), [
    ("+0.406 bits a byte", "[0.352, 0.46], n = 5, paired t"),
    ("98 of 101 pass", "effect 0.406 [0.352, 0.46], n = 5, paired t"),
    ("", "effect 0.406 [0.352, 0.46], n = 5, paired t"),
])  # fmt: skip
def test_a_verdicts_numbers_stand_once(value, says):
    row = {"effect": 0.406, "low": 0.352, "high": 0.46, "n": 5, "test": "paired t", "our_value": value}
    assert measured(row) == says
    bare = {"effect": None, "low": None, "high": None, "n": None, "test": "", "our_value": value}
    assert measured(bare) == ""
    without = "n = 5, paired t" if value else "effect 0.406, n = 5, paired t"
    assert measured({**row, "low": None, "high": None}) == without
