"""Programs in the release's form, one good and others broken in one way each: every fault is found, and no other."""

from __future__ import annotations

import io
import json

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from asiarc.audit import PROPERTIES, helpers, targets
from asiarc.audit.released import examine
from asiarc.audit.table import figure, summary, table, totals
from asiarc.harness.audit_verb import audit

GOOD = """
from __future__ import annotations
import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange
from typing import TYPE_CHECKING, Optional
from fla.layers.utils import get_unpad_data, index_first_axis, pad_input
from fla.modules import RMSNorm, ShortConvolution
from fla.modules.l2norm import l2norm
if TYPE_CHECKING:
    from fla.models.utils import Cache


@torch.compile
def recurrence(q, k, v, beta, S):
    outs = []
    for q_t, k_t, v_t, b_t in zip(q.unbind(1), k.unbind(1), v.unbind(1), beta.unbind(1)):
        error = v_t - (k_t[..., None] * S).sum(-2)
        S = S + k_t[..., None] * (b_t[..., None] * error)[..., None, :]
        outs.append((q_t[..., None] * S).sum(-2))
    return torch.stack(outs, 1), S


class DeltaNet(nn.Module):
    def __init__(self, d_model: Optional[int] = None, hidden_size=1024, num_heads=4, layer_idx=None, **kwargs):
        super().__init__()
        hidden_size = d_model or hidden_size
        self.heads, self.layer_idx = num_heads, layer_idx
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.q_conv1d = ShortConvolution(hidden_size, 4, activation="silu")
        self.k_conv1d = ShortConvolution(hidden_size, 4, activation="silu")
        self.v_conv1d = ShortConvolution(hidden_size, 4, activation="silu")
        self.o_norm = RMSNorm(hidden_size // num_heads, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        # INIT

    def forward(self, hidden_states, attention_mask=None, past_key_values: Optional[Cache] = None, use_cache=False,
                output_attentions=False, **kwargs):
        batch, length, _ = hidden_states.shape
        last = None
        if past_key_values is not None and len(past_key_values) > self.layer_idx:
            last = past_key_values[self.layer_idx]
        convs = last["conv_state"] if last is not None else (None, None, None)
        S = last["recurrent_state"] if last is not None else None
        # MASK
        q, cq = self.q_conv1d(self.q_proj(hidden_states), cache=convs[0], output_final_state=use_cache)
        k, ck = self.k_conv1d(self.k_proj(hidden_states), cache=convs[1], output_final_state=use_cache)
        v, cv = self.v_conv1d(self.v_proj(hidden_states), cache=convs[2], output_final_state=use_cache)
        q, k, v = (rearrange(t, "b t (h d) -> b t h d", h=self.heads) for t in (q, k, v))
        q, k = l2norm(q), l2norm(k)
        beta = self.b_proj(hidden_states).sigmoid()
        # CAST
        if S is None:
            S = q.new_zeros(q.shape[0], self.heads, q.shape[-1], v.shape[-1])
        o, S = recurrence(q, k, v, beta, S)
        # PATH
        if past_key_values is not None:
            past_key_values.update(recurrent_state=S, conv_state=(cq, ck, cv), layer_idx=self.layer_idx, offset=length)
        o = self.o_proj(rearrange(self.o_norm(o), "b t h d -> b t (h d)"))
        # OUT
        return o, None, past_key_values
"""

PACKED = """if attention_mask is not None:
            indices, cu, _ = get_unpad_data(attention_mask[:, -length:])
            hidden_states = index_first_axis(rearrange(hidden_states, "b s d -> (b s) d"), indices).unsqueeze(0)
"""
REPAD = """if attention_mask is not None:
            o = pad_input(o.squeeze(0), indices, batch, length)
"""
BROKEN = {
    "future": ("causal", [("# PATH", "o = o + F.avg_pool1d(v.flatten(2).mT, 3, 1, 1).mT.view_as(v)")]),
    "length": ("independent_of_total_length", [("# PATH", "o = o + v / length")]),
    "counter": (
        "stateless_in_eval",
        [("# INIT", "self.step = 0"), ("# PATH", "o, self.step = o + 1e-3 * self.step, self.step + 1")],
    ),
    "buffer": (
        "stateless_in_eval",
        [
            ("# INIT", 'self.register_buffer("mean", torch.zeros(1))'),
            ("# PATH", "o = o + self.mean; self.mean.add_(o.mean())"),
        ],
    ),
    "neighbours": ("batch_independent", [("# PATH", "o = o - o.mean(0, keepdim=True)")]),
    "packed": ("batch_independent_with_mask", [("# MASK", PACKED), ("# OUT", REPAD)]),
    "forgets": ("cached_decoding", [("S = last[\"recurrent_state\"] if last is not None else None", "S = None")]),
    "casts": ("float32", [("# CAST", "q, k, v, beta = (t.to(torch.bfloat16) for t in (q, k, v, beta))")]),
}  # fmt: skip
# A leak makes other properties fail as well; these are the ones that must not.
IMPLIED = {
    "future": {"independent_of_total_length", "cached_decoding"},
    "length": {"cached_decoding"},
    "neighbours": {"batch_independent_with_mask"},
}


