"""A candidate as text: what its address sees, what loading refuses, whose lines a traceback names."""

from __future__ import annotations

import ast
import traceback

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asiarc.core.candidate import content_address, load_mixer, motivation, parse, read_source
from asiarc.core.errors import CandidateError
from asiarc.models.baselines import PANEL_NAMES, baseline_source

SOURCE = '''"""Why it should work."""
import torch
from torch import nn


class Mixer(nn.Module):
    """A leaky mean."""

    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__()
        self.proj = nn.Linear(d_model, d_model)  # one matrix

    def forward(self, x, state=None):
        return self.proj(x) * 0.5, state
'''


def stripped_of_prose(source):
    """The same program printed by `ast.unparse`: no comment, no blank line, other quotes and brackets."""
    return ast.unparse(ast.parse(source))


@pytest.mark.parametrize("name", PANEL_NAMES)
def test_formatting_and_comments_do_not_move_the_address(name):
    source = baseline_source(name)
    printed = stripped_of_prose(source)
    assert printed != source
    assert content_address(printed) == content_address(source)


def test_docstrings_do_not_move_the_address():
    expected = content_address(SOURCE)
    assert content_address(SOURCE.replace("Why it should work.", "Another reason.")) == expected
    assert content_address(SOURCE.replace('"""Why it should work."""\n', "")) == expected
    assert content_address(SOURCE.replace('    """A leaky mean."""\n', "")) == expected
    assert content_address("# coding: utf-8\n\n" + SOURCE.replace("\n", "\n\n")) == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.25"),
        ("* 0.5", "+ 0.5"),
        ("self.proj(x)", "self.proj(x + 0)"),
        ("nn.Linear(d_model, d_model)", "nn.Linear(d_model, d_model, bias=False)"),
        ("state=None", "state=0"),
        ("class Mixer(nn.Module)", "class Mixer(nn.Sequential)"),
        ("import torch\n", "import torch\nimport math\n"),
        ("return self.proj(x) * 0.5, state", "'a string that is no docstring is one'\n        return x, state"),
    ],
)
def test_code_moves_the_address(old, new):
    changed = SOURCE.replace(old, new)
    assert changed != SOURCE
    assert content_address(changed) != content_address(SOURCE)


def test_a_string_after_the_first_statement_is_code():
    head, tail = SOURCE.split("        return")
    assert content_address(f"{head}        x = 'a'\n        return{tail}") != content_address(
        f"{head}        x = 'b'\n        return{tail}"
    )


def test_only_strings_are_docstrings():
    assert content_address("class A: 1") != content_address("class A: 2")


@given(st.text(max_size=40))
def test_any_text_has_an_address_or_is_refused(text):
    try:
        address = content_address(text)
    except CandidateError:
        return
    assert len(address) == 16
    assert int(address, 16) >= 0


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = (1,\ny = 2", "line 1"),
        ("x = 1\n  y = 2", "line 2"),
        ("x = '\x00'", "null"),
        ("x = '\ud800'", "surrogates"),
        ("x = " + "-" * 100_000 + "1", "nested too deeply"),
        ("x = " + "+".join("1" * 3000), "nested too deeply"),
        ("x = " + "+".join("1" * 2000), "nested too deeply"),
    ],
    ids=["open bracket", "indent", "NUL", "surrogate", "signs", "long sum", "sum that only parses"],
)
def test_what_is_not_python_is_refused_in_words(source, says):
    with pytest.raises(CandidateError, match=says):
        content_address(source)


def test_motivation_is_the_docstring():
    assert motivation(SOURCE) == "Why it should work."
    assert motivation("x = 1") == ""
    assert isinstance(parse(SOURCE), ast.Module)


@pytest.mark.parametrize(
    "source",
    ["", "Mixer = 1", "class Mixer: ...", "def Mixer(d_model, num_heads): ...", SOURCE.replace("Mixer", "Mixr")],
)
def test_a_file_without_a_mixer_is_refused(source):
    with pytest.raises(CandidateError, match="no class Mixer"):
        load_mixer(source)


def test_what_the_source_raises_passes_through():
    with pytest.raises(ZeroDivisionError):
        load_mixer("1 / 0\n" + SOURCE)


def test_loading_twice_gives_two_classes():
    first, second = load_mixer(SOURCE), load_mixer(SOURCE)
    assert first is not second
    assert first.__module__ == f"candidate_{content_address(SOURCE)}"


def test_a_traceback_shows_the_line_of_the_candidate():
    source = SOURCE.replace("self.proj(x) * 0.5", "self.proj(x) * missing_name")
    mixer = load_mixer(source)(4, 1)
    with pytest.raises(NameError) as caught:
        mixer(torch.zeros(1, 2, 4))
    shown = "".join(traceback.format_exception(caught.value))
    line = source.splitlines().index("        return self.proj(x) * missing_name, state") + 1
    assert f'File "<candidate_{content_address(source)}>", line {line}, in forward' in shown
    assert "return self.proj(x) * missing_name, state" in shown


@pytest.mark.parametrize(
    "start", [b"", b"\xef\xbb\xbf", b"# -*- coding: latin-1 -*-\n"], ids=["plain", "mark", "coding"]
)
def test_a_file_is_read_as_python_reads_it(tmp_path, start):
    path = tmp_path / "candidate.py"
    coding = "latin-1" if b"latin" in start else "utf-8"
    path.write_bytes(start + SOURCE.replace("Why", "Grüße: why").encode(coding))
    assert "Grüße" in motivation(read_source(path))
    assert content_address(read_source(path)) == content_address(SOURCE) == content_address("\ufeff" + SOURCE)


@pytest.mark.parametrize("content", [b"# coding: nothing-such\n", b"x = '\xff'\n"])
def test_a_file_that_is_no_text_says_so_in_one_line(tmp_path, content):
    (tmp_path / "candidate.py").write_bytes(content)
    with pytest.raises(CandidateError, match="save it as UTF-8") as caught:
        read_source(tmp_path / "candidate.py")
    assert "\n" not in str(caught.value)
