"""What a reply is taken for: reasoning is none of it, wrapping does not matter, what is clear is read and what is not
goes back with its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.core.proposal import Failure, Proposal
from asiarc.llm.reading import ReadingError, answer_in, fenced, read_model
from asiarc.models.baselines import PANEL_NAMES, baseline_source
from asiarc.researcher import briefing, section
from asiarc.researcher.ideas import Edit, apply_edits, read_idea
from asiarc.researcher.novelty import Judgement

CODE = '"""A running mean a head, which costs next to nothing."""\n\nimport torch\n\n\nclass Mixer:\n    scale = 2\n'
DRAFT = CODE.replace("2", "1")
F = "```"


def reply(source=CODE, **changes):
    return json.dumps({"name": "n", "motivation": "It costs next to nothing, and may do.", "source": source} | changes)


def read(text, parent="", tasks=("text", "overwrite")):
    return read_idea(text, parent=parent, tasks=tasks)


def block(code=CODE, fence=F, language="python"):
    return f"{fence}{language}\n{code}{fence}\n"


# --- reasoning --------------------------------------------------------------------------------------------------------

MARKS = [
    ("<think>", "</think>"),
    ("<think>\n", "\n</think>\n\n"),
    ("<THINK>", "</THINK>"),
    ('<think duration="3s">', "</think >"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<think>the mark <think> begins it, ", "</think>"),
    ("<think>a<think>b</think>", "</think>"),
    ("<think>a</think><think>", "</think>"),
    ("", "\nso much for that.</think>"),
    ("", "\n</think>\n"),
]


@pytest.mark.parametrize(("begins", "ends"), MARKS)
@pytest.mark.parametrize(
    "draft", [reply(DRAFT), block(DRAFT), f"{F}python\n{DRAFT}", DRAFT], ids=["json", "fence", "open", "bare"]
)
@pytest.mark.parametrize("final", [reply(), block(), f"{F}json\n{reply()}\n{F}"], ids=["json", "fence", "fenced json"])
def test_what_stands_in_reasoning_is_no_answer(begins, ends, draft, final):
    assert read(f"{begins}Perhaps this?\n{draft}{ends}{final}").source == CODE


@pytest.mark.parametrize("text", [f"<think>{reply()}", f"<think>\n{block()}", "<think>I wonder</think>", "[THINK] no"])
def test_reasoning_without_an_answer_goes_back_as_that(text):
    with pytest.raises(ReadingError) as error:
        read(text)
    assert error.value.fault == "only reasoning"


@pytest.mark.parametrize(
    "text",
    [
        reply(motivation="It takes <think> and </think> out of what is said."),
        reply(CODE + "# </think>\n"),
        block(CODE + "# a lone </think>\n"),
        CODE + 'MARKS = ("<think>", "</think>")\n',
        f"The mark `</think>` is meant.\n{block()}",
        f"{reply()}\n</think>",
        f"{reply()}\n<think>was that good?",
        f"<think>x</think>{reply()}</think>",
        f"<think/>{reply()}",
    ],
)
def test_marks_in_an_answer_are_content(text):
    assert "scale = 2" in read(text).source


def test_text_without_marks_is_left_alone():
    assert answer_in("a\r\nb\rc <b>bold</b>") == "a\nb\nc <b>bold</b>"


# --- fences and forms -------------------------------------------------------------------------------------------------

IN_DOCSTRING = CODE.replace("nothing.", f"nothing.\n\n{F}text\nclass Mixer is m_t = m_(t-1) + x_t\n{F}\n")
INDENTED = IN_DOCSTRING.replace(F, f"    {F}")
TILDES = IN_DOCSTRING.replace(F, "~~~")
SINGLE = IN_DOCSTRING.replace('"""', "'''")