def program(changes=()):
    source = GOOD
    for old, new in changes:
        assert old in source
        source = source.replace(old, new, 1)
    return source


def test_a_good_program_holds_every_property():
    found = examine({"program": program()})
    assert found["properties"] == dict.fromkeys(PROPERTIES, True), found
    assert found["dead_parameters"] == [] and found["failure"] == ""
    assert found["parameters"] == pytest.approx(411.8e6, rel=2e-3)  # DeltaNet's in the configuration named 340M
    assert 0.5 < found["cost"] < 2


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_program_breaks_its_property(name):
    broken, changes = BROKEN[name]
    properties = examine({"program": program(changes)})["properties"]
    allowed = {broken, *IMPLIED.get(name, ())}
    assert properties[broken] is False
    assert {p for p, holds in properties.items() if holds is not True} <= allowed, properties


def test_a_dead_parameter_is_named():
    found = examine({"program": program([("# INIT", "self.floor = nn.Parameter(torch.zeros(1))")])})
    assert found["dead_parameters"] == ["floor"]


@pytest.mark.parametrize("source", ["stray\nimport torch\n", "import torch\n", "def broken(:"])
def test_a_program_that_does_not_load_is_not_judged(source):
    found = examine({"program": source})
    assert [found["properties"][name] for name in PROPERTIES[:-1]] == [None] * 6
    assert found["properties"]["float32"] is False and found["failure"]


@pytest.mark.parametrize("bias", [True, False])
def test_the_short_convolution_continues_from_its_cache_and_keeps_packed_rows_apart(bias):
    torch.manual_seed(0)
    conv = helpers.ShortConvolution(6, 4, bias=bias)
    x = torch.randn(2, 9, 6)
    whole, _ = conv(x)
    expected = torch.nn.functional.silu(torch.nn.Conv1d.forward(conv, x.mT)[..., :9].mT)
    torch.testing.assert_close(whole, expected)
    head, cache = conv(x[:, :5], output_final_state=True)
    tail, _ = conv(x[:, 5:], cache=cache)
    torch.testing.assert_close(torch.cat((head, tail), 1), whole)
    packed, _ = conv(x.reshape(1, 18, 6), cu_seqlens=torch.tensor([0, 9, 18]))
    torch.testing.assert_close(packed.view(2, 9, 6), whole)


def test_unpadding_and_padding_are_inverse():
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    x = torch.arange(12.0).view(2, 3, 2)
    indices, bounds, longest = helpers.get_unpad_data(mask)
    assert bounds.tolist() == [0, 2, 5] and longest == 3
    back = helpers.pad_input(helpers.index_first_axis(x.flatten(0, 1), indices), indices, 2, 3)
    assert torch.equal(back, x * mask[..., None])


def test_the_command_reads_a_release_and_prints_json(tmp_path):
    records = [
        {"index": 7, "name_new": "Good", "program": program(), "parameters": "411.83M"},
        {"index": 9, "name": "future", "program": program(BROKEN["future"][1]), "parameters": "nan?"},
        {"index": 11, "name": "without a program"},
    ]
    path = tmp_path / "106.json"
    path.write_text(json.dumps(records))
    run = CliRunner().invoke(audit, [str(path), "--json", "--workers", "1", "--figure", str(tmp_path / "audit.svg")])
    assert run.exit_code == 1, run.output
    found = json.loads(run.stdout)
    assert [(row["index"], row["name"]) for row in found["rows"]] == [(7, "Good"), (9, "future")]
    assert [(row["verdict"], row["gate"]) for row in found["rows"]] == [("admitted", ""), ("rejected", "causality")]
    assert found["rows"][0]["properties"] == dict.fromkeys(PROPERTIES, True)
    assert found["totals"]["causal"] == {"true": 1, "false": 1, "null": 0}
    assert "<svg" in (tmp_path / "audit.svg").read_text()


