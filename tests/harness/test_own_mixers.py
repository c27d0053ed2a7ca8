"""Baselines and starting points of one's own: found from the campaign's file, named as the file, held to every gate."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from asiarc import Stage
from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive
from asiarc.campaign.declaration import Campaign, json_schema, load_toml, to_toml
from asiarc.campaign.identity import run_identity
from asiarc.campaign.own import called
from asiarc.core.candidate import content_address
from asiarc.core.errors import CampaignError
from asiarc.models.baselines import baseline_source

from .fakes import Bench, FakeExecutor, campaign

MINE = '"""Mine."""\nNAME = "mine"\nGAIN = 0.02\n\n\nclass Mixer:\n    """As good as it says."""\n'
QWEN = "transformers:qwen3_next.Qwen3NextGatedDeltaNet"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A campaign's folder with ``mixers/mine.py``, which is also the home."""
    (tmp_path / "mixers").mkdir()
    (tmp_path / "mixers" / "mine.py").write_text(MINE)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def own(given="mixers/mine.py", **changes) -> Campaign:
    """A small campaign with a baseline of its own."""
    return campaign(**dict(baselines=("delta_net", given), verify=Stage(tasks=("text",), seeds=2, top=1)) | changes)


def small(**changes) -> Campaign:
    return own(**dict(start_from="mixers/mine.py", explore=Stage(tasks=("text",)), confirm=None) | changes)


# --- found ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["mixers/mine.py", "./mixers/mine.py", "~/mixers/mine.py", "{folder}/mixers/mine.py"])
def test_every_form_of_a_path_is_the_same_baseline(folder, form, monkeypatch):
    monkeypatch.chdir("/")  # a path starts at the campaign's file, not where one stands
    found = own(form.format(folder=folder)).at(folder)
    assert found.baselines == ("delta_net", "mine")
    assert (found.baseline("mine").address, found.baseline("mine").source) == (content_address(MINE), MINE)
    assert found.at(folder).baseline("mine") == found.baseline("mine"), "found once is found"


def test_it_goes_through_toml_and_the_schema(folder):
    jsonschema = pytest.importorskip("jsonschema")
    one = small(baselines=("delta_net", "mixers/mine.py", QWEN))
    (folder / "campaign_q.toml").write_text(to_toml(one))
    assert load_toml(folder / "campaign_q.toml") == one
    jsonschema.validate(one.model_dump(mode="json", exclude_none=True) | {"researcher": "grammar"}, json_schema())


def test_the_identity_moves_with_the_content_and_not_with_the_place(folder):
    def identity(given="mixers/mine.py"):
        return run_identity(own(given).at(folder), "q", "quick")

    first = identity()
    assert first["baselines"]["mine"] == content_address(MINE) and first["spec"]["baselines"] == ["delta_net", "mine"]
    shutil.copytree(folder / "mixers", folder / "elsewhere")
    assert identity("elsewhere/mine.py") == first
    (folder / "mixers" / "mine.py").write_text("# a comment\n" + MINE)
    assert identity() == first
    (folder / "mixers" / "mine.py").write_text(MINE.replace("0.02", "0.03"))
    assert identity() != first


# --- refused ----------------------------------------------------------------------------------------------------------

BAD_NAMES = {
    "mixers/mine": "is no candidate file: one is a Python file that defines class Mixer",
    "mine": r"unknown baseline 'mine'.*Or give the path of a candidate file of your own.*mixers/mine\.py",
    "mixers/delta_net.py": "would be called delta_net, as a shipped baseline is; rename the file",
    "fla:GatedDeltaNet": "FLA's layers run in Triton on a GPU alone, and gates examine every mixer on the CPU",
    "tf:mamba2.Mamba2Mixer": "unknown library 'tf'",
    "transformers:qwen3_next.Qwen3NextGatedDelta": "Did you mean 'Qwen3NextGatedDeltaNet'?",
    "transformers:llama.LlamaAttention": "no model 'llama' with a mixer whose state can be handed over",
    "transformers:../x.Y": "is no candidate file",
}


@pytest.mark.parametrize("given", BAD_NAMES)
def test_what_names_no_mixer_is_refused_at_the_declaration(given):
    with pytest.raises(CampaignError, match=BAD_NAMES[given]) as caught:
        own(given)
    assert caught.value.field == "baselines"


def test_two_of_one_name_are_refused():
    with pytest.raises(CampaignError, match=r"'a/mine.py' and 'b/mine.py' would both be called mine; rename one"):
        campaign(baselines=("delta_net", "a/mine.py", "b/mine.py"))
    with pytest.raises(CampaignError, match="a baseline is named twice"):
        campaign(baselines=("delta_net", "a/mine.py", "a/mine.py"))