@pytest.mark.parametrize("code", [CODE, IN_DOCSTRING, INDENTED, TILDES, SINGLE], ids=["plain", "fence", "in", "~", "'"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda code: code,
        reply,
        block,
        lambda code: reply(block(code)),
        lambda code: block(code, "~~~"),
        lambda code: block(code, "`````"),
        lambda code: block(code, language="py title='mixer.py'"),
        lambda code: block(code, language=""),
        lambda code: "- Here:\n  " + block(code).replace("\n", "\n  "),
        lambda code: f"{F}python\n{code}",
        lambda code: f"{F}python\n{code.rstrip()}{F}",
        lambda code: f"{F}markdown\n# A mixer\n{block(code)}{F}",
        lambda code: f"<answer>\n{code}\n</answer>",
        lambda code: f"Here it is.\n\n{block(code)}\nI hope that it helps.",
        lambda code: f"Here it is.\n\n{code}\nI hope that it helps you.",
        lambda code: "\ufeff" + reply(code),
        lambda code: "\ufeff" + code,
        lambda code: block(code).replace("\n", "\r\n"),
        lambda code: block(code).replace("\n", "\r"),
        lambda code: reply(code.replace("\n", "\r\n")),
        lambda code: block("x = 1;\n") + block(code),
        lambda code: block(code) + block("class Mixer2:\n    pass\n"),
        lambda code: block("class Mixer2:\n    pass\n") + block(code),
        lambda code: block(code) + block(code),
        lambda code: f"[{reply(code)}]",
        lambda code: reply(code) + "\n" + reply(code),
        lambda code: f"{F}json\n{reply('')}\n{F}\n{block(code)}",
        lambda code: f"{F}json\n{reply(None)}\n{F}\n{block(code)}",
        lambda code: f"{F}json\n{reply('see below')}\n{F}\n{block(code)}",
        lambda code: f"{reply('the file below')}\n{block(code)}",
        lambda code: f"{F}json\n{reply(code)}\n{F}\n{block(code)}",
        lambda code: f"{F}json\n{reply('')[:-1]},}}\n{F}\n{block(code)}",
    ],
    ids=range(32),
)
def test_the_file_is_found_in_every_form(wrap, code):
    assert read(wrap(code)).source == code


@pytest.mark.parametrize("name", PANEL_NAMES)
@pytest.mark.parametrize("wrap", [lambda code: code, block, reply])
def test_a_baseline_is_read_as_what_it_is(name, wrap):
    assert read(wrap(baseline_source(name))).source.strip() == baseline_source(name).strip()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (block("class Mixer2:\n    pass\n"), "no code"),
        (reply("class Mixers:\n    pass\n"), "no code"),
        (block() + block(DRAFT), "ambiguous code"),
        (f"{reply(DRAFT)}\n{reply()}", "ambiguous JSON"),
        (f"{F}json\n{reply(DRAFT)}\n{F}\n{F}json\n{reply()}\n{F}", "ambiguous JSON"),
        (CODE + "x = 1\n" * 60_000, "code too long"),
    ],
)
def test_two_answers_are_none(text, fault):
    with pytest.raises(ReadingError) as error:
        read(text)
    assert error.value.fault == fault


def test_code_that_is_no_python_goes_to_the_gates_with_its_line():
    broken = CODE + "def f(:\n    x = {}\n"
    assert read(block(broken)).source == read(broken).source == read(reply(broken)).source == broken


# --- JSON that breaks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (reply()[:-1] + ",}", rf"line 1, column {len(reply()) + 1}: .*between .*'}}'"),
        (reply()[:-1], r"line 1, column \d+: Expecting ',' delimiter"),
        (
            reply(motivation="the @ of it, for twenty characters").replace("@", "\\alpha"),
            r"column \d+: Invalid \\escape.*alpha",
        ),
        (
            json.dumps(json.loads(reply(predicted=[{"task": "text"}])), indent=1).replace(": [", ":: ["),
            r"line 5, column 14",
        ),
        (f"Here:\n{F}json\n{reply()[:-1]},}}\n{F}", r"line 3, column"),
        (reply().replace("\\n", "\n")[:-1] + ",}", r"line 8, column"),
        (reply().replace('"name"', "name"), "line 1, column 2"),
        ('{"name": ' + "[" * 5000, "RecursionError"),
        ('{"name": ' + "1" * 5000 + "}", "digits"),
        (reply().replace('"n"', '"n" "m"'), "Expecting ','"),
    ],
)
def test_json_that_breaks_goes_back_with_its_place_and_never_to_the_gates(text, place):
    with pytest.raises(ReadingError, match=place) as error:
        read(text)
    assert error.value.fault == "invalid JSON" and len(str(error.value)) < 400