def test_a_folder_of_candidates_is_audited_by_the_gates(tmp_path):
    (tmp_path / "cheat.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Mixer(nn.Module):\n    def __init__(self, d_model, num_heads):\n"
        "        super().__init__()\n        self.w = nn.Linear(d_model, d_model)\n\n"
        "    def forward(self, x, state=None):\n        return self.w(x.flip(1).cumsum(1).flip(1)), state\n"
    )
    assert [p.form for p in targets.read(str(tmp_path))] == ["candidate"]
    run = CliRunner().invoke(audit, [str(tmp_path), "--json", "--workers", "1"])
    (row,) = json.loads(run.stdout)["rows"]
    assert row["properties"]["causal"] is False and row["properties"]["batch_independent"] is True


CANDIDATE = (
    "import torch\nfrom torch import nn\n\n\n{decorated}class Mixer(nn.Module):\n"
    "    def __init__(self, d_model, num_heads):\n        super().__init__()\n"
    "        self.w = nn.Linear(d_model, d_model)\n\n    def forward(self, x, state=None):\n"
    "        s = self.w(x).cumsum(1) + (0 if state is None else state)\n        return s, s[:, -1:]\n"
)
COMPILED = "@torch.compile\ndef f(x):\n    return x\n\n\n"
FILES = {
    "bom": (b"\xef\xbb\xbf" + CANDIDATE.format(decorated="").encode(), "", ""),
    "classless": (b"import math\n", "construction", "no class Mixer"),
    "coding": (b"# coding: latin-1\n# \xfc\n" + CANDIDATE.format(decorated="").encode(), "", ""),
    "compiled": (CANDIDATE.format(decorated=COMPILED).encode(), "", ""),
    "no_text": (b"x = '\xff'\n", "static", "save it as UTF-8"),
    "steers": (b"raise ValueError('\x1b[2J')\n", "static", "code that runs"),
    "unparsable": (b"def broken(:\n", "static", "not Python: line 1"),
}


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, (content, _, _) in FILES.items():
        (folder / f"{name}.py").write_bytes(content)
    return CliRunner().invoke(audit, [str(folder), "--json", "--workers", "1"])


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_admitted_or_rejected_by_a_gate_with_its_reason(audited, name):
    row = next(row for row in json.loads(audited.stdout)["rows"] if row["name"] == name)
    _, gate, says = FILES[name]
    assert (row["verdict"], row["gate"]) == ("rejected" if gate else "admitted", gate)
    assert says in row["reason"] and (name == "compiled") == bool(row["warnings"]), row
    assert audited.exit_code == 1


def test_the_table_is_eighty_columns_wide_and_steers_no_terminal(audited):
    rows = json.loads(audited.stdout)["rows"]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(rows))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80 and "\x1b" not in "".join(lines)
    assert all(any(row["name"] in line and row["verdict"] in line for line in lines) for row in rows)
    assert "warning: static" in " ".join(" ".join(lines).split())
    assert summary(rows) == "7 programs: 3 admitted, 4 rejected (static 3, construction 1)"


def test_all_admitted_is_the_only_green(tmp_path):
    (tmp_path / "one.py").write_text(CANDIDATE.format(decorated=""))
    run = CliRunner().invoke(audit, [str(tmp_path / "one.py"), "--workers", "1"])
    assert run.exit_code == 0 and "1 programs: 1 admitted, 0 rejected" in run.output
    (tmp_path / "none").mkdir()
    assert CliRunner().invoke(audit, [str(tmp_path / "none")]).exit_code != 0


@pytest.mark.parametrize(("name", "content"), [("a.json", "[1"), ("a.json", "{}"), ("a.json", "[]"), ("b.txt", None)])
def test_a_path_without_programs_says_what_to_give(tmp_path, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(targets.CandidateError, match=r"give|needs"):
        targets.read(str(path))


def test_totals_and_figure_of_an_empty_answer(tmp_path):
    rows = [{"properties": dict.fromkeys(PROPERTIES)}]
    assert totals(rows)["float32"] == {"true": 0, "false": 0, "null": 1}
    figure(rows, tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 1000