def test_a_start_of_ones_own_stands_among_the_baselines():
    with pytest.raises(CampaignError, match=r"start_from='mixers/mine.py' is missing from baselines"):
        campaign(start_from="mixers/mine.py")


FILES = {
    "missing": (None, r"no file '.*mine\.py': a path is relative to the campaign's file"),
    "broken": ("class Mixer(:\n", r"mixers/mine\.py: not Python: line 1"),
    "empty": ("x = 1\n", r"mixers/mine\.py defines no class Mixer\(nn\.Module\)"),
    "no text": (b"\xff\xfe\x00", r"cannot be read as Python text"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_holds_no_candidate_is_refused_at_collection(folder, case):
    content, words = FILES[case]
    path = folder / "mixers" / "mine.py"
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CampaignError, match=words) as caught:
        own().at(folder, build=False)
    assert caught.value.field == "baselines"


def test_the_refusal_stands_at_its_line(pytester):
    (pytester.path / "campaign_q.py").write_text(
        "from asiarc import *\nq = Campaign(start_from='delta_net',\n    baselines=('delta_net', 'mixers/mine.py'),\n"
        "    explore=Stage(tasks=('text',)), budget=by_tier(smoke=Budget(candidates=1, minutes=1)))\n"
    )
    result = pytester.runpytest("campaign_q.py", "--collect-only")
    result.stdout.fnmatch_lines(["*campaign_q.py:3: q: baselines: no file *mixers/mine.py*"])


# --- run --------------------------------------------------------------------------------------------------------------


def test_a_rejected_one_ends_the_stage_before_anything_is_trained(folder, tmp_path):
    (folder / "mixers" / "mine.py").write_text(MINE + 'REJECTED = "causality"\n')
    executor = FakeExecutor()
    with pytest.raises(CampaignError) as caught:
        Bench(small().at(folder), tmp_path / "store").run(executor)
    told = (
        "the baseline mine (mixers/mine.py) is not admitted: rejected(causality: it looks ahead); nothing was trained"
    )
    assert told in str(caught.value) and not executor.trials


def test_one_that_no_width_matches_ends_it_too(folder, tmp_path):
    (folder / "mixers" / "mine.py").write_text(MINE + 'MEASURES = {"parameters": 1000000}\n')
    executor = FakeExecutor()
    with pytest.raises(
        CampaignError, match=r"mine \(mixers/mine\.py\) \(1,000,000 parameters a mixer\) to the size of"
    ):
        Bench(own(explore=Stage(tasks=("text",))).at(folder), tmp_path / "store").run(executor)
    assert not executor.trials


def test_results_call_it_by_its_name(folder, tmp_path):
    bench = Bench(small().at(folder), tmp_path / "store")
    with Archive(tmp_path / "store") as archive:  # an earlier run may have found it, under a name of its own
        archive.add_candidate(content_address(MINE), "found_before", MINE, "")
    run = bench.run(then=lambda run: run.run)
    assert "  mine (mixers/mine.py): 1 gates passed" in bench.said
    assert any("over mine" in line or "beat mine" in line for line in bench.said)
    with Archive(tmp_path / "store", write=False) as archive:
        found = CampaignResult.load(archive, run)
        assert found.baselines["mine"] == content_address(MINE) and found.start == content_address(MINE)
        assert found.baseline("mine").name == "mine" and found.names[content_address(MINE)] == "mine"
        assert found.winner.gain_over("mine").n == 2
        assert found.compare("mine", "delta_net", "text", "verify", num_comparisons=1).n == 2


def test_what_is_shown_of_a_campaign_names_it(pytester, folder):
    (folder / "campaign_q.toml").write_text(to_toml(small()))
    pytester.makeini("[pytest]\nasiarc_paths = .\n")
    found = pytester.runpytest(folder / "campaign_q.toml", "--plan")
    found.stdout.fnmatch_lines(["*campaign_q.toml::q::verify*"])
    assert found.ret in (0, 5)


def test_names():
    assert [called(one) for one in ("delta_net", "~/a b/my-mixer.py", QWEN)] == [
        "delta_net", "my-mixer", "Qwen3NextGatedDeltaNet",
    ]  # fmt: skip
    assert Path(__file__).stem == called(__file__)


def test_one_mixer_under_two_names_is_refused(folder):
    (folder / "mixers" / "copy.py").write_text("# mine now\n" + baseline_source("delta_net"))
    with pytest.raises(CampaignError, match=r"delta_net and copy \(mixers/copy\.py\) are one mixer by their content"):
        own("mixers/copy.py").at(folder, build=False)