# --- what is optional -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, []),
        ({"task": "text"}, []),
        ("text better", []),
        ([None, 3], []),
        ([{"task": "text", "direction": "better", "size": -0.03}], [("text", "better", 0.03)]),
        ([{"task": "text", "direction": "better", "size": "much"}], [("text", "better", 0.0)]),
        ([{"task": "text", "direction": "better", "size": 1e999}], [("text", "better", 0.0)]),
        ([{"task": "text", "direction": "better", "size": None}], [("text", "better", 0.0)]),
        (
            [{"task": "text", "direction": "up"}, {"task": "overwrite", "direction": "worse"}],
            [("overwrite", "worse", 0.0)],
        ),
        ([{"direction": "same"}, {"task": "txt", "direction": "same"}, {"task": None, "direction": "same"}], []),
        ([[[[]]]] * 50, []),
    ],
)
def test_a_malformed_prediction_costs_itself_alone(given, kept):
    idea = read(reply(predicted=given))
    assert idea.source == CODE and [(p.task, p.direction, p.size) for p in idea.predicted] == kept


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "text", "better", "original", "x" * 300]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["task", "direction", "size", "element", "kind", "reference"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(VALUES, VALUES)
@settings(max_examples=100)
def test_whatever_stands_in_optional_fields_the_file_is_read(predicted, origins):
    assert read(reply(predicted=predicted, origins=origins)).source == CODE


def test_origins_and_long_texts_cost_themselves_alone():
    long, odd = {"element": "x" * 250, "kind": "original"}, {"element": "y", "kind": "paper", "reference": None}
    null = {"element": "z", "kind": "experience", "reference": None}
    idea = read(reply(origins=[long, odd, null], motivation="because " * 900, edits=None))
    assert [(o.element, o.reference) for o in idea.origins] == [("x" * 200, ""), ("z", "")]
    assert len(idea.motivation) == 4000 and idea.source == CODE


def test_control_characters_and_halves_of_surrogates_are_not_kept():
    idea = read(reply(motivation="It says \x1b[2J and \ud800, which\u00a0nobody prints."))
    assert "\x1b" not in idea.motivation and idea.motivation.encode() and "which nobody prints" in idea.motivation


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None},
        {"motivation": None},
        {"motivation": 3},
        {"edits": [{"search": "a"}], "source": ""},
        {"edits": [3], "source": ""},
        {"source": 5},
    ],
)
def test_what_counts_is_asked_for_again(changes):
    with pytest.raises(ReadingError) as error:
        read(reply(**changes))
    assert error.value.fault == "wrong schema"


def test_other_roles_read_by_the_same_rules():
    said = '<think>{"duplicate": true}</think>\n```json\n{"duplicate": false, "number": 99, "reason": null}\n```'
    assert read_model(said, Judgement) == Judgement(duplicate=False)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot assist with this request.", True),
        ("Sorry, I can\u2019t do that.", True),
        ("As an AI language model, I cannot comply.", True),
        ("<think>no</think>Unfortunately, I am unable to write this.", True),
        ("I apologize, but I won't write this code.", True),
        ("**I'm not able to help with this.**", True),
        ("I'm sorry for any confusion. Here it is, in full:", False),
        ("Certainly! Here is my idea.", False),
        ("I can help with that.", False),
        ("I can't wait to show you this.", False),
        ("I cannot say more than this: " + "it is good. " * 60, False),
        ("", False),
    ],
)
def test_a_plain_refusal_is_told_from_words(text, refuses):
    with pytest.raises(ReadingError) as error:
        read(text)
    assert (error.value.fault == "refusal") == refuses
    assert read(f"{text}\n{block()}" if "think" not in text else block()).source == CODE


# --- edits ------------------------------------------------------------------------------------------------------------

FILE = "class Mixer:\n    def f(self, x):\n        y = g(x,  1)\n\n        return y\n"


