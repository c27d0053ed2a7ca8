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
    decided,
    duration,
    effect,
    fence,
    headline_of,
    labelled,
    large,
    md,
    measured,
    ours,
    path_share,
    score,
    short,
    signed,
    size,
    speaks,
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
        (score({"mean": 0.9, "low": 0.4, "high": 1.0}, "accuracy"), "0.900 [0.400, 1.000]"),
        (effect({"mean": 0.1, "low": -9, "high": 9, "n": 2, "num_comparisons": 1}), "+0.1000, n = 2"),
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
        '<tr><td data-label="A b">1</td><td data-label="C" class=\'n\'>2</td></tr>'
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


def weakest(effect, low, statement, value="", count=6):
    return {"our_value": value or f"{effect:+.3f} at least", "effect": effect, "low": low, "statement": statement,
            "test": f"paired t, widened for 27, the weakest of {count}"}  # fmt: skip


TOLD = "gain in bits a byte: a over delta_net +0.281 [+0.138, +0.423], a over mamba2 -0.077 [-0.124, -0.031]"
ON_RESET = "gain in bits a byte (text) or accuracy (reset): a over none on reset -0.077 [-0.124, -0.031]"


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (weakest(-0.0774, -0.124, TOLD), "0.077 bits a byte behind mamba2 (weakest of 6 comparisons)"),
        (weakest(0.2814, 0.1378, TOLD), "0.281 bits a byte ahead of delta_net (weakest of 6 comparisons)"),
        (weakest(-0.0774, -0.124, ON_RESET, count=2), "0.077 behind none (weakest of 2 comparisons)"),
        (weakest(-0.0002, -0.0003, "gain in bits a byte: a over b, no temperature -0.000 [-0.000, -0.000]", count=2),
         "0.0002 bits a byte behind b, no temperature (weakest of 2 comparisons)"),
        (weakest(0.031, -0.025, "reset: a over delta_net +0.031 [-0.025, +0.087]", count=2),
         "0.031 of accuracy ahead of delta_net (weakest of 2 comparisons)"),
        (weakest(0.197, 0.09, "gain over DeltaNet at equal size: a +0.197 [+0.090, +0.305]"),
         "0.197 ahead (weakest of 6 comparisons)"),
        (weakest(0.5, 0.4, "", "101 of 106"), "101 of 106"),
    ],
)  # fmt: skip
def test_the_weakest_of_several_gains_is_said_in_words(verdict, words):
    assert ours(verdict) == words


def test_which_tier_may_say_what():
    assert speaks({"weakest_tier": "quick", "full_tier": "paper"}) == (
        "The quick tier can say something; only the paper's own size can confirm or refute it"
    )
    assert "only the full tier" in speaks({"weakest_tier": "quick", "full_tier": "full"})
    assert speaks({"weakest_tier": "smoke", "full_tier": "smoke"}) == "The smoke tier can confirm or refute it"


def test_what_chose_the_winner_is_no_test_of_it():
    chosen = {"decision": "cannot tell", "fresh": False}
    assert decided(chosen) == "not a test: these seeds chose the winner"
    assert decided(chosen | {"fresh": True}) == "cannot tell" and decided(chosen | {"decision": "worse"}) == "worse"


def test_the_comparison_of_a_verdicts_own_effect_is_read_from_its_statement():
    found = headline_of(weakest(-0.0774, -0.124, TOLD))
    assert (found.ahead, found.behind, found.task) == ("a", "mamba2", "text")
    found = headline_of(weakest(0.031, -0.025, "reset: mamba2 over delta_net +0.031 [-0.025, +0.087]"))
    assert (found.ahead, found.behind, found.task) == ("mamba2", "delta_net", "reset")
    said = "sum3, picked from 158, against mamba2, bits a byte: gain -0.0004799 [-0.02276, +0.0218]"
    found = headline_of(weakest(-0.0004799, -0.02276, said, "-0.000 bits a byte"))
    assert (found.ahead, found.behind, found.task) == ("sum3", "mamba2", "text")
    found = headline_of(weakest(-0.0004799, -0.02276, f"mixed:zipf: {said}", "-0.000 bits a byte that is asked for"))
    assert (found.ahead, found.behind, found.task) == ("sum3", "mamba2", "mixed:zipf")
    assert headline_of(weakest(0.197, 0.09, "gain over DeltaNet at equal size: a +0.197 [+0.090, +0.305]")) is None


def test_a_claims_m_value_is_a_share_of_so_many_or_is_said_not_to_be_there():
    trained = {"evidence_path": "run 12ab", "effect": 0.1}
    assert path_share({"verdict": trained, "analyses": {"share": 0.955, "paths": 352}}) == "0.95 of 352"
    assert path_share({"verdict": trained}) == "not computed", "a report of the format without an extract"
    assert path_share({"verdict": trained | {"evidence_path": "Table 1"}}) == "–"