@pytest.mark.parametrize(
    ("search", "replace", "made"),
    [
        ("y = g(x, 1)", "y = h(x)", "        y = h(x)\n"),
        ("y = g(x, 1)\n\nreturn y", "return g(x)", "        return g(x)\n"),
        ("  y = g(x, 1)   ", "  if x:\n      y = 0", "        if x:\n            y = 0\n"),
        ("\ty = g(x,  1)", "\ty = h(x)", "        y = h(x)\n"),
        ("  def f(self, x):\n    y = g(x, 1)", "  def f(self, x):\n    y = 3", "    def f(self, x):\n        y = 3\n"),
        ("y = g(x,  1)\r\n", "y = 2\r\n", "        y = 2\n"),
        ("        y = g(x,  1)\n    \n        return y", "        return 1", "        return 1\n"),
        ("def f(self,  x):\n", "", "class Mixer:\n        y"),
    ],
)
def test_an_edit_that_drifted_in_white_space_is_made(search, replace, made):
    assert made in apply_edits(FILE, [Edit(search=search, replace=replace)])


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ("y = g(x)", "'y = g\\(x\\)' does not stand.*nearest line is 3"),
        ("def f(self, x):\n    z = 1", "line '    z = 1' does not stand"),
        ("y = g(x, 1)\nreturn y", "not once and one after the other"),
        ("def f(self, x):\n         y = g(x, 1)\nreturn y", "one after the other"),
        (" \n ", "one after the other"),
        ("q" * 5000, "no line is like it"),
    ],
)
def test_an_edit_that_says_something_else_is_not(search, words):
    with pytest.raises(ReadingError, match=words) as error:
        apply_edits(FILE, [Edit(search=search, replace="")])
    assert len(str(error.value)) < 700


def test_what_stands_twice_but_for_white_space_is_no_place():
    with pytest.raises(ReadingError, match="not once"):
        apply_edits("a = 1\nb = 2\n  a  = 1\n", [Edit(search="a =  1", replace="")])


@given(st.lists(st.sampled_from(["a = 1", "  b = 2", "    c = 3", ""]), min_size=1, max_size=8), st.integers(0, 7))
def test_an_edit_is_made_where_it_stood_and_nowhere_else(lines, at):
    """Whatever the drift: the other lines are what they were."""
    file = "\n".join([*lines[:at], "    here = 0", *lines[at:]])
    made = apply_edits(file, [Edit(search="here  =  0", replace="there = 1")])
    assert made == file.replace("here = 0", "there = 1")


# --- any text ---------------------------------------------------------------------------------------------------------

PIECES = [
    "<think>",
    "</think>",
    F,
    f"{F}json\n",
    "~~~\n",
    "{",
    "}",
    '{"name": 1}',
    '"""',
    "'''",
    "class Mixer:\n",
    "\r",
    "\\",
    "    pass\n",
    reply(),
    CODE,
    "[",
    "]",
    "\x00",
    "\ud800",
    "\ufeff",
    "I can't",
    ",",
    '"',
    "\n",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12))
@settings(max_examples=150)
def test_any_text_is_read_or_refused(pieces):
    text = "".join(pieces)
    try:
        assert "class Mixer" in read(text).source
    except ReadingError as error:
        assert error.fault and str(error)
    assert all(0 <= b.start <= b.end <= len(text) for b in fenced(text))


@pytest.mark.parametrize(
    "piece",
    [
        "{\n",
        " ",
        f"{F}x\n",
        f"{F}\n'''\n{F}\n\"\"\"\n",
        "<think>",
        "</think>",
        "<think ",
        "{}\n",
        "- ",
        '"""\n',
        "[",
        '{"a":',
        "import x\n",
        "class Mixer:\n",
        "sorry ",
        "`",
        "\\",
        "x",
    ],
)
def test_a_long_text_is_read_to_its_end(piece):
    """A reader that goes over the rest again at every turn would not get there."""
    for text in (
        piece * 40_000,
        CODE[:9] + piece * 40_000 + "}",
        f'"""\nPrediction: {piece * 20_000}\n"""\nclass Mixer: 0',
    ):
        try:
            read(text)
        except ReadingError as error:
            assert len(str(error)) < 1000


# --- what a revision is told ------------------------------------------------------------------------------------------


def test_a_revision_is_told_the_operators_and_the_contract_where_there_is_room():
    proposal = Proposal(
        source=CODE, name="n", motivation="why", origins=(), parents=(), genome=None, predicted="nothing"
    )
    failure = Failure(address="a" * 16, gate="state", reason="it differs\nsmallest case: segments=[1, 1]")
    for tokens, room in ((12_000, True), (900, False)):
        system, user = briefing.revise(proposal, failure, 3, ("text",), tokens=tokens)
        assert "__init__(self, d_model" in system.text and "smallest case: segments=[1, 1]" in user.text
        assert CODE.strip() in user.text and ("gated_delta_rule(q[B,T,H,K], k" in user.text) == room
        assert sum(len(m.text.encode()) for m in (system, user)) <= section.BYTES_PER_TOKEN * max(tokens, 1200)
